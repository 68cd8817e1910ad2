using System.Globalization;
using System.Runtime.CompilerServices;

namespace PrefixTorch.Tokenization.Chat.Jinja;

/// <summary>Tokens to expressions, with Jinja's precedence: a filter or test binds to what is directly left of it.</summary>
internal class ExpressionParser(List<Token> tokens)
{
    private static readonly HashSet<string> s_comparisons = ["==", "!=", "<", "<=", ">", ">="];

    private int _position;

    protected Token Current => tokens[_position];

    protected Token Next(int ahead = 1) => tokens[Math.Min(_position + ahead, tokens.Count - 1)];

    protected Token Take() => tokens[_position++];

    protected bool TryTakeOperator(string text)
    {
        bool found = Current.IsOperator(text);
        _position += found ? 1 : 0;
        return found;
    }

    protected bool TryTakeName(string text)
    {
        bool found = Current.IsName(text);
        _position += found ? 1 : 0;
        return found;
    }

    protected void ExpectOperator(string text)
    {
        if (!TryTakeOperator(text))
        {
            throw Unexpected($"'{text}'");
        }
    }

    protected string ExpectName() => Current.Kind == TokenKind.Name ? Take().Text : throw Unexpected("a name");

    protected void Expect(TokenKind kind)
    {
        if (Current.Kind != kind)
        {
            throw Unexpected(new Token(kind, "", 0).Description);
        }

        _position++;
    }

    protected ChatTemplateException Unexpected(string expected) =>
        new($"{expected} should stand here, but {Current.Description} does.", Current.Line);

    /// <summary>An expression, or several with commas between them, which are a tuple.</summary>
    protected Expression ParseTuple(bool withCondition = true)
    {
        int line = Current.Line;
        Expression first = ParseExpression(withCondition);
        if (!Current.IsOperator(","))
        {
            return first;
        }

        var items = new List<Expression> { first };
        while (TryTakeOperator(",") && !EndsTuple())
        {
            items.Add(ParseExpression(withCondition));
        }

        return new ListExpression(line, items, ListKind.Tuple);
    }

    protected Expression ParseExpression(bool withCondition = true)
    {
        RuntimeHelpers.EnsureSufficientExecutionStack();
        int line = Current.Line;
        Expression expression = ParseOr();
        while (withCondition && TryTakeName("if"))
        {
            Expression condition = ParseOr();
            Expression? otherwise = TryTakeName("else") ? ParseExpression() : null;
            expression = new ConditionalExpression(line, condition, expression, otherwise);
        }

        return expression;
    }

    protected ArgumentList ParseArguments()
    {
        ExpectOperator("(");
        var positional = new List<Expression>();
        var named = new List<(string, Expression)>();
        while (!TryTakeOperator(")"))
        {
            if (positional.Count + named.Count > 0)
            {
                ExpectOperator(",");
                if (TryTakeOperator(")"))
                {
                    break;
                }
            }

            if (Current.IsOperator("*") || Current.IsOperator("**"))
            {
                throw new ChatTemplateException($"'{Current.Text}' before an argument is not known here: write the arguments out.", Current.Line);
            }

            if (Current.Kind == TokenKind.Name && Next().IsOperator("="))
            {
                string name = Take().Text;
                Take();
                named.Add((name, ParseExpression()));
            }
            else if (named.Count > 0)
            {
                throw new ChatTemplateException("an argument without a name stands after one with a name.", Current.Line);
            }
            else
            {
                positional.Add(ParseExpression());
            }
        }

        return new ArgumentList(positional, named);
    }

    /// <summary>The name and arguments after a '|'.</summary>
    protected (string Name, ArgumentList Arguments) ParseFilterCall()
    {
        int line = Current.Line;
        string name = ExpectName();
        if (!Filters.Has(name) && name != "safe")
        {
            throw new ChatTemplateException($"the filter '{name}' is not known here; known are: {string.Join(", ", Filters.Names)}.", line);
        }

        return (name, Current.IsOperator("(") ? ParseArguments() : ArgumentList.Empty);
    }

