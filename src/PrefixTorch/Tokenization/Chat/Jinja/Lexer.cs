using System.Text;

namespace PrefixTorch.Tokenization.Chat.Jinja;

/// <summary>
/// A template's source to tokens. Whitespace is taken away as Jinja does with trim_blocks (the newline after a block
/// or comment) and lstrip_blocks (the blanks before one that begins a line), which is how transformers renders chats.
/// </summary>
internal sealed class Lexer
{
    private static readonly string[] s_operators =
        ["//", "**", "==", "!=", ">=", "<=", "+", "-", "/", "*", "%", "~", "[", "]", "(", ")", "{", "}", ">", "<", "=", ".", ":", "|", ",", ";"];

    private readonly string _source;
    private readonly List<Token> _tokens = [];
    private int _position;
    private int _line = 1;
    private int _linePosition;

    private Lexer(string source) => _source = source;

    public static List<Token> Tokenize(string source)
    {
        source = source.Replace("\r\n", "\n", StringComparison.Ordinal).Replace('\r', '\n');
        var lexer = new Lexer(source.EndsWith('\n') ? source[..^1] : source);
        lexer.ReadTemplate();
        return lexer._tokens;
    }

    private void ReadTemplate()
    {
        while (true)
        {
            int tag = FindTag(_position);
            if (tag < 0)
            {
                AddData(_source[_position..]);
                _position = _source.Length;
                Add(TokenKind.End, "");
                return;
            }

            ReadTextBefore(tag);
            bool signed = Peek(tag + 2) is '-' or '+';
            _position = tag + 2 + (signed ? 1 : 0);
            switch (_source[tag + 1])
            {
                case '#':
                    SkipComment(tag);
                    break;
                case '%' when TryReadRaw():
                    break;
                case '%':
                    Add(TokenKind.BlockBegin, "");
                    ReadExpression(tag, "%}", TokenKind.BlockEnd);
                    break;
                default:
                    Add(TokenKind.OutputBegin, "");
                    ReadExpression(tag, "}}", TokenKind.OutputEnd);
                    break;
            }
        }
    }

    private int FindTag(int from)
    {
        for (int at = _source.IndexOf('{', from); at >= 0; at = _source.IndexOf('{', at + 1))
        {
            if (Peek(at + 1) is '{' or '%' or '#')
            {
                return at;
            }
        }

        return -1;
    }

    /// <summary>The text up to a tag, without the blanks that the tag takes away.</summary>
    private void ReadTextBefore(int tag)
    {
        string text = _source[_position..tag];
        char sign = Peek(tag + 2);
        if (sign == '-')
        {
            text = PythonText.TrimEnd(text);
        }
        else if (sign != '+' && _source[tag + 1] != '{')
        {
            int lineStart = text.LastIndexOf('\n') + 1;
            bool beginsLine = lineStart > 0 || _position == 0 || _source[_position - 1] == '\n';
            if (beginsLine && PythonText.TrimStart(text[lineStart..]).Length == 0)
            {
                text = text[..lineStart];
            }
        }

        AddData(text);
    }

    private void SkipComment(int tag)
    {
        int end = _source.IndexOf("#}", _position, StringComparison.Ordinal);
        if (end < 0)
        {
            throw new ChatTemplateException("the comment that begins with '{#' has no '#}'.", LineOf(tag));
        }

        _position = end + 2;
        SkipAfterBlock(end > 0 ? _source[end - 1] : ' ');
    }

    /// <summary>What follows a block's or comment's end and goes with it.</summary>
    private void SkipAfterBlock(char sign)
    {
        if (sign == '-')
        {
            SkipBlanks();
        }
        else if (sign != '+' && Peek(_position) == '\n')
        {
            _position++;
        }
    }

