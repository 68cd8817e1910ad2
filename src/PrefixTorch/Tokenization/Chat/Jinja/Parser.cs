using System.Runtime.CompilerServices;

namespace PrefixTorch.Tokenization.Chat.Jinja;

/// <summary>
/// A template's source to its statements. What this interpreter does not know is refused here, by name and line, and
/// so is what a chat template has no business with: reading other files.
/// </summary>
internal sealed class Parser : ExpressionParser
{
    private const string Known = "if, for, set, macro, break, continue, raw, generation";

    private int _loops;

    private Parser(List<Token> tokens) : base(tokens)
    {
    }

    public static Block Parse(string source)
    {
        var parser = new Parser(Lexer.Tokenize(source));
        try
        {
            return parser.ParseBlock(0, "");
        }
        catch (InsufficientExecutionStackException error)
        {
            throw new ChatTemplateException("blocks or expressions are nested too deeply.", parser.Current.Line, error);
        }
    }

    /// <summary>Statements up to one of the tags in <paramref name="ends"/>, whose '{%' and name are taken.</summary>
    private Block ParseBlock(int startLine, string opener, params ReadOnlySpan<string> ends)
    {
        RuntimeHelpers.EnsureSufficientExecutionStack();
        var statements = new List<Statement>();
        while (true)
        {
            Token token = Take();
            switch (token.Kind)
            {
                case TokenKind.Data:
                    statements.Add(new TextStatement(token.Line, TracedText.Trusted(token.Text)));
                    break;
                case TokenKind.OutputBegin:
                    statements.Add(new OutputStatement(token.Line, WithoutSafe(ParseTuple())));
                    Expect(TokenKind.OutputEnd);
                    break;
                case TokenKind.BlockBegin when Current.Kind == TokenKind.Name && ends.Contains(Current.Text):
                    return new Block(statements);
                case TokenKind.BlockBegin:
                    statements.Add(ParseStatement());
                    break;
                default:
                    return ends.Length == 0
                        ? new Block(statements)
                        : throw new ChatTemplateException($"'{{% {opener} %}}' has no '{{% end{opener} %}}'.", startLine);
            }
        }
    }

    // Nothing is escaped here, so at the end of an output 'safe' says what is so anyway.
    private static Expression WithoutSafe(Expression value) => value is FilterExpression { Name: "safe" } filter ? filter.Target : value;

    private Statement ParseStatement()
    {
        int line = Current.Line;
        string name = ExpectName();
        return name switch
        {
            "if" => ParseIf(line),
            "for" => ParseFor(line),
            "set" => ParseSet(line),
            "macro" => ParseMacro(line),
            "generation" => ParseGeneration(line),
            "break" or "continue" => ParseLoopControl(line, name),
            "include" or "import" or "from" or "extends" => throw new ChatTemplateException($"'{{% {name} %}}' would read another file, which chat templates may not: write it out in place.", line),
            _ => throw new ChatTemplateException($"the statement '{name}' is not known here; known are: {Known}.", line),
        };
    }

    private IfStatement ParseIf(int line)
    {
        var branches = new List<(Expression, Block)>();
        string tag = "elif";
        Block? otherwise = null;
        while (tag == "elif")
        {
            Expression condition = ParseTuple(withCondition: false);
            Expect(TokenKind.BlockEnd);
            branches.Add((condition, ParseBlock(line, "if", "elif", "else", "endif")));
            tag = Take().Text;
        }

        if (tag == "else")
        {
            Expect(TokenKind.BlockEnd);
            otherwise = ParseBlock(line, "if", "endif");
            Take();
        }

        Expect(TokenKind.BlockEnd);
        return new IfStatement(line, branches, otherwise);
    }

    private ForStatement ParseFor(int line)
    {
        AssignmentTarget target = ParseTarget(line);
        if (target.Attribute is not null || !TryTakeName("in"))
        {
            throw Unexpected("names and 'in'");
        }

        Expression source = ParseTuple(withCondition: false);
        Expression? filter = TryTakeName("if") ? ParseExpression() : null;
        if (Current.IsName("recursive"))
        {
            throw new ChatTemplateException("a 'recursive' loop is not known here: use a macro that calls itself.", Current.Line);
        }

        Expect(TokenKind.BlockEnd);
        _loops++;
        Block body = ParseBlock(line, "for", "else", "endfor");
        _loops--;
        Block? otherwise = null;
        if (Take().Text == "else")
        {
            Expect(TokenKind.BlockEnd);
            otherwise = ParseBlock(line, "for", "endfor");
            Take();
        }

        Expect(TokenKind.BlockEnd);
        return new ForStatement(line, target, source, filter, body, otherwise);
    }

    private AssignmentTarget ParseTarget(int line)
    {
        bool parenthesis = TryTakeOperator("(");
        var names = new List<string> { ExpectName() };
        string? attribute = !parenthesis && TryTakeOperator(".") ? ExpectName() : null;
        bool unpacks = false;
        while (attribute is null && TryTakeOperator(","))
        {
            unpacks = true;
            if (Current.Kind != TokenKind.Name || Current.IsName("in"))
            {
                break;
            }

            names.Add(ExpectName());
        }

        if (parenthesis)
        {
            ExpectOperator(")");
        }

        return new AssignmentTarget(line, names, attribute, unpacks);
    }

    private Statement ParseSet(int line)
    {
        AssignmentTarget target = ParseTarget(line);
        if (TryTakeOperator("="))
        {
            Expression value = ParseTuple();
            Expect(TokenKind.BlockEnd);
            return new SetStatement(line, target, value);
        }

        var filters = new List<(string, ArgumentList)>();
        while (TryTakeOperator("|"))
        {
            filters.Add(ParseFilterCall());
        }

        Expect(TokenKind.BlockEnd);
        Block body = ParseApart("set", line);
        return new SetBlockStatement(line, target, filters, body);
    }

    private MacroStatement ParseMacro(int line)
    {
        string name = ExpectName();
        ExpectOperator("(");
        var parameters = new List<(string, Expression?)>();
        while (!TryTakeOperator(")"))
        {
            if (parameters.Count > 0)
            {
                ExpectOperator(",");
            }

            parameters.Add((ExpectName(), TryTakeOperator("=") ? ParseExpression() : null));
        }

        Expect(TokenKind.BlockEnd);
        return new MacroStatement(line, name, parameters, ParseApart("macro", line));
    }

    private GenerationStatement ParseGeneration(int line)
    {
        Expect(TokenKind.BlockEnd);
        return new GenerationStatement(line, ParseApart("generation", line));
    }

    /// <summary>A body that a loop around it cannot be left from.</summary>
    private Block ParseApart(string name, int line)
    {
        (int loops, _loops) = (_loops, 0);
        Block body = ParseBlock(line, name, "end" + name);
        Take();
        Expect(TokenKind.BlockEnd);
        _loops = loops;
        return body;
    }

    private LoopControlStatement ParseLoopControl(int line, string name)
    {
        if (_loops == 0)
        {
            throw new ChatTemplateException($"'{name}' stands outside a loop.", line);
        }

        Expect(TokenKind.BlockEnd);
        return new LoopControlStatement(line, name == "break" ? Flow.Break : Flow.Continue);
    }
}
