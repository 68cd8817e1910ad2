using System.Text;
using PrefixTorch.Caching;
using PrefixTorch.Checkpoints;
using PrefixTorch.Generation;
using PrefixTorch.Memory;
using PrefixTorch.Tests.Checkpoints;

namespace PrefixTorch.Tests.Caching;

/// <summary>What is saved is what is restored; what does not match is refused with both values.</summary>
public sealed class StateFileTests : IDisposable
{
    private static readonly KvSaveOptions s_fast = new() { FlushToDisk = false };
    private static readonly GenerationOptions s_greedy = new() { Greedy = true, MaxNewTokens = 12 };

    private readonly TemporaryFolder _folder = new();

    private static CancellationToken Cancellation => TestContext.Current.CancellationToken;

    private static Llama Llama => Tolstoy.AsStored;

    [Fact]
    public async Task StateIsRestoredBitForBitWithItsNameAndTextAndOrigins()
    {
        using KvCache prefix = await Prefix();
        using Continuation continuation = await Llama.ContinueAsync(prefix, " and", s_greedy, cancellationToken: Cancellation);
        continuation.Cache.Name = "a try, \"quoted\"";
        continuation.Cache.Save(File("state"), s_fast with { Facts = new Dictionary<string, string> { ["who"] = "a test" } });
        foreach (bool trust in new[] { false, true })
        {
            using var restored = KvCache.Load(File("state"), Llama, new() { Trust = trust });
            Assert.Equal(continuation.Cache.Tokens, restored.Tokens);
            Assert.Equal(continuation.Cache.Origins, restored.Origins);
            Assert.Equal(continuation.Cache.PassStarts, restored.PassStarts);
            Assert.Equal(continuation.Cache.Logits, restored.Logits);
            Assert.Equal(continuation.Cache.Name, restored.Name);
            Assert.Equal(continuation.Cache.Run, restored.Run);
            Assert.Equal(Tolstoy.Bytes(continuation.Cache), Tolstoy.Bytes(restored));
        }

        KvStateInfo info = KvStateInfo.Read(File("state"));
        Assert.Equal((continuation.Cache.Length, "tiny-tolstoy", 2, true), (info.Length, info.Model, info.Version, info.HasLogits));
        Assert.Equal(continuation.Cache.Tokens, info.OwnTokens);
        Assert.Equal(Llama.Tokenizer.Decode(continuation.Cache.Tokens), info.OwnText);
        Assert.Equal("a test", info.Facts["who"]);
    }

    [Fact]
    public async Task EmptySuffixAfterALoadComputesNothing()
    {
        using KvCache prefix = await Prefix();
        prefix.Save(File("state"), s_fast);
        using var restored = KvCache.Load(File("state"), Llama);
        using Continuation expected = await Llama.ContinueAsync(prefix, "", s_greedy, cancellationToken: Cancellation);
        using Continuation found = await Llama.ContinueAsync(restored, "", s_greedy, cancellationToken: Cancellation);
        Assert.Equal(expected.Ids, found.Ids);
        Assert.Equal(0, found.Report.Usage.ComputedTokens);
        Assert.Equal(prefix.ByteCount, found.Report.SharedBytes);
    }

