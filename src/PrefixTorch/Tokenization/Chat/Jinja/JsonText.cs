using System.Globalization;
using System.Numerics;
using System.Text;
using System.Text.Json;

namespace PrefixTorch.Tokenization.Chat.Jinja;

/// <summary>
/// JSON both ways: what a caller gives becomes values, and the filter <c>tojson</c> writes values as Python's json.dumps
/// does with ensure_ascii off (transformers' choice; Jinja's own would escape HTML). What it writes counts as the caller's.
/// </summary>
internal static class JsonText
{
    /// <summary>A caller's JSON as a template's value; its strings are the caller's.</summary>
    public static object? ToValue(JsonElement json) => json.ValueKind switch
    {
        JsonValueKind.String => TracedText.Untrusted(json.GetString()!),
        JsonValueKind.True => true,
        JsonValueKind.False => false,
        JsonValueKind.Number => ToNumber(json.GetRawText()),
        JsonValueKind.Array => new JinjaList(json.EnumerateArray().Select(ToValue)),
        JsonValueKind.Object => ToMapping(json.EnumerateObject().Select(member => KeyValuePair.Create(member.Name, ToValue(member.Value)))),
        _ => null,
    };

    public static JinjaMapping ToMapping(IEnumerable<KeyValuePair<string, object?>> members)
    {
        var mapping = new JinjaMapping();
        foreach ((string name, object? value) in members)
        {
            mapping.Set(TracedText.Untrusted(name), value);
        }

        return mapping;
    }

    public static object? Filter(RenderContext context, object? value, Arguments arguments)
    {
        object?[] values = arguments.Bind(context, "tojson", "ensure_ascii=", "indent=", "separators=", "sort_keys=");
        string? indent = values[1] switch
        {
            long width => new string(' ', (int)Math.Clamp(width, 0, 64)),
            TracedText text => text.Value,
            _ => null,
        };
        var writer = new Writer(context, indent, values[0] is true, values[3] is true);
        if (values[2] is JinjaList { Items: [TracedText item, TracedText key] })
        {
            (writer.ItemSeparator, writer.KeySeparator) = (item.Value, key.Value);
        }

        writer.Write(value, 0);
        context.Spend(writer.Text.Length);
        return TracedText.Untrusted(writer.Text.ToString());
    }

    private static object ToNumber(string text)
    {
        if (text.AsSpan().IndexOfAny(".eE") >= 0)
        {
            return double.Parse(text, CultureInfo.InvariantCulture);
        }

        return long.TryParse(text, NumberStyles.AllowLeadingSign, CultureInfo.InvariantCulture, out long number) ? (object)number : BigInteger.Parse(text, CultureInfo.InvariantCulture);
    }

    private sealed class Writer(RenderContext context, string? indent, bool ensureAscii, bool sortKeys)
    {
        public StringBuilder Text { get; } = new();

        public string ItemSeparator { get; set; } = indent is null ? ", " : ",";

        public string KeySeparator { get; set; } = ": ";

        public void Write(object? value, int depth)
        {
            context.Step(context.Line);
            switch (value)
            {
                case null: Text.Append("null"); break;
                case bool b: Text.Append(b ? "true" : "false"); break;
                case double d: Text.Append(double.IsNaN(d) ? "NaN" : double.IsInfinity(d) ? (d > 0 ? "Infinity" : "-Infinity") : PythonText.Float(d)); break;
                case long or BigInteger: Text.Append(CultureInfo.InvariantCulture, $"{value}"); break;
                case TracedText text: WriteString(text.Value); break;
                case JinjaList { Kind: not ListKind.Generator } list:
                    WriteAll('[', ']', list.Items, depth, item => Write(item, depth + 1));
                    break;
                case JinjaMapping mapping:
                    IEnumerable<KeyValuePair<object, object?>> members = sortKeys ? mapping.Items.OrderBy(member => KeyText(member.Key), StringComparer.Ordinal) : mapping.Items;
                    WriteAll('{', '}', [.. members], depth, member =>
                    {
                        WriteString(KeyText(member.Key));
                        Text.Append(KeySeparator);
                        Write(member.Value, depth + 1);
                    });
                    break;
                default: throw context.Error($"tojson cannot write {Operators.Describe(value)}.");
            }
        }

        private static string KeyText(object key) => key switch
        {
            TracedText text => text.Value,
            bool b => b ? "true" : "false",
            double d => PythonText.Float(d),
            _ => Convert.ToString(key, CultureInfo.InvariantCulture)!,
        };

        private void WriteAll<T>(char open, char close, IReadOnlyList<T> items, int depth, Action<T> write)
        {
            Text.Append(open);
            for (int i = 0; i < items.Count; i++)
            {
                if (i > 0)
                {
                    Text.Append(ItemSeparator);
                }

                NewLine(depth + 1);
                write(items[i]);
            }

            if (items.Count > 0)
            {
                NewLine(depth);
            }

            Text.Append(close);
        }

        private void NewLine(int depth)
        {
            if (indent is not null)
            {
                Text.Append('\n').Insert(Text.Length, indent, depth);
            }
        }

        private void WriteString(string text)
        {
            context.Spend(text.Length);
            Text.Append('"');
            foreach (char c in text)
            {
                _ = c switch
                {
                    '"' => Text.Append("\\\""),
                    '\\' => Text.Append("\\\\"),
                    '\n' => Text.Append("\\n"),
                    '\r' => Text.Append("\\r"),
                    '\t' => Text.Append("\\t"),
                    '\b' => Text.Append("\\b"),
                    '\f' => Text.Append("\\f"),
                    _ when c < ' ' || (ensureAscii && c > '~') => Text.Append(CultureInfo.InvariantCulture, $"\\u{(int)c:x4}"),
                    _ => Text.Append(c),
                };
            }

            Text.Append('"');
        }
    }
}
