namespace PrefixTorch.Tokenization.Chat.Jinja;

/// <summary>A part of a template that has a value.</summary>
internal abstract record Expression(int Line)
{
    public object? Evaluate(Scope scope)
    {
        scope.Context.Step(Line);
        return Compute(scope);
    }

    protected abstract object? Compute(Scope scope);
}

internal sealed record LiteralExpression(int Line, object? Value) : Expression(Line)
{
    protected override object? Compute(Scope scope) => Value;
}

internal sealed record NameExpression(int Line, string Name) : Expression(Line)
{
    protected override object? Compute(Scope scope) => scope.Get(Name);
}

internal sealed record ListExpression(int Line, IReadOnlyList<Expression> Items, ListKind Kind) : Expression(Line)
{
    protected override object? Compute(Scope scope) => new JinjaList(Items.Select(item => item.Evaluate(scope)), Kind);
}

internal sealed record MappingExpression(int Line, IReadOnlyList<(Expression Key, Expression Value)> Items) : Expression(Line)
{
    protected override object? Compute(Scope scope)
    {
        var mapping = new JinjaMapping();
        foreach ((Expression key, Expression value) in Items)
        {
            object? name = key.Evaluate(scope);
            if (name is not (TracedText or bool or long or double))
            {
                throw scope.Context.Error($"{Operators.Describe(name)} cannot be a mapping's key here: use a string or a number.");
            }

            mapping.Set(name, value.Evaluate(scope));
        }

        return mapping;
    }
}

internal sealed record AttributeExpression(int Line, Expression Target, string Name) : Expression(Line)
{
    protected override object? Compute(Scope scope) => Members.Attribute(scope.Context, Target.Evaluate(scope), Name);
}

internal sealed record ItemExpression(int Line, Expression Target, Expression Key) : Expression(Line)
{
    protected override object? Compute(Scope scope) => Members.Item(scope.Context, Target.Evaluate(scope), Key.Evaluate(scope));
}

internal sealed record SliceExpression(int Line, Expression Target, Expression? Start, Expression? Stop, Expression? Step) : Expression(Line)
{
    protected override object? Compute(Scope scope) =>
        Members.Slice(scope.Context, Target.Evaluate(scope), Start?.Evaluate(scope), Stop?.Evaluate(scope), Step?.Evaluate(scope));
}

/// <summary>The arguments as written, to be evaluated for each call.</summary>
internal sealed record ArgumentList(IReadOnlyList<Expression> Positional, IReadOnlyList<(string Name, Expression Value)> Named)
{
    public static readonly ArgumentList Empty = new([], []);

    public Arguments Evaluate(Scope scope)
    {
        if (Positional.Count + Named.Count == 0)
        {
            return Arguments.None;
        }

        var named = new Dictionary<string, object?>(StringComparer.Ordinal);
        object?[] positional = [.. Positional.Select(argument => argument.Evaluate(scope))];
        foreach ((string name, Expression value) in Named)
        {
            named[name] = value.Evaluate(scope);
        }

        return new Arguments(positional, named);
    }
}

internal sealed record CallExpression(int Line, Expression Callee, ArgumentList Arguments) : Expression(Line)
{
    protected override object? Compute(Scope scope)
    {
        object? callee = Callee.Evaluate(scope);
        Arguments arguments = Arguments.Evaluate(scope);
        scope.Context.Step(Line);
        return callee switch
        {
            JinjaFunction function => function.Invoke(scope.Context, arguments),
            Undefined undefined => throw scope.Context.Error($"{undefined.Reason}, so it cannot be called."),
            _ => throw scope.Context.Error($"{Operators.Describe(callee)} cannot be called."),
        };
    }
}

internal sealed record FilterExpression(int Line, Expression Target, string Name, ArgumentList Arguments) : Expression(Line)
{
    protected override object? Compute(Scope scope)
    {
        object? value = Target.Evaluate(scope);
        Arguments arguments = Arguments.Evaluate(scope);
        scope.Context.Step(Line);
        return Filters.Apply(scope.Context, Name, value, arguments);
    }
}

internal sealed record TestExpression(int Line, Expression Target, string Name, ArgumentList Arguments, bool IsNegated) : Expression(Line)
{
    protected override object? Compute(Scope scope)
    {
        object? value = Target.Evaluate(scope);
        Arguments arguments = Arguments.Evaluate(scope);
        scope.Context.Step(Line);
        return ValueTests.Apply(scope.Context, Name, value, arguments) != IsNegated;
    }
}

internal sealed record ConditionalExpression(int Line, Expression Condition, Expression Then, Expression? Else) : Expression(Line)
{
    protected override object? Compute(Scope scope) =>
        Operators.IsTrue(Condition.Evaluate(scope)) ? Then.Evaluate(scope)
        : Else is not null ? Else.Evaluate(scope)
        : new Undefined("the inline 'if' was false and has no 'else'");
}

internal sealed record NotExpression(int Line, Expression Operand) : Expression(Line)
{
    protected override object? Compute(Scope scope) => !Operators.IsTrue(Operand.Evaluate(scope));
}

internal sealed record NegateExpression(int Line, Expression Operand) : Expression(Line)
{
    protected override object? Compute(Scope scope) => Operators.Negate(scope.Context, Operand.Evaluate(scope));
}

/// <summary><c>and</c> and <c>or</c>: the deciding operand's value, as in Python, not a bool.</summary>
internal sealed record LogicExpression(int Line, Expression Left, Expression Right, bool IsAnd) : Expression(Line)
{
    protected override object? Compute(Scope scope)
    {
        object? left = Left.Evaluate(scope);
        return Operators.IsTrue(left) == IsAnd ? Right.Evaluate(scope) : left;
    }
}

internal sealed record BinaryExpression(int Line, string Operator, Expression Left, Expression Right) : Expression(Line)
{
    protected override object? Compute(Scope scope)
    {
        object? left = Left.Evaluate(scope);
        object? right = Right.Evaluate(scope);
        RenderContext context = scope.Context;
        return Operator switch
        {
            "+" => Operators.Add(context, left, right),
            "~" => Operators.Join(context, Operators.ToText(context, left), Operators.ToText(context, right)),
            "%" when left is TracedText => throw context.Error("'%' with a string on its left is not known here: join the pieces with '~'."),
            _ => Operators.Arithmetic(context, Operator, left, right),
        };
    }
}

/// <summary>One or more comparisons in a row, as <c>0 &lt; n &lt;= 3</c>.</summary>
internal sealed record CompareExpression(int Line, Expression First, IReadOnlyList<(string Operator, Expression Operand)> Rest) : Expression(Line)
{
    protected override object? Compute(Scope scope)
    {
        object? left = First.Evaluate(scope);
        foreach ((string op, Expression operand) in Rest)
        {
            object? right = operand.Evaluate(scope);
            if (!Holds(scope.Context, op, left, right))
            {
                return false;
            }

            left = right;
        }

        return true;
    }

    public static bool Holds(RenderContext context, string op, object? left, object? right) => op switch
    {
        "==" => Operators.AreEqual(left, right),
        "!=" => !Operators.AreEqual(left, right),
        "in" => Operators.Contains(context, right, left),
        "not in" => !Operators.Contains(context, right, left),
        "<" => Operators.Compare(context, left, right) < 0,
        "<=" => Operators.Compare(context, left, right) <= 0,
        ">" => Operators.Compare(context, left, right) > 0,
        _ => Operators.Compare(context, left, right) >= 0,
    };
}