    private bool EndsTuple() =>
        Current.Kind is TokenKind.BlockEnd or TokenKind.OutputEnd || Current.IsOperator(")") || Current.IsOperator("]") || Current.IsOperator("=") || Current.IsName("in");

    private Expression ParseOr()
    {
        int line = Current.Line;
        Expression left = ParseAnd();
        while (TryTakeName("or"))
        {
            left = new LogicExpression(line, left, ParseAnd(), IsAnd: false);
        }

        return left;
    }

    private Expression ParseAnd()
    {
        int line = Current.Line;
        Expression left = ParseNot();
        while (TryTakeName("and"))
        {
            left = new LogicExpression(line, left, ParseNot(), IsAnd: true);
        }

        return left;
    }

    private Expression ParseNot()
    {
        int line = Current.Line;
        int count = 0;
        while (TryTakeName("not"))
        {
            count++;
        }

        Expression operand = ParseComparison();
        for (; count > 0; count--)
        {
            operand = new NotExpression(line, operand);
        }

        return operand;
    }

    private Expression ParseComparison()
    {
        int line = Current.Line;
        Expression first = ParseSum();
        var rest = new List<(string, Expression)>();
        while (true)
        {
            if (Current.Kind == TokenKind.Operator && s_comparisons.Contains(Current.Text))
            {
                rest.Add((Take().Text, ParseSum()));
            }
            else if (TryTakeName("in"))
            {
                rest.Add(("in", ParseSum()));
            }
            else if (Current.IsName("not") && Next().IsName("in"))
            {
                _position += 2;
                rest.Add(("not in", ParseSum()));
            }
            else
            {
                return rest.Count == 0 ? first : new CompareExpression(line, first, rest);
            }
        }
    }

    private Expression ParseSum() => ParseBinary(ParseConcatenation, "+", "-");

    private Expression ParseConcatenation() => ParseBinary(ParseProduct, "~");

    private Expression ParseProduct() => ParseBinary(ParsePower, "*", "/", "//", "%");

    private Expression ParsePower() => ParseBinary(() => ParseUnary(), "**");

    private Expression ParseBinary(Func<Expression> parseOperand, params ReadOnlySpan<string> operators)
    {
        int line = Current.Line;
        Expression left = parseOperand();
        while (Current.Kind == TokenKind.Operator && operators.Contains(Current.Text))
        {
            left = new BinaryExpression(line, Take().Text, left, parseOperand());
        }

        return left;
    }

    private Expression ParseUnary(bool withFilter = true)
    {
        RuntimeHelpers.EnsureSufficientExecutionStack();
        int line = Current.Line;
        Expression expression;
        if (TryTakeOperator("-"))
        {
            expression = new NegateExpression(line, ParseUnary(withFilter: false));
        }
        else
        {
            expression = TryTakeOperator("+") ? ParseUnary(withFilter: false) : ParsePostfix(ParsePrimary());
        }

        return withFilter ? ParseFilters(expression) : expression;
    }

    private Expression ParsePrimary()
    {
        Token token = Take();
        switch (token.Kind)
        {
            case TokenKind.Name:
                return token.Text switch
                {
                    "true" or "True" => new LiteralExpression(token.Line, true),
                    "false" or "False" => new LiteralExpression(token.Line, false),
                    "none" or "None" => new LiteralExpression(token.Line, null),
                    _ => new NameExpression(token.Line, token.Text),
                };
            case TokenKind.String:
                string text = token.Text;
                while (Current.Kind == TokenKind.String)
                {
                    text += Take().Text;
                }

                return new LiteralExpression(token.Line, TracedText.Trusted(text));
            case TokenKind.Integer:
                return long.TryParse(token.Text, NumberStyles.None, CultureInfo.InvariantCulture, out long number)
                    ? new LiteralExpression(token.Line, number)
                    : throw new ChatTemplateException($"{token.Text} does not fit 64 bits.", token.Line);
            case TokenKind.Float:
                return new LiteralExpression(token.Line, double.Parse(token.Text, CultureInfo.InvariantCulture));
            case TokenKind.Operator when token.Text == "(":
                return ParseParenthesis(token.Line);
            case TokenKind.Operator when token.Text == "[":
                return new ListExpression(token.Line, ParseItems("]", () => ParseExpression()), ListKind.List);
            case TokenKind.Operator when token.Text == "{":
                return new MappingExpression(token.Line, ParseItems("}", ParseMember));
            default:
                _position--;
                throw Unexpected("a value");
        }
    }

