using PrefixTorch.Caching;
using PrefixTorch.Checkpoints;
using PrefixTorch.Generation;
using PrefixTorch.Memory;
using PrefixTorch.Tests.Checkpoints;
using PrefixTorch.Tests.Parity;
using TorchSharp;

namespace PrefixTorch.Tests.Caching;

/// <summary>A cache of 8 bits is a value like any other, and its file is the one that a wider cache's becomes at rest.</summary>
public sealed class EightBitCacheTests : IDisposable
{
    private static readonly KvSaveOptions s_fast = new() { FlushToDisk = false };
    private static readonly GenerationOptions s_greedy = new() { Greedy = true, MaxNewTokens = 12 };
    private static readonly int[] s_ids = [.. Enumerable.Range(0, 75).Select(i => i * 31 % 320)];

    private readonly TemporaryFolder _folder = new();

    private static CancellationToken Cancellation => TestContext.Current.CancellationToken;

    private static Llama Llama => Tolstoy.EightBits;

    [Fact]
    public void TokenTakesAboutHalfTheBytesOfSixteenBits()
    {
        var eightB = new KvLayout(32, 8, 128, DType.BFloat16);
        Assert.Equal(131072, eightB.BytesPerToken);
        Assert.Equal(67584, (eightB with { DType = DType.Int8 }).BytesPerToken);
    }

    [Fact]
    public void TensorsAreFp32AndTakenInGiveTheSameBits()
    {
        using var model = new TestModel(Golden.Checkpoint("llama31-gqa"), "portable", kvDType: DType.Int8);
        using var cache = new KvCache(model);
        model.Append(cache, s_ids[..16]);
        model.Append(cache, s_ids[16..30]);
        (torch.Tensor Key, torch.Tensor Value)[] tensors = [.. Enumerable.Range(0, cache.Layout.Layers).Select(cache.ToTensors)];
        Assert.Equal(torch.ScalarType.Float32, tensors[0].Key.dtype);
        using var again = KvCache.FromTensors(cache.Tokens, [.. tensors.Select(pair => pair.Key)], [.. tensors.Select(pair => pair.Value)], model);
        Array.ForEach(tensors, pair =>
        {
            pair.Key.Dispose();
            pair.Value.Dispose();
        });
        Assert.Equal(30, KvRows.SameBits(cache.Segments, again.Segments, 30, cache.Layout));
        Assert.Equal(model.Append(cache, [6]), model.Append(again, [6]));
    }

    [Fact]
    public void FileIsWhatTheWidenedCacheBecomesAtRest()
    {
        using var eightBits = new TestModel(Golden.Checkpoint("llama31-gqa"), "portable", DType.Float32, DType.Int8);
        using var wide = new TestModel(Golden.Checkpoint("llama31-gqa"), "portable", DType.Float32);
        using var cache = new KvCache(eightBits);
        eightBits.Append(cache, s_ids);
        cache.Save(File("running"), s_fast);
        Refuses("as int8, the model as float32", "--kv-dtype int8", () => KvCache.Load(File("running"), wide));
        using var widened = KvCache.Load(File("running"), wide, new() { Convert = true });
        widened.Save(File("rest"), s_fast with { Quantization = KvQuantization.Int8 });
        using (SafetensorsFile running = SafetensorsFile.Open(File("running")), rest = SafetensorsFile.Open(File("rest")))
        {
            Assert.Equal(running.Tensors.Keys, rest.Tensors.Keys);
            Assert.Contains("value_scale.2", running.Tensors.Keys);
            foreach (TensorEntry entry in running.Tensors.Values)
            {
                Assert.Equal(running.Bytes(entry).ToArray(), rest.Bytes(rest[entry.Name]).ToArray());
            }
        }

        // Neither is converted on the way back, and neither lost anything.
        Assert.Equal(0, KvStateInfo.Read(File("rest")).QuantizationError);
        foreach (string name in new[] { "running", "rest" })
        {
            using var restored = KvCache.Load(File(name), eightBits);
            Assert.Equal(s_ids.Length, KvRows.SameBits(cache.Segments, restored.Segments, s_ids.Length, cache.Layout));
            Assert.Equal(cache.Logits, restored.Logits);
            using KvCache clone = cache.Clone();
            Assert.Equal(eightBits.Append(clone, [7]), eightBits.Append(restored, [7]));
        }
    }

