using PrefixTorch.Caching;
using PrefixTorch.Cli;
using PrefixTorch.Cli.Outputs;
using PrefixTorch.Generation;
using PrefixTorch.Sampling;
using PrefixTorch.Tests.Caching;
using PrefixTorch.Tokenization;

namespace PrefixTorch.Tests.Generation;

/// <summary>A cancelled generation's text is all that was generated.</summary>
public sealed class CancelledTextTests
{
    private static readonly GenerationOptions s_kept = new() { Greedy = true, IgnoreEos = true, MaxNewTokens = 100, KeepOnCancel = true };

    private static CancellationToken Cancellation => TestContext.Current.CancellationToken;

    private static LlamaTokenizer Tokenizer => Tolstoy.Fp32.Tokenizer;

    [Fact]
    public async Task TextThatMightHaveBecomeAStopTextIsThere()
    {
        const string Text = " I went to the";
        int[] ids = Tokenizer.Encode(Text, addBos: false);
        using var cancel = new CancellationTokenSource();
        using KvCache prefix = await Tolstoy.Fp32.PrefillAsync(Tolstoy.Prefix, cancellationToken: Cancellation);
        GenerationOptions options = s_kept with { Stop = [" the end of all things"], LogitsProcessors = [new Forced(ids), new CancelAt(cancel, ids.Length)] };
        using var shown = new StringWriter();
        using var streams = new Streams(TextReader.Null, shown, TextWriter.Null);
        var output = new SequenceOutput(new Output(streams, json: false, quiet: true, verbose: false), "tolstoy", single: true, logProbs: false);
        using Continuation kept = await Tolstoy.Fp32.ContinueAsync(prefix, "", options, output.Stream, cancellationToken: cancel.Token);
        Assert.Equal(FinishReason.Cancelled, kept.FinishReason);
        Assert.Equal(ids, kept.Ids);
        Assert.Equal(Text, kept.Text);
        Assert.Equal(" I went to", shown.ToString());
        output.Add("", kept, kept.Report);
        Assert.Equal(Text, shown.ToString());
    }

    [Fact]
    public async Task CharacterThatIsNotWholeIsThereAsEver()
    {
        int[] ids = [.. "🙂"u8.ToArray().Select(value => Tokenizer.TokenId(ByteLevelAlphabet.ToChar(value).ToString())!.Value)];
        using var cancel = new CancellationTokenSource();
        using KvCache prefix = await Tolstoy.Fp32.PrefillAsync(Tolstoy.Prefix, cancellationToken: Cancellation);
        using Continuation kept = await Tolstoy.Fp32.ContinueAsync(prefix, "", s_kept with { LogitsProcessors = [new Forced(ids), new CancelAt(cancel, 2)] }, cancellationToken: cancel.Token);
        Assert.Equal("\uFFFD", kept.Text);
        using Continuation rest = await Tolstoy.Fp32.ContinueAsync(kept.Cache, "", s_kept with { MaxNewTokens = 2, LogitsProcessors = [new Forced(ids)] }, cancellationToken: Cancellation);
        Assert.Equal("🙂", rest.Text);
    }

    [Fact]
    public async Task StreamJustEnds()
    {
        int[] ids = Tokenizer.Encode(" I went to the", addBos: false);
        using var cancel = new CancellationTokenSource();
        GenerationOptions options = s_kept with { Stop = [" the end"], LogitsProcessors = [new Forced(ids), new CancelAt(cancel, ids.Length)] };
        List<Token> tokens = [];
        await foreach (Token token in Tolstoy.Fp32.GenerateAsync(Tolstoy.Prefix, options, cancel.Token))
        {
            tokens.Add(token);
        }

        Assert.Equal(ids, tokens.Select(token => token.Id));
        Assert.All(tokens, token => Assert.Null(token.Report));
    }

    /// <summary>Cancels while a token is chosen: that one is the last.</summary>
    private sealed class CancelAt(CancellationTokenSource source, int count) : LogitsProcessor
    {
        public override void Process(Span<float> scores, LogitsContext context)
        {
            if (context.GeneratedIds.Length == count - 1)
            {
                source.Cancel();
            }
        }
    }
}