    private bool TryReadRaw()
    {
        int at = _position;
        if (!SkipTag(ref at, "raw", out char sign))
        {
            return false;
        }

        _position = at;
        if (sign == '-')
        {
            SkipBlanks();
        }

        for (int tag = _source.IndexOf("{%", _position, StringComparison.Ordinal); tag >= 0; tag = _source.IndexOf("{%", tag + 1, StringComparison.Ordinal))
        {
            int end = tag + 2 + (Peek(tag + 2) is '-' or '+' ? 1 : 0);
            if (SkipTag(ref end, "endraw", out sign))
            {
                ReadTextBefore(tag);
                _position = end;
                SkipAfterBlock(sign);
                return true;
            }
        }

        throw new ChatTemplateException("'{% raw %}' has no '{% endraw %}'.", LineOf(at));
    }

    private bool SkipTag(ref int at, string name, out char sign)
    {
        int position = SkipBlanks(at);
        sign = ' ';
        if (string.CompareOrdinal(_source, position, name, 0, name.Length) != 0)
        {
            return false;
        }

        position = SkipBlanks(position + name.Length);
        if (Peek(position) is '-' or '+')
        {
            sign = _source[position++];
        }

        if (Peek(position) != '%' || Peek(position + 1) != '}')
        {
            return false;
        }

        at = position + 2;
        return true;
    }

    private void ReadExpression(int tag, string end, TokenKind endKind)
    {
        var open = new Stack<char>();
        while (true)
        {
            SkipBlanks();
            char c = Peek(_position);
            if (_position >= _source.Length)
            {
                throw new ChatTemplateException($"what begins with '{_source.Substring(tag, 2)}' has no '{end}'.", LineOf(tag));
            }

            // Inside brackets an end is only a bracket: {{ {'a': {}} }}.
            if (open.Count == 0)
            {
                bool signed = c == '-' || (c == '+' && endKind == TokenKind.BlockEnd);
                int at = _position + (signed ? 1 : 0);
                if (string.CompareOrdinal(_source, at, end, 0, 2) == 0)
                {
                    Add(endKind, "");
                    _position = at + 2;
                    if (endKind == TokenKind.BlockEnd)
                    {
                        SkipAfterBlock(signed ? c : ' ');
                    }
                    else if (signed)
                    {
                        SkipBlanks();
                    }

                    return;
                }
            }

            ReadToken(c, open);
        }
    }

    private void ReadToken(char c, Stack<char> open)
    {
        if (c is '"' or '\'')
        {
            ReadString(c);
        }
        else if (char.IsAsciiDigit(c))
        {
            ReadNumber();
        }
        else if (char.IsLetter(c) || c == '_')
        {
            int start = _position;
            while (char.IsLetterOrDigit(Peek(_position)) || Peek(_position) == '_')
            {
                _position++;
            }

            Add(TokenKind.Name, _source[start.._position], start);
        }
        else
        {
            ReadOperator(c, open);
        }
    }

    private void ReadOperator(char c, Stack<char> open)
    {
        string text = Array.Find(s_operators, each => string.CompareOrdinal(_source, _position, each, 0, each.Length) == 0)
            ?? throw new ChatTemplateException($"the character '{c}' has no meaning in an expression.", LineOf(_position));
        switch (text)
        {
            case "(" or "[" or "{":
                open.Push(text[0] switch { '(' => ')', '[' => ']', _ => '}' });
                break;
            case ")" or "]" or "}" when !open.TryPop(out char expected) || expected != text[0]:
                throw new ChatTemplateException($"'{text}' closes nothing that is open.", LineOf(_position));
        }

        Add(TokenKind.Operator, text);
        _position += text.Length;
    }