    [Fact]
    public async Task StateOfAnotherTypeIsConvertedWhenAskedForAndOneThatWasQuantizedAtRestIsMapped()
    {
        using KvCache bfloat16 = await Tolstoy.AsStored.PrefillAsync(Tolstoy.Prefix, cancellationToken: Cancellation);
        bfloat16.Save(File("wide"), s_fast);
        bfloat16.Save(File("rest"), s_fast with { Quantization = KvQuantization.Int8 });
        Refuses("as bfloat16, the model as int8", "--kv-dtype bfloat16", () => KvCache.Load(File("wide"), Llama));
        using KvCache converted = KvCache.Load(File("wide"), Llama, new() { Convert = true }), mapped = KvCache.Load(File("rest"), Llama);
        Assert.Equal(bfloat16.Length, KvRows.SameBits(converted.Segments, mapped.Segments, bfloat16.Length, Llama.Layout));
        Assert.Equal(DType.Int8, mapped.Layout.DType);
        using Continuation one = await Llama.ContinueAsync(mapped, " and", s_greedy, cancellationToken: Cancellation);
        Assert.Equal(mapped.Length, one.Report.Usage.ReusedTokens);

        // A delta of it is of 8 bits as a whole; compact keeps the bits, and so does quantize, which finds nothing to do.
        one.Cache.Save(File("delta"), s_fast with { Parent = File("rest") });
        KvStates.Compact(File("delta"), File("whole"));
        Assert.Equal(0, KvStates.Quantize(File("delta"), File("again")));
        foreach (string name in new[] { "delta", "whole", "again" })
        {
            KvStateInfo info = KvStateInfo.Read(File(name));
            Assert.Equal((DType.Int8, KvQuantization.Int8, null), (info.Layout.DType, info.Quantization, info.QuantizationError));
            using var restored = KvCache.Load(File(name), Llama);
            Assert.Equal(one.Cache.Length, KvRows.SameBits(one.Cache.Segments, restored.Segments, one.Cache.Length, Llama.Layout));
        }

        KvStateDiff diff = KvStates.Diff(File("wide"), File("whole"));
        Assert.Equal([("kv_dtype", "bfloat16", "int8"), ("quantization", "None", "Int8")], diff.Differences);
        Assert.InRange(diff.LargestDistance!.Value, 1e-4, 1);
        KvStates.Export(File("whole"), File("plain"));
        using var plain = SafetensorsFile.Open(File("plain"));
        (torch.Tensor key, torch.Tensor value) = one.Cache.ToTensors(1);
        using (key)
        using (value)
        {
            Assert.Equal(DType.Float32, plain["value_cache.1"].DType);
            Assert.Equal(key.bytes.ToArray(), plain.Bytes(plain["key_cache.1"]).ToArray());
            Assert.Equal(value.bytes.ToArray(), plain.Bytes(plain["value_cache.1"]).ToArray());
        }
    }

    [Fact]
    public async Task StateIsVerifiedBitForBit()
    {
        using KvCache prefix = await Llama.PrefillAsync(Tolstoy.Prefix, cancellationToken: Cancellation);
        prefix.Save(File("state"), s_fast);
        using var restored = KvCache.Load(File("state"), Llama);
        Assert.Equal(VerificationVerdict.BitForBit, (await Llama.VerifyAsync(restored, " and", cancellationToken: Cancellation)).Verdict);

        // Of many rows at a time, too.
        using KvCache longer = await Llama.PrefillAsync(string.Concat(Enumerable.Repeat(Tolstoy.Prefix + ". ", 90)), cancellationToken: Cancellation);
        VerificationReport report = await Llama.VerifyAsync(longer, " and", cancellationToken: Cancellation);
        Assert.Equal(VerificationVerdict.BitForBit, report.Verdict);
        Assert.True(longer.Length > Llama.Options.PrefillChunk);
    }