    private Expression ParseParenthesis(int line)
    {
        if (TryTakeOperator(")"))
        {
            return new ListExpression(line, [], ListKind.Tuple);
        }

        Expression inner = ParseTuple();
        ExpectOperator(")");
        return inner;
    }

    private List<T> ParseItems<T>(string end, Func<T> parse)
    {
        var items = new List<T>();
        while (!TryTakeOperator(end))
        {
            if (items.Count > 0)
            {
                ExpectOperator(",");
                if (TryTakeOperator(end))
                {
                    break;
                }
            }

            items.Add(parse());
        }

        return items;
    }

    private (Expression Key, Expression Value) ParseMember()
    {
        Expression key = ParseExpression();
        ExpectOperator(":");
        return (key, ParseExpression());
    }

    private Expression ParsePostfix(Expression expression)
    {
        while (true)
        {
            int line = Current.Line;
            if (TryTakeOperator("."))
            {
                expression = Current.Kind == TokenKind.Integer
                    ? new ItemExpression(line, expression, ParsePrimary())
                    : new AttributeExpression(line, expression, ExpectName());
            }
            else if (TryTakeOperator("["))
            {
                expression = ParseSubscript(line, expression);
            }
            else if (Current.IsOperator("("))
            {
                expression = new CallExpression(line, expression, ParseArguments());
            }
            else
            {
                return expression;
            }
        }
    }

    private Expression ParseSubscript(int line, Expression target)
    {
        var parts = new Expression?[3];
        int part = 0;
        while (!Current.IsOperator("]"))
        {
            if (TryTakeOperator(":"))
            {
                part = part < 2 ? part + 1 : throw Unexpected("']'");
            }
            else
            {
                parts[part] = parts[part] is null ? ParseExpression() : throw Unexpected("']'");
            }
        }

        bool isSlice = part > 0;
        Take();
        return isSlice ? new SliceExpression(line, target, parts[0], parts[1], parts[2])
            : new ItemExpression(line, target, parts[0] ?? throw new ChatTemplateException("'[]' after a value needs a key.", line));
    }

    private Expression ParseFilters(Expression expression)
    {
        while (true)
        {
            int line = Current.Line;
            if (TryTakeOperator("|"))
            {
                (string name, ArgumentList arguments) = ParseFilterCall();
                expression = new FilterExpression(line, expression, name, arguments);
            }
            else if (TryTakeName("is"))
            {
                expression = ParseTest(line, expression);
            }
            else if (Current.IsOperator("("))
            {
                expression = new CallExpression(line, expression, ParseArguments());
            }
            else
            {
                return expression;
            }
        }
    }

    private TestExpression ParseTest(int line, Expression target)
    {
        bool isNegated = TryTakeName("not");
        string name = ExpectName();
        if (!ValueTests.Has(name))
        {
            throw new ChatTemplateException($"the test '{name}' is not known here; known are: {string.Join(", ", ValueTests.Names)}.", line);
        }

        ArgumentList arguments = ArgumentList.Empty;
        if (Current.IsOperator("("))
        {
            arguments = ParseArguments();
        }
        else if (TakesArgument())
        {
            arguments = new ArgumentList([ParsePostfix(ParsePrimary())], []);
        }

        return new TestExpression(line, target, name, arguments, isNegated);
    }

    private bool TakesArgument() => Current.Kind switch
    {
        TokenKind.String or TokenKind.Integer or TokenKind.Float => true,
        TokenKind.Operator => Current.Text is "[" or "{",
        TokenKind.Name => Current.Text is not ("else" or "or" or "and" or "if" or "is" or "not" or "in"),
        _ => false,
    };
}