    [Fact]
    public async Task DeltaHoldsItsSuffixAndIsRestoredBitForBit()
    {
        using KvCache prefix = await Llama.PrefillAsync(string.Concat(Enumerable.Repeat(Tolstoy.Prefix + ". ", 30)), cancellationToken: Cancellation);
        prefix.Save(File("root"), s_fast);
        using Continuation branch = await Llama.ContinueAsync(prefix, " And", s_greedy, cancellationToken: Cancellation);
        branch.Cache.Save(File("branch"), s_fast with { Parent = File("root") });
        using Continuation twig = await Llama.ContinueAsync(branch.Cache, "", s_greedy, cancellationToken: Cancellation);
        twig.Cache.Save(File("twig"), s_fast with { Parent = File("branch") });
        using var restored = KvCache.Load(File("twig"), Llama);
        Assert.Equal(twig.Cache.Tokens, restored.Tokens);
        Assert.Equal(twig.Cache.Origins, restored.Origins);
        Assert.Equal(twig.Cache.Logits, restored.Logits);
        Assert.Equal(Tolstoy.Bytes(twig.Cache), Tolstoy.Bytes(restored));

        // A branch of what was restored is the same branch.
        using Continuation expected = await Llama.ContinueAsync(twig.Cache, " He", s_greedy, cancellationToken: Cancellation);
        using Continuation found = await Llama.ContinueAsync(restored, " He", s_greedy, cancellationToken: Cancellation);
        Assert.Equal(expected.Ids, found.Ids);
        found.Cache.Save(File("leaf"), s_fast with { Parent = File("twig") });

        KvStateInfo info = KvStateInfo.Read(File("branch"));
        Assert.Equal(("root", prefix.Length, branch.Cache.Length), (info.Parent, info.ParentLength, info.Length));
        Assert.True(info.FileBytes < new FileInfo(File("root")).Length / 4, "A delta is to be small.");
    }

    [Fact]
    public async Task DeltaMayCutItsParentShort()
    {
        using KvCache prefix = await Prefix();
        prefix.Save(File("root"), s_fast);
        using Continuation branch = await Llama.ContinueAsync(prefix, " and", s_greedy, cancellationToken: Cancellation);
        branch.Cache.Save(File("branch"), s_fast with { Parent = File("root") });
        using KvCache cut = branch.Cache.Clone();
        cut.Truncate(3);
        using Continuation other = await Llama.ContinueAsync(cut, [5, 6, 7], s_greedy, cancellationToken: Cancellation);

        // Three tokens of the grandparent, none of the parent's own.
        other.Cache.Save(File("other"), s_fast with { Parent = File("branch") });
        Assert.Equal(3, KvStateInfo.Read(File("other")).ParentLength);
        using var restored = KvCache.Load(File("other"), Llama);
        Assert.Equal(other.Cache.Tokens, restored.Tokens);
        Assert.Equal(Tolstoy.Bytes(other.Cache), Tolstoy.Bytes(restored));

        // And one with nothing of its own.
        cut.Save(File("cut"), s_fast with { Parent = File("branch") });
        using var again = KvCache.Load(File("cut"), Llama);
        Assert.Equal(cut.Tokens, again.Tokens);
        Assert.Equal(Tolstoy.Bytes(cut), Tolstoy.Bytes(again));
    }

    [Fact]
    public async Task ParentIsFoundInTheFoldersThatAreGiven()
    {
        using KvCache prefix = await Prefix();
        string parents = Directory.CreateDirectory(File("parents")).FullName, moved = Directory.CreateDirectory(File("moved")).FullName;
        prefix.Save(Path.Combine(parents, "root"), s_fast);
        using Continuation branch = await Llama.ContinueAsync(prefix, " and", s_greedy, cancellationToken: Cancellation);
        branch.Cache.Save(File("branch"), s_fast with { Parent = Path.Combine(parents, "root") });
        Assert.Equal("parents/root", KvStateInfo.Read(File("branch")).Parent);
        using (var beside = KvCache.Load(File("branch"), Llama))
        {
            Assert.Equal(branch.Cache.Tokens, beside.Tokens);
        }

        System.IO.File.Move(File("branch"), Path.Combine(moved, "branch"));
        Refuses("parent 'parents/root' (digest", "is missing", () => KvCache.Load(Path.Combine(moved, "branch"), Llama));
        using (var found = KvCache.Load(Path.Combine(moved, "branch"), Llama, new() { StatePath = [parents] }))
        {
            Assert.Equal(branch.Cache.Tokens, found.Tokens);
        }

        System.IO.File.Copy(Path.Combine(parents, "root"), Path.Combine(moved, "root"));
        using (var copied = KvCache.Load(Path.Combine(moved, "branch"), Llama))
        {
            Assert.Equal(branch.Cache.Tokens, copied.Tokens);
        }
    }