    [Fact]
    public void ManyRowsMeetALongPastAsFewDo()
    {
        // From two buffers, whose border is in the middle of a block.
        using var model = new TestModel(Golden.Checkpoint("trained"), TestModel.Paths.Last(), kvDType: DType.Int8);
        int[] ids = [.. Enumerable.Range(0, 2300).Select(i => i * 37 % 4096)];
        using var many = new KvCache(model);
        model.Append(many, ids[..1500]);
        using KvCache other = many.Clone();
        model.Append(many, [1]);
        model.Append(other, ids[1500..2240]);
        using KvCache few = other.Clone();
        float[] expected = model.Append(other, ids[2240..], allLogits: true);
        List<float> found = [];
        foreach (int[] piece in ids[2240..].Chunk(12))
        {
            found.AddRange(model.Append(few, piece, allLogits: true));
        }

        Assert.Equal(2, other.Segments.Length);
        Assert.Equal(expected, found);
    }

    [Fact]
    public void DeviceHoldsTheSameNumbers()
    {
        using var device = new TestModel(Golden.Checkpoint("llama31-gqa"), "torch", DType.Float32, DType.Int8, onDevice: true);
        using var host = new TestModel(Golden.Checkpoint("llama31-gqa"), "torch", DType.Float32, DType.Int8);
        using KvCache one = new(device), other = new(host);
        Assert.Equal(host.Append(other, s_ids), device.Append(one, s_ids));
        Assert.Equal(Tolstoy.Bytes(other), Tolstoy.Bytes(one));
        one.Save(File("device"), s_fast);
        other.Save(File("host"), s_fast);
        using KvCache onHost = KvCache.Load(File("device"), host), onDevice = KvCache.Load(File("host"), device);
        Assert.Equal(s_ids.Length, KvRows.SameBits(other.Segments, onHost.Segments, s_ids.Length, host.Layout));
        Assert.Equal(s_ids.Length, KvRows.SameBits(one.Segments, onDevice.Segments, s_ids.Length, host.Layout));
        Assert.Equal(host.Append(onHost, [7]), device.Append(onDevice, [7]));
        onDevice.Truncate(20);
        device.Append(onDevice, [9, 9]);
        Assert.Equal(20, KvRows.SameBits(one.Segments, onDevice.Segments, 22, host.Layout));
    }

    [Fact]
    public async Task ModelRefusesWhatItCannotHold()
    {
        PrefixTorchException error = await Assert.ThrowsAsync<PrefixTorchException>(() => Llama.LoadAsync(Repository.TinyTolstoy, new() { KvDType = DType.Int16 }, Cancellation));
        Assert.Contains("KV dtype int16 was asked for; this version holds float32, bfloat16, float16, int8", error.Message, StringComparison.Ordinal);
        error = await Assert.ThrowsAsync<PrefixTorchException>(() => Llama.LoadAsync(Repository.TinyTolstoy, new() { DType = DType.Int8 }, Cancellation));
        Assert.Contains("dtype int8 was asked for; this version holds float32, bfloat16, float16.", error.Message, StringComparison.Ordinal);
    }

    public void Dispose() => _folder.Dispose();

    private string File(string name) => _folder.File(name + ".safetensors");

    private static void Refuses(string first, string second, Action action)
    {
        string message = Assert.ThrowsAny<PrefixTorchException>(action).Message;
        Assert.Contains(first, message, StringComparison.Ordinal);
        Assert.Contains(second, message, StringComparison.Ordinal);
    }
}
