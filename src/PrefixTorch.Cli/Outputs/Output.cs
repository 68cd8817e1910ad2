using System.Text.Encodings.Web;
using System.Text.Json;
using System.Text.Json.Serialization;
using Spectre.Console;

namespace PrefixTorch.Cli.Outputs;

/// <summary>
/// Where a verb's results go: standard output, for people where it is a terminal, otherwise for programs. Notes and progress go
/// to standard error, and nothing else does.
/// </summary>
internal sealed class Output(Streams streams, bool json = false, bool quiet = false, bool verbose = false)
{
    private static readonly JsonSerializerOptions s_compact = new()
    {
        Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping,
        PropertyNamingPolicy = JsonNamingPolicy.SnakeCaseLower,
        NumberHandling = JsonNumberHandling.AllowNamedFloatingPointLiterals,
    };

    private static readonly JsonSerializerOptions s_indented = new(s_compact) { WriteIndented = true };

    /// <summary>Whether one JSON document is wanted.</summary>
    public bool Json { get; } = json;

    /// <summary>Whether more is to be told than one usually wants to know.</summary>
    public bool Verbose { get; } = verbose;

    /// <summary>Whether results go to a person.</summary>
    public bool IsTerminal => streams.OutIsTerminal && !Json;

    /// <summary>Whether there is anybody to watch progress.</summary>
    public bool ShowsProgress => streams.ErrIsTerminal && !quiet;

    /// <summary>What tables and colours are drawn with, on standard output.</summary>
    public Drawing Results { get; } = new(streams.Out, streams.OutIsTerminal);

    /// <summary>What progress is drawn with, on standard error.</summary>
    public Drawing Progress { get; } = new(streams.Err, streams.ErrIsTerminal);

    /// <summary>Writes text as it is, at once.</summary>
    public void Write(string text)
    {
        streams.Out.Write(text);
        streams.Out.Flush();
    }

    /// <summary>Writes a line.</summary>
    public void WriteLine(string text = "")
    {
        streams.Out.WriteLine(text);
        streams.Out.Flush();
    }

    /// <summary>Writes a JSON document: on one line, or indented where a person reads it. Property names become snake case.</summary>
    public void Document<T>(T document) => WriteLine(JsonSerializer.Serialize(document, streams.OutIsTerminal ? s_indented : s_compact));

    /// <summary>Writes a JSON document on one line, whoever reads it.</summary>
    public void Line<T>(T document) => WriteLine(JsonSerializer.Serialize(document, s_compact));

    /// <summary>Writes a line that stands above something.</summary>
    public void Heading(string text)
    {
        string line = text.ReplaceLineEndings(" ").Trim();
        if (IsTerminal)
        {
            Results.Write(new Rule(Markup.Escape(line)).LeftJustified());
        }
        else
        {
            WriteLine($"--- {line}");
        }
    }

    /// <summary>Writes rows: a table for people, tabs between the cells for programs. Titles that are empty are left out.</summary>
    public void Rows(string[] titles, IEnumerable<string[]> rows)
    {
        if (!IsTerminal)
        {
            foreach (string[] row in rows)
            {
                WriteLine(string.Join('\t', row));
            }

            return;
        }

        var table = new Table().Border(TableBorder.Rounded);
        table.ShowHeaders = titles.Any(title => title.Length > 0);
        foreach (string title in titles)
        {
            table.AddColumn(new TableColumn(new Text(title, new Style(decoration: Decoration.Bold))));
        }

        foreach (string[] row in rows)
        {
            table.AddRow(row.Select(cell => new Text(cell)));
        }

        Results.Write(table);
    }

    /// <summary>Tells something that is not a result.</summary>
    public void Note(string text)
    {
        if (!quiet)
        {
            streams.Err.WriteLine(text);
        }
    }

    /// <summary>Tells what could not be done, however quiet it is to be.</summary>
    public void Error(string text) => streams.Err.WriteLine(text);

    /// <summary>Tells something that only the curious want to know.</summary>
    public void Detail(string text)
    {
        if (Verbose)
        {
            Note(text);
        }
    }
}
