using PrefixTorch.Checkpoints;

namespace PrefixTorch.Tests.Checkpoints;

public sealed class WeightCheckTests : IDisposable
{
    private readonly TemporaryFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    [Fact]
    public void WhatFitsPasses()
    {
        using var checkpoint = Open("""{"a":{"dtype":"U8","shape":[2,2],"data_offsets":[0,4]}}""", 4);
        WeightCheck.Check(checkpoint, [new("a", [2, 2]), new("lm_head.weight", [9], Optional: true)]);
    }

    [Fact]
    public void MissingMisshapenAndUnusedAreReportedAtOnce()
    {
        using var checkpoint = Open("""{"a":{"dtype":"U8","shape":[2,2],"data_offsets":[0,4]},"extra":{"dtype":"U8","shape":[1],"data_offsets":[4,5]}}""", 5);
        var error = Assert.Throws<CheckpointException>(() => WeightCheck.Check(checkpoint, [new("a", [4, 1]), new("b", [3]), new("c", [])]));
        Assert.Equal(CheckpointError.WeightMismatch, error.Error);
        Assert.Contains("Missing (2): b [3]; c [].", error.Message, StringComparison.Ordinal);
        Assert.Contains("Misshapen (1): a is [2, 2], config.json asks for [4, 1].", error.Message, StringComparison.Ordinal);
        Assert.Contains("Unused (1): extra.", error.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void AnOptionalWeightOfAnotherShapeIsRefused()
    {
        using var checkpoint = Open("""{"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]}}""", 2);
        TemporaryFolder.Refuses(CheckpointError.WeightMismatch, "a is [2]", () => WeightCheck.Check(checkpoint, [new("a", [3], Optional: true)]));
    }

    [Fact]
    public void ALongListIsCut()
    {
        using var checkpoint = Open("{}", 0);
        TemporaryFolder.Refuses(CheckpointError.WeightMismatch, "Missing (20): w0 [1]; w1 [1]; w2 [1]; w3 [1]; w4 [1]; w5 [1]; w6 [1]; w7 [1]; and 12 more.", () =>
            WeightCheck.Check(checkpoint, [.. Enumerable.Range(0, 20).Select(i => new ExpectedWeight($"w{i}", [1]))]));
    }

    [Fact]
    public void BuffersThatOldReleasesSavedAreIgnored()
    {
        using var checkpoint = Open("""{"model.layers.0.self_attn.rotary_emb.inv_freq":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}""", 4);
        WeightCheck.Check(checkpoint, []);
    }

    [Theory]
    [InlineData("F8_E4M3", true)]
    [InlineData("I8", false)]
    public void ScalesAreUsedWhereTheWeightIsAnEightBitFloat(string dtype, bool used)
    {
        using var checkpoint = Open(RawSafetensors.Header(
            RawSafetensors.Entry("p.weight", dtype, "[4]", "[0,4]"),
            RawSafetensors.Entry("p.weight_scale", "F32", "[]", "[4,8]"),
            RawSafetensors.Entry("p.input_scale", "F32", "[]", "[8,12]")), 12);
        void Check() => WeightCheck.Check(checkpoint, [new("p.weight", [4])]);
        if (used)
        {
            Check();
        }
        else
        {
            TemporaryFolder.Refuses(CheckpointError.WeightMismatch, "Unused (2)", Check);
        }
    }

    private Checkpoint Open(string header, int dataByteCount) => Checkpoint.Open(_folder.Write("model.safetensors", header, dataByteCount));
}