    [Fact]
    public async Task ChangedParentIsRefusedWithBothDigests()
    {
        using KvCache prefix = await Prefix();
        prefix.Save(File("root"), s_fast);
        string written = KvStateInfo.Read(File("root")).Digest;
        using Continuation branch = await Llama.ContinueAsync(prefix, " and", s_greedy, cancellationToken: Cancellation);
        branch.Cache.Save(File("branch"), s_fast with { Parent = File("root") });
        prefix.Save(File("root"), s_fast);
        string changed = KvStateInfo.Read(File("root")).Digest;
        Refuses(written, changed, () => KvCache.Load(File("branch"), Llama));
    }

    [Fact]
    public async Task StateThatDoesNotContinueItsParentIsRefused()
    {
        using KvCache prefix = await Prefix(), other = await Llama.PrefillAsync([7, 8, 9], cancellationToken: Cancellation);
        prefix.Save(File("root"), s_fast);
        Refuses("begins with other tokens", "without a parent", () => other.Save(File("other"), s_fast with { Parent = File("root") }));
        Refuses("written over", "another name", () => prefix.Save(File("root"), s_fast with { Parent = File("root") }));
        prefix.Save(File("rough"), s_fast with { Quantization = KvQuantization.Int8 });
        Refuses("other keys and values from token 0", "quantized", () => prefix.Save(File("other"), s_fast with { Parent = File("rough") }));

        // Continued from what was loaded, an 8-bit parent does.
        using var rough = KvCache.Load(File("rough"), Llama);
        using Continuation branch = await Llama.ContinueAsync(rough, " and", s_greedy, cancellationToken: Cancellation);
        branch.Cache.Save(File("branch"), s_fast with { Parent = File("rough") });
        using var restored = KvCache.Load(File("branch"), Llama);
        Assert.Equal(Tolstoy.Bytes(branch.Cache), Tolstoy.Bytes(restored));
    }

    [Fact]
    public async Task EightBitsTakeHalfTheBytesAndTheErrorIsRecorded()
    {
        using KvCache prefix = await Llama.PrefillAsync(string.Concat(Enumerable.Repeat(Tolstoy.Prefix + ". ", 30)), cancellationToken: Cancellation);
        prefix.Save(File("whole"), s_fast);
        prefix.Save(File("half"), s_fast with { Quantization = KvQuantization.Int8 });
        Assert.InRange((double)new FileInfo(File("half")).Length / new FileInfo(File("whole")).Length, 0.4, 0.62);
        double error = KvStateInfo.Read(File("half")).QuantizationError!.Value;
        Assert.InRange(error, 1e-4, 0.02);

        using var restored = KvCache.Load(File("half"), Llama);
        Assert.Equal(prefix.Tokens, restored.Tokens);
        Assert.Equal(prefix.Logits, restored.Logits);
        Assert.InRange(KvStates.Diff(File("half"), File("whole")).LargestDistance!.Value, 1e-6, 1);

        // What was measured is what comes out, but for the rounding to bf16.
        double squares = 0, errors = 0;
        for (int layer = 0; layer < prefix.Layout.Layers; layer++)
        {
            foreach (bool keys in new[] { true, false })
            {
                float[] exact = KvRows.Floats(prefix.Segments, layer, prefix.Layout, keys), rough = KvRows.Floats(restored.Segments, layer, restored.Layout, keys);
                squares += exact.Sum(number => (double)number * number);
                errors += exact.Zip(rough, (a, b) => Math.Pow(a - b, 2)).Sum();
            }
        }

        Assert.InRange(Math.Sqrt(errors / squares), 0.8 * error, 1.5 * error);
        using var wide = KvCache.Load(File("half"), Tolstoy.WideCache);
        Assert.Equal(DType.Float32, wide.Layout.DType);
    }

    [Fact]
    public async Task AnotherKvTypeIsConvertedWhenAskedFor()
    {
        using KvCache prefix = await Prefix();
        prefix.Save(File("state"), s_fast);
        Llama wide = Tolstoy.WideCache;
        Refuses("as bfloat16, the model as float32", "--kv-dtype bfloat16", () => KvCache.Load(File("state"), wide));
        using var converted = KvCache.Load(File("state"), wide, new() { Convert = true });
        for (int layer = 0; layer < prefix.Layout.Layers; layer++)
        {
            Assert.Equal(KvRows.Floats(prefix.Segments, layer, prefix.Layout, keys: true), KvRows.Floats(converted.Segments, layer, converted.Layout, keys: true));
        }
    }