    private void ReadNumber()
    {
        int start = _position;
        SkipDigits();
        bool isFloat = false;
        if (Peek(_position) == '.' && char.IsAsciiDigit(Peek(_position + 1)))
        {
            isFloat = true;
            _position++;
            SkipDigits();
        }

        int exponent = _position + 1 + (Peek(_position + 1) is '+' or '-' ? 1 : 0);
        if (Peek(_position) is 'e' or 'E' && char.IsAsciiDigit(Peek(exponent)))
        {
            isFloat = true;
            _position = exponent;
            SkipDigits();
        }

        if (char.IsLetter(Peek(_position)))
        {
            throw new ChatTemplateException($"'{_source[start..(_position + 1)]}' is not a number that is known here: write it in decimal.", LineOf(start));
        }

        Add(isFloat ? TokenKind.Float : TokenKind.Integer, _source[start.._position].Replace("_", "", StringComparison.Ordinal), start);
    }

    private void SkipDigits()
    {
        while (char.IsAsciiDigit(Peek(_position)) || (Peek(_position) == '_' && char.IsAsciiDigit(Peek(_position + 1))))
        {
            _position++;
        }
    }

    private void ReadString(char quote)
    {
        int start = _position++;
        var text = new StringBuilder();
        while (Peek(_position) != quote)
        {
            if (_position >= _source.Length)
            {
                throw new ChatTemplateException($"the string that begins with {quote} has no end.", LineOf(start));
            }

            if (_source[_position] == '\\')
            {
                _position++;
                ReadEscape(text);
            }
            else
            {
                text.Append(_source[_position++]);
            }
        }

        _position++;
        Add(TokenKind.String, text.ToString(), start);
    }

    private void ReadEscape(StringBuilder text)
    {
        char c = Peek(_position++);
        switch (c)
        {
            case 'n': text.Append('\n'); break;
            case 't': text.Append('\t'); break;
            case 'r': text.Append('\r'); break;
            case 'a': text.Append('\a'); break;
            case 'b': text.Append('\b'); break;
            case 'f': text.Append('\f'); break;
            case 'v': text.Append('\v'); break;
            case '\\' or '\'' or '"': text.Append(c); break;
            case '\n': break;
            case 'x': ReadCodePoint(text, 2); break;
            case 'u': ReadCodePoint(text, 4); break;
            case 'U': ReadCodePoint(text, 8); break;
            case >= '0' and <= '7': ReadOctal(text); break;
            default: text.Append('\\').Append(c); break;
        }
    }

    private void ReadOctal(StringBuilder text)
    {
        int value = 0;
        _position--;
        for (int digits = 0; digits < 3 && Peek(_position) is >= '0' and <= '7'; digits++)
        {
            value = value * 8 + (_source[_position++] - '0');
        }

        text.Append((char)value);
    }

    private void ReadCodePoint(StringBuilder text, int digits)
    {
        if (_position + digits > _source.Length || !uint.TryParse(_source.AsSpan(_position, digits), System.Globalization.NumberStyles.AllowHexSpecifier, null, out uint value) || value > 0x10FFFF)
        {
            throw new ChatTemplateException($"a string's escape needs {digits} hexadecimal digits of a character.", LineOf(_position));
        }

        _position += digits;
        if (value < 0x10000)
        {
            text.Append((char)value);
        }
        else
        {
            text.Append(char.ConvertFromUtf32((int)value));
        }
    }

    private void SkipBlanks() => _position = SkipBlanks(_position);

    private int SkipBlanks(int at)
    {
        while (at < _source.Length && PythonText.IsSpace(_source[at]))
        {
            at++;
        }

        return at;
    }

    private char Peek(int at) => at < _source.Length ? _source[at] : '\0';

    private void AddData(string text)
    {
        if (text.Length > 0)
        {
            Add(TokenKind.Data, text);
        }
    }

    private void Add(TokenKind kind, string text) => Add(kind, text, _position);

    private void Add(TokenKind kind, string text, int position) => _tokens.Add(new Token(kind, text, LineOf(position)));

    private int LineOf(int position)
    {
        position = Math.Min(position, _source.Length);
        if (position < _linePosition)
        {
            (_line, _linePosition) = (1, 0);
        }

        _line += _source.AsSpan(_linePosition, position - _linePosition).Count('\n');
        _linePosition = position;
        return _line;
    }
}
