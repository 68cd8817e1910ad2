namespace PrefixTorch.Tokenization.Chat.Jinja;

/// <summary>How a statement ended: on to the next one, or out of the loop's round.</summary>
internal enum Flow
{
    Next,
    Break,
    Continue,
}

/// <summary>A part of a template that writes text or sets names.</summary>
internal abstract record Statement(int Line)
{
    public Flow Execute(Scope scope)
    {
        scope.Context.Step(Line);
        return Run(scope);
    }

    protected abstract Flow Run(Scope scope);
}

internal sealed record Block(IReadOnlyList<Statement> Statements)
{
    public Flow Execute(Scope scope)
    {
        foreach (Statement statement in Statements)
        {
            Flow flow = statement.Execute(scope);
            if (flow != Flow.Next)
            {
                return flow;
            }
        }

        return Flow.Next;
    }
}

/// <summary>Text of the template itself.</summary>
internal sealed record TextStatement(int Line, TracedText Text) : Statement(Line)
{
    protected override Flow Run(Scope scope)
    {
        scope.Context.Write(Text);
        return Flow.Next;
    }
}

/// <summary><c>{{ value }}</c></summary>
internal sealed record OutputStatement(int Line, Expression Value) : Statement(Line)
{
    protected override Flow Run(Scope scope)
    {
        scope.Context.Write(Operators.ToText(scope.Context, Value.Evaluate(scope)));
        return Flow.Next;
    }
}

internal sealed record IfStatement(int Line, IReadOnlyList<(Expression Condition, Block Body)> Branches, Block? Else) : Statement(Line)
{
    protected override Flow Run(Scope scope)
    {
        foreach ((Expression condition, Block body) in Branches)
        {
            if (Operators.IsTrue(condition.Evaluate(scope)))
            {
                return body.Execute(scope);
            }
        }

        return Else?.Execute(scope) ?? Flow.Next;
    }
}

internal sealed record ForStatement(int Line, AssignmentTarget Target, Expression Source, Expression? Filter, Block Body, Block? Else) : Statement(Line)
{
    protected override Flow Run(Scope scope)
    {
        IReadOnlyList<object?> items = Operators.Iterate(scope.Context, Source.Evaluate(scope));
        if (Filter is not null)
        {
            items = [.. items.Where(item => Keep(scope, item))];
        }

        var loop = new Loop(items);
        while (loop.MoveNext())
        {
            scope.Context.Step(Line);
            Scope round = scope.Inner();
            round.Set("loop", loop);
            Target.Assign(round, loop.Current);
            if (Body.Execute(round) == Flow.Break)
            {
                break;
            }
        }

        return items.Count == 0 && Else is not null ? Else.Execute(scope.Inner()) : Flow.Next;
    }

    private bool Keep(Scope scope, object? item)
    {
        Scope round = scope.Inner();
        Target.Assign(round, item);
        return Operators.IsTrue(Filter!.Evaluate(round));
    }
}

/// <summary><c>{% break %}</c> and <c>{% continue %}</c></summary>
internal sealed record LoopControlStatement(int Line, Flow Flow) : Statement(Line)
{
    protected override Flow Run(Scope scope) => Flow;
}

/// <summary>What stands left of '=' or after 'for': names to unpack into, or one attribute of a namespace.</summary>
internal sealed record AssignmentTarget(int Line, IReadOnlyList<string> Names, string? Attribute, bool Unpacks)
{
    public void Assign(Scope scope, object? value)
    {
        if (Attribute is not null)
        {
            object? target = scope.Get(Names[0]);
            if (target is not JinjaNamespace names)
            {
                throw scope.Context.Error($"'{Names[0]}.{Attribute}' cannot be set: '{Names[0]}' is {Operators.Describe(target)}, and only a namespace() can be changed.");
            }

            names.Attributes[Attribute] = value;
        }
        else if (!Unpacks)
        {
            scope.Set(Names[0], value);
        }
        else
        {
            IReadOnlyList<object?> values = Operators.Iterate(scope.Context, value);
            if (values.Count != Names.Count)
            {
                throw scope.Context.Error($"{Operators.Describe(value)} of {values.Count} values does not fill {Names.Count} names ({string.Join(", ", Names)}).");
            }

            for (int i = 0; i < Names.Count; i++)
            {
                scope.Set(Names[i], values[i]);
            }
        }
    }
}

internal sealed record SetStatement(int Line, AssignmentTarget Target, Expression Value) : Statement(Line)
{
    protected override Flow Run(Scope scope)
    {
        Target.Assign(scope, Value.Evaluate(scope));
        return Flow.Next;
    }
}

/// <summary><c>{% set name %}…{% endset %}</c></summary>
internal sealed record SetBlockStatement(int Line, AssignmentTarget Target, IReadOnlyList<(string Name, ArgumentList Arguments)> Filters, Block Body) : Statement(Line)
{
    protected override Flow Run(Scope scope)
    {
        object? value = scope.Context.Capture(() => Body.Execute(scope.Inner()));
        foreach ((string name, ArgumentList arguments) in Filters)
        {
            value = Jinja.Filters.Apply(scope.Context, name, value, arguments.Evaluate(scope));
        }

        Target.Assign(scope, value);
        return Flow.Next;
    }
}

internal sealed record MacroStatement(int Line, string Name, IReadOnlyList<(string Name, Expression? Default)> Parameters, Block Body) : Statement(Line)
{
    protected override Flow Run(Scope scope)
    {
        scope.Set(Name, new JinjaFunction(Name, (context, arguments) => Call(scope, context, arguments)));
        return Flow.Next;
    }

    private TracedText Call(Scope definition, RenderContext context, Arguments arguments)
    {
        object?[] values = arguments.Bind(context, $"the macro '{Name}'", [.. Parameters.Select(parameter => parameter.Name + "=")]);
        Scope scope = definition.Inner();
        for (int i = 0; i < values.Length; i++)
        {
            (string name, Expression? standard) = Parameters[i];
            object? value = values[i] is Arguments.Missing
                ? standard is null ? new Undefined($"parameter '{name}' was not provided") : standard.Evaluate(scope)
                : values[i];
            scope.Set(name, value);
        }

        return context.CallMacro(Name, () => Body.Execute(scope));
    }
}

/// <summary><c>{% generation %}</c>, with which transformers marks what an assistant said: its text passes through.</summary>
internal sealed record GenerationStatement(int Line, Block Body) : Statement(Line)
{
    protected override Flow Run(Scope scope)
    {
        Body.Execute(scope.Inner());
        return Flow.Next;
    }
}