    [Fact]
    public async Task FileOfVersionOneIsRead()
    {
        using var old = KvCache.Load(Repository.Fixture("states", "version-1.safetensors"), Llama);
        using KvCache prefix = await Prefix();
        using Continuation expected = await Llama.ContinueAsync(prefix, "", new() { Greedy = true, MaxNewTokens = 15 }, cancellationToken: Cancellation);
        using Continuation found = await Llama.ContinueAsync(old, "", s_greedy, cancellationToken: Cancellation);
        Assert.Equal(expected.Cache.Tokens, found.Cache.Tokens);
        Assert.Equal(1, KvStateInfo.Read(Repository.Fixture("states", "version-1.safetensors")).Version);
        Assert.Null(old.Run);

        // A delta may continue it.
        found.Cache.Save(File("delta"), s_fast with { Parent = Repository.Fixture("states", "version-1.safetensors") });
        using var restored = KvCache.Load(File("delta"), Llama);
        Assert.Equal(found.Cache.Tokens, restored.Tokens);
    }

    [Fact]
    public async Task EachRefusalHasBothValues()
    {
        using KvCache prefix = await Prefix();
        prefix.Save(File("state"), s_fast);
        KvStateInfo info = KvStateInfo.Read(File("state"));
        var ours = new KvIdentity("other", info.Weights, info.Rope, info.Tokenizer);
        Refuses($"weights of the state: {info.Weights}, of the model: 77", "made by 'tiny-tolstoy' and the loaded model is 'other'", () => LoadAs(ours with { Weights = "77" }));
        Refuses($"rope of the state: {info.Rope}, of the model: 77", "config.json", () => LoadAs(ours with { Rope = "77" }));
        Refuses($"tokenizer of the state: {info.Tokenizer}, of the model: none", "tokenizer", () => LoadAs(ours with { Tokenizer = "" }));
        Refuses($"has {prefix.Length} tokens and the model's context is 5", "config.json", () => KvCache.Load(File("state"), new OtherHost(ours, prefix.Layout) { MaxPositionEmbeddings = 5 }));
        Refuses("num_hidden_layers of the state: 6, of the model: 7", "load the model", () => KvCache.Load(File("state"), new OtherHost(ours, prefix.Layout with { Layers = 7 })));
        using (KvCache same = LoadAs(ours))
        {
            Assert.Equal(prefix.Tokens, same.Tokens);
        }

        Rewrite("newer", metadata => metadata["version"] = "3");
        Refuses("format version 3", "versions up to 2", () => KvCache.Load(File("newer"), Llama));
        Rewrite("renamed", metadata => metadata["length"] = "9");
        Refuses("metadata has the checksum", "was written", () => KvCache.Load(File("renamed"), Llama));
        Refuses("not a state file", "prefixtorch prefill --save", () => KvCache.Load(Repository.Fixture("goldens", "mqa", "model.safetensors"), Llama));
        byte[] bytes = await System.IO.File.ReadAllBytesAsync(File("state"), Cancellation);
        await System.IO.File.WriteAllBytesAsync(File("short"), bytes[..^1], Cancellation);
        Refuses("ends at byte", "cut short", () => KvCache.Load(File("short"), Llama));
        await System.IO.File.WriteAllBytesAsync(File("flipped"), [.. bytes[..^2000], (byte)(bytes[^2000] ^ 16), .. bytes[^1999..]], Cancellation);
        Refuses("has the checksum", "was written", () => KvCache.Load(File("flipped"), Llama));

        KvCache LoadAs(KvIdentity identity) => KvCache.Load(File("state"), new OtherHost(identity, prefix.Layout));
    }

