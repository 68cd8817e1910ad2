using PrefixTorch.Generation;

namespace PrefixTorch.Cli.Outputs;

/// <summary>Shows sequences: the only one as it grows, several one after another, or all as one JSON document.</summary>
/// <param name="output">Where to.</param>
/// <param name="model">The model's name.</param>
/// <param name="single">Whether there is one sequence only.</param>
/// <param name="logProbs">Whether log-probabilities were asked for.</param>
/// <param name="headings">Whether several are told apart by headings also where nobody watches.</param>
internal sealed class SequenceOutput(Output output, string model, bool single, bool logProbs, bool headings = false)
{
    private readonly List<SequenceDocument> _documents = [];
    private int _streamed;

    /// <summary>Shows a new token of the only sequence.</summary>
    public void Stream(Token token)
    {
        if (single && !output.Json)
        {
            output.Write(token.Text);
            _streamed += token.Text.Length;
        }
    }

    /// <summary>Shows a sequence that has ended, and what it took.</summary>
    public void Add(string? suffix, Continuation continuation, GenerationReport report)
    {
        int index = _documents.Count;
        _documents.Add(SequenceDocument.Of(index, suffix, continuation, report, logProbs));
        if (!output.Json)
        {
            Show(index, suffix, continuation);
            Tell(report);
        }
    }

    /// <summary>Ends the output.</summary>
    /// <returns>The exit code.</returns>
    public int End()
    {
        if (output.Json)
        {
            output.Document(new GenerationDocument(model, _documents));
        }

        if (!_documents.Exists(document => document.FinishReason == "cancelled"))
        {
            return ExitCode.Done;
        }

        output.Note("interrupted");
        return ExitCode.Interrupted;
    }

    private void Show(int index, string? suffix, Continuation continuation)
    {
        if (!single)
        {
            if (output.IsTerminal || headings)
            {
                output.Heading($"{index + 1}. {suffix}");
            }

            output.WriteLine(continuation.Text);
        }
        else
        {
            // Of a cancelled sequence, what no token carries.
            output.Write(continuation.Text[_streamed..]);
            if (output.IsTerminal)
            {
                output.WriteLine();
            }
        }
    }

    private void Tell(GenerationReport report)
    {
        Usage usage = report.Usage;
        Timings timings = report.Timings;
        string seed = report.Seed is { } drawn ? $"; seed {drawn}" : "";
        string reuse = report.Reuse is { } note ? $"; {note}" : "";
        output.Note($"{usage.PromptTokens} prompt tokens ({usage.ReusedTokens} reused, {usage.ComputedTokens} read in {timings.PrefillSeconds:F2} s), {usage.GeneratedTokens} new ones at {timings.TokensPerSecond:F1} a second{seed}{reuse}");
    }
}
