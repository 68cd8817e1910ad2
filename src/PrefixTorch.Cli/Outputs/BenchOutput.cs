using PrefixTorch.Cli.Bench;

namespace PrefixTorch.Cli.Outputs;

/// <summary>Lines of a benchmark: as they come for programs; for people a note as they come, and a table at the end.</summary>
internal sealed class BenchOutput(Output output)
{
    private readonly List<BenchLine> _lines = [];

    public void Add(BenchLine line)
    {
        if (output.Json)
        {
            output.Line(line.Fields);
            return;
        }

        _lines.Add(line);
        if (output.IsTerminal)
        {
            output.Note(string.Join("  ", line.Row));
        }
    }

    public void AddRange(IEnumerable<BenchLine> lines)
    {
        foreach (BenchLine line in lines)
        {
            Add(line);
        }
    }

    /// <summary>Draws the table; also of an interrupted run.</summary>
    public void End()
    {
        if (_lines.Count > 0)
        {
            output.Rows(["", "", ""], _lines.Select(line => line.Row));
        }
    }
}
