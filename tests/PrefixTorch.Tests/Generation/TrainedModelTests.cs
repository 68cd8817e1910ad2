using System.Text.Json;
using PrefixTorch.Caching;
using PrefixTorch.Generation;
using PrefixTorch.Memory;
using PrefixTorch.Tests.Parity;

namespace PrefixTorch.Tests.Generation;

/// <summary>The trained model's runs, id by id, from a state that was saved and restored.</summary>
public class TrainedModelTests
{
    private static readonly GenerationOptions s_greedy = new() { Greedy = true, MaxNewTokens = 48 };

    private static CancellationToken Cancellation => TestContext.Current.CancellationToken;

    [Fact]
    public async Task EveryRunIsHuggingFaces()
    {
        using Golden golden = Golden.Load("trained");
        using Llama llama = await Llama.LoadAsync(Repository.TinyTolstoy, new() { DType = DType.Float32 }, Cancellation);
        using KvCache prefix = await llama.PrefillAsync(golden.Json.GetProperty("prefix").GetString()!, cancellationToken: Cancellation);
        Assert.Equal(golden.Json.GetProperty("prefix_ids").EnumerateArray().Select(id => id.GetInt32()), prefix.Tokens);
        string path = Path.GetTempFileName();
        try
        {
            prefix.Save(path);
            using KvCache restored = KvCache.Load(path, llama);
            foreach (JsonElement run in golden.Json.GetProperty("runs").EnumerateArray())
            {
                foreach (KvCache from in new[] { prefix, restored })
                {
                    using Continuation continuation = await llama.ContinueAsync(from, run.GetProperty("suffix").GetString()!, s_greedy, cancellationToken: Cancellation);
                    AssertIsRun(run, continuation);
                }
            }

            Assert.Equal(18, prefix.Length);
        }
        finally
        {
            File.Delete(path);
        }
    }

    [Fact]
    public async Task BranchesAreTheRunsOneByOne()
    {
        using Golden golden = Golden.Load("trained");
        using Llama llama = await Llama.LoadAsync(Repository.TinyTolstoy, new() { DType = DType.Float32 }, Cancellation);
        using KvCache prefix = await llama.PrefillAsync(golden.Json.GetProperty("prefix").GetString()!, cancellationToken: Cancellation);
        JsonElement[] runs = [.. golden.Json.GetProperty("runs").EnumerateArray()];
        Continuation[] branches = await llama.GenerateBranchesAsync(prefix, [.. runs.Select(run => run.GetProperty("suffix").GetString()!)], s_greedy, cancellationToken: Cancellation);
        for (int i = 0; i < runs.Length; i++)
        {
            using Continuation branch = branches[i];
            AssertIsRun(runs[i], branch);
        }
    }

    [Fact]
    public async Task SmolLMAnswersFromASavedState()
    {
        string folder = SmolLM.Folder();
        using JsonDocument golden = JsonDocument.Parse(await File.ReadAllTextAsync(Repository.SharedFixture("smollm2-135m", "goldens", "golden.json"), Cancellation));
        using Llama llama = await Llama.LoadAsync(folder, new() { DType = DType.Float32 }, Cancellation);
        string path = Path.GetTempFileName();
        try
        {
            foreach (JsonElement run in golden.RootElement.GetProperty("runs").EnumerateArray())
            {
                using (KvCache prefix = await llama.PrefillAsync(run.GetProperty("prefix").GetString()!, new() { ParseSpecial = true }, cancellationToken: Cancellation))
                {
                    prefix.Save(path);
                }

                using KvCache restored = KvCache.Load(path, llama);
                using Continuation continuation = await llama.ContinueAsync(restored, run.GetProperty("suffix").GetString()!, s_greedy with { IgnoreEos = true, KeepSpecialTokens = true }, cancellationToken: Cancellation);
                Assert.Equal(Ids(run, "prompt_ids"), continuation.PromptIds);
                if (run.GetProperty("smallest_margin").GetDouble() > 1e-2)
                {
                    Assert.Equal(Ids(run, "greedy_ids"), continuation.Ids);
                    Assert.Equal(run.GetProperty("text").GetString(), continuation.Text);
                }
            }
        }
        finally
        {
            File.Delete(path);
        }
    }

    private static void AssertIsRun(JsonElement run, Continuation continuation)
    {
        Assert.Equal(Ids(run, "prompt_ids"), continuation.PromptIds);
        Assert.Equal(Ids(run, "greedy_ids"), continuation.Ids);
        Assert.Equal(run.GetProperty("text").GetString(), continuation.Text);
        Assert.Equal(FinishReason.Length, continuation.FinishReason);
        Assert.Equal([.. continuation.PromptIds, .. continuation.Ids], continuation.Cache.Tokens);
        Usage usage = continuation.Report.Usage;
        Assert.Equal((continuation.PromptIds.Length, 48), (usage.PromptTokens, usage.GeneratedTokens));
        Assert.Equal(usage.PromptTokens, usage.ReusedTokens + usage.ComputedTokens);
        Assert.InRange(usage.ReusedTokens, 17, 18);
    }

    private static IEnumerable<int> Ids(JsonElement run, string name) => run.GetProperty(name).EnumerateArray().Select(id => id.GetInt32());
}
