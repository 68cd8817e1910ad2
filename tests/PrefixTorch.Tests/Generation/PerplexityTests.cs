using System.Text.Json;
using PrefixTorch.Generation;
using PrefixTorch.Sampling;
using PrefixTorch.Tests.Caching;
using PrefixTorch.Tests.Cli;

namespace PrefixTorch.Tests.Generation;

public class PerplexityTests
{
    private static readonly string s_text = Repository.Fixture("text", "war-and-peace-end.txt");

    private static CancellationToken Cancellation => TestContext.Current.CancellationToken;

    [Fact]
    public async Task ItIsHuggingFaces()
    {
        JsonElement golden = JsonDocument.Parse(await File.ReadAllTextAsync(Repository.Fixture("text", "perplexity.json"), Cancellation)).RootElement.GetProperty("tiny-tolstoy");
        int[] ids = Tolstoy.Fp32.Tokenizer.Encode(await File.ReadAllTextAsync(s_text, Cancellation))[..golden.GetProperty("tokens").GetInt32()];
        PerplexityReport report = await Tolstoy.Fp32.PerplexityAsync(ids, cancellationToken: Cancellation);
        Assert.Equal(golden.GetProperty("scored").GetInt32(), report.Scored);
        Assert.Equal(golden.GetProperty("mean_negative_log_likelihood").GetDouble(), report.MeanNegativeLogLikelihood, 1e-5);
        Assert.Null(report.FromReference);
        Assert.Null(report.OfDecodePath);
    }

    [Fact]
    public async Task WindowsAreReadFromNothing()
    {
        int[] ids = Tolstoy.Fp32.Tokenizer.Encode((await File.ReadAllTextAsync(s_text, Cancellation))[..1200]);
        PerplexityReport whole = await Tolstoy.Fp32.PerplexityAsync(ids, new() { Context = 50 }, cancellationToken: Cancellation);
        double sum = 0;
        int scored = 0;
        foreach (int[] window in ids.Chunk(50).Where(window => window.Length > 1))
        {
            PerplexityReport part = await Tolstoy.Fp32.PerplexityAsync(window, cancellationToken: Cancellation);
            sum += part.MeanNegativeLogLikelihood * part.Scored;
            scored += part.Scored;
        }

        Assert.Equal(scored, whole.Scored);
        Assert.Equal(sum / scored, whole.MeanNegativeLogLikelihood, 1e-9);
    }

    [Fact]
    public async Task AModelIsNoDistanceFromItselfAndTheDecodePathIsNear()
    {
        int[] ids = Tolstoy.Fp32.Tokenizer.Encode((await File.ReadAllTextAsync(s_text, Cancellation))[..900]);
        PerplexityReport report = await Tolstoy.Fp32.PerplexityAsync(ids, new() { Reference = Tolstoy.Fp32, DecodePath = true }, cancellationToken: Cancellation);
        Assert.Equal((report.Perplexity, 1), (report.FromReference!.Perplexity, report.FromReference.SameBest));
        Assert.InRange(report.FromReference.Largest, 0, 1e-13);
        Assert.InRange(report.OfDecodePath!.Mean, 0, 1e-8);
        Assert.Equal(report.Perplexity, report.OfDecodePath.Perplexity, 1e-3);
    }

    [Fact]
    public void DivergenceIsTheSumOfItsDefinition()
    {
        float[] p = [1, 2, 3, float.NegativeInfinity], q = [0.5f, 2.5f, 1, -4];
        double[] a = Probabilities(p), b = Probabilities(q);
        double expected = a.Zip(b).Where(pair => pair.First > 0).Sum(pair => pair.First * Math.Log(pair.First / pair.Second));
        Assert.Equal(expected, LogProbs.Divergence(p, q), 1e-12);
        Assert.Equal(0, LogProbs.Divergence(p, p));
        Assert.Equal(double.PositiveInfinity, LogProbs.Divergence(q, p));
        Assert.Contains("4 and 3", Assert.Throws<ArgumentException>(() => LogProbs.Divergence(p, [1, 2, 3])).Message, StringComparison.Ordinal);

        static double[] Probabilities(float[] logits) => [.. logits.Select(logit => Math.Exp(logit) / logits.Sum(other => Math.Exp(other)))];
    }

    [Fact]
    public async Task TheVerbReportsModelReferenceAndDecodePath()
    {
        CliRun run = await CliRun.Of("perplexity", "--text", $"@{s_text}", "--max-tokens", "150", "--against-dtype", "float32", "--decode", "--json");
        Assert.Equal(0, run.ExitCode);
        Assert.Equal(150, run.Json.GetProperty("tokens").GetInt32());
        Assert.Equal(149, run.Json.GetProperty("scored").GetInt32());
        double perplexity = run.Json.GetProperty("perplexity").GetDouble();
        foreach (string other in new[] { "against", "decode" })
        {
            Assert.Equal(perplexity, run.Json.GetProperty(other).GetProperty("perplexity").GetDouble(), perplexity / 50);
            Assert.InRange(run.Json.GetProperty(other).GetProperty("mean_kl").GetDouble(), 0, 0.01);
            Assert.InRange(run.Json.GetProperty(other).GetProperty("same_best").GetDouble(), 0.8, 1);
        }

        // The reference is what it is by itself, whatever the first model's keys and values are held in.
        string[] small = ["perplexity", "--text", $"@{s_text}", "--max-tokens", "150", "--json"];
        double plain = (await CliRun.Of(small)).Json.GetProperty("perplexity").GetDouble();
        foreach (string against in new[] { "--against-dtype", "--against-kv-dtype" })
        {
            JsonElement json = (await CliRun.Of([.. small, "--kv-dtype", "int8", against, "auto"])).Json;
            Assert.Equal(plain, json.GetProperty("against").GetProperty("perplexity").GetDouble());
            Assert.NotEqual(plain, json.GetProperty("perplexity").GetDouble());
        }

        JsonElement same = (await CliRun.Of([.. small, "--kv-dtype", "int8", "--against-kv-dtype", "int8"])).Json.GetProperty("against");
        Assert.InRange(same.GetProperty("max_kl").GetDouble(), 0, 1e-9);

        CliRun alone = await CliRun.Of("perplexity", "--text", $"@{s_text}", "--max-tokens", "150");
        Assert.Single(alone.Out.TrimEnd().Split(Environment.NewLine));
        (await CliRun.Of("perplexity", "--text", "")).AssertFailed(1, "longer text");
        (await CliRun.Of("perplexity")).AssertFailed(2, "--text");
    }
}