    [Fact]
    public async Task RestoredSampledRunGoesOnAsIfItHadNeverStopped()
    {
        GenerationOptions sampled = new() { Temperature = 1.1f, TopK = 200, FrequencyPenalty = 0.4f, RepetitionPenalty = 1.05f, MaxNewTokens = 24, Seed = 77, Branch = 5 };
        using KvCache prefix = await Prefix();
        using Continuation whole = await Llama.ContinueAsync(prefix, " and", sampled, cancellationToken: Cancellation);
        using Continuation first = await Llama.ContinueAsync(prefix, " and", sampled with { MaxNewTokens = 9 }, cancellationToken: Cancellation);
        first.Cache.Save(File("state"), s_fast);
        using var restored = KvCache.Load(File("state"), Llama);
        Assert.Equal(new KvRun(77, 5, whole.PromptIds.Length), restored.Run);
        using Continuation rest = await Llama.ContinueAsync(restored, "", sampled with { Seed = null, Branch = 0, MaxNewTokens = 15 }, cancellationToken: Cancellation);
        Assert.Equal(whole.Ids, first.Ids.Concat(rest.Ids));
        Assert.Equal(77UL, rest.Report.Seed);
        Assert.Equal(whole.Cache.Run, rest.Cache.Run);

        // Samples of it count up from its own branch; another seed, or new text, is another run.
        Continuation[] three = await Llama.GenerateBranchesAsync(restored, [""], sampled with { Seed = null, Branch = 0, MaxNewTokens = 15, NumReturnSequences = 3 }, cancellationToken: Cancellation);
        Assert.Equal(rest.Ids, three[0].Ids);
        Assert.Equal([5L, 6L, 7L], three.Select(one => one.Cache.Run!.Branch));
        Array.ForEach(three, one => one.Dispose());
        using Continuation other = await Llama.ContinueAsync(restored, "", sampled with { Seed = 78 }, cancellationToken: Cancellation);
        Assert.Equal(new KvRun(78, 5, restored.Length), other.Cache.Run);
        using KvCache appended = await Llama.AppendAsync(restored, " He", cancellationToken: Cancellation);
        Assert.Null(appended.Run);
    }

    public void Dispose() => _folder.Dispose();

    private string File(string name) => _folder.File(name);

    private static Task<KvCache> Prefix() => Llama.PrefillAsync(Tolstoy.Prefix, cancellationToken: Cancellation);

    private void Rewrite(string name, Action<Dictionary<string, string>> change)
    {
        using var file = SafetensorsFile.Open(File("state"));
        var metadata = new Dictionary<string, string>(file.Metadata);
        change(metadata);
        Assert.True(Encoding.UTF8.GetByteCount(metadata["length"]) > 0);
        SafetensorsWriter.Write(File(name), [.. file.Tensors.Values.Select(entry => new TensorToWrite(entry.Name, entry.DType, [.. entry.Shape], file.Bytes(entry).ToArray()))], metadata);
    }

    private static void Refuses(string first, string second, Action action)
    {
        string message = Assert.ThrowsAny<PrefixTorchException>(action).Message;
        Assert.Contains(first, message, StringComparison.Ordinal);
        Assert.Contains(second, message, StringComparison.Ordinal);
    }

    /// <summary>A model of another identity or shape, that computes nothing.</summary>
    private sealed class OtherHost(KvIdentity identity, KvLayout layout) : IKvCacheHost
    {
        public int MaxPositionEmbeddings { get; init; } = 4096;

        KvIdentity IKvCacheHost.Identity => identity;

        KvLayout IKvCacheHost.Layout => layout;

        bool IKvCacheHost.IsOnHost => true;

        int IKvCacheHost.VocabSize => 4096;

        int IKvCacheHost.MaxPositionEmbeddings => MaxPositionEmbeddings;

        IReadOnlyList<string> IKvCacheHost.StatePath => [];

        string? IKvCacheHost.Decode(int[] ids) => null;

        KvBuffer IKvCacheHost.Allocate(int capacity) => new HostKvBuffer(layout, capacity);

        void IKvCacheHost.Evaluate(KvCache cache) => throw new NotSupportedException();
    }
}
