using PrefixTorch.Checkpoints;

namespace PrefixTorch.Tests.Checkpoints;

public sealed class CheckpointTests : IDisposable
{
    private const string One = """{"NAME":{"dtype":"U8","shape":[2],"data_offsets":[0,2]}}""";

    private readonly TemporaryFolder _folder = new();

    public static TheoryData<string> GoldenCases => [.. Repository.GoldenCases];

    public void Dispose() => _folder.Dispose();

    [Theory]
    [MemberData(nameof(GoldenCases))]
    public void EveryGoldenCheckpointOpens(string name)
    {
        using var checkpoint = Checkpoint.Open(Repository.Fixture("goldens", name));
        Assert.True(checkpoint.Tensors.ContainsKey("model.embed_tokens.weight"));
        Assert.Equal(checkpoint.Tensors.Keys.Order(StringComparer.Ordinal), checkpoint.Tensors.Keys);
        Assert.All(checkpoint.Tensors.Values, tensor => Assert.True(tensor.Entry.IsAligned));
    }

    [Fact]
    public void TheModelThatShipsOpensFromItsShards()
    {
        using var checkpoint = Checkpoint.Open(Repository.TinyTolstoy);
        Assert.Equal(3, checkpoint.Files.Count);
        Assert.Equal(57, checkpoint.Tensors.Count);
        Assert.Equal(10_885_632, checkpoint.TotalBytes);
        Assert.EndsWith("model-00003-of-00003.safetensors", checkpoint["lm_head.weight"].File.Path, StringComparison.Ordinal);
        Assert.Equal([4096, 256], checkpoint["lm_head.weight"].Shape);
        TemporaryFolder.Refuses(CheckpointError.NotFound, "'lm_tail.weight'", () => _ = checkpoint["lm_tail.weight"]);
    }

    [Fact]
    public void OneFileOfAnyNameServes()
    {
        Shard("weights.safetensors", "a");
        using var byFolder = Checkpoint.Open(_folder.Path);
        using var byFile = Checkpoint.Open(_folder.File("weights.safetensors"));
        Assert.Equal("a", Assert.Single(byFolder.Tensors.Keys));
        Assert.Equal("a", Assert.Single(byFile.Tensors.Keys));
    }

    [Fact]
    public void TheSingleFileGoesBeforeTheIndex()
    {
        Shard("model.safetensors", "a");
        Index("""{"b":"missing.safetensors"}""");
        using var checkpoint = Checkpoint.Open(_folder.Path);
        Assert.Equal("a", Assert.Single(checkpoint.Tensors.Keys));
    }

    [Fact]
    public void ALinkToAShardElsewhereIsFollowed()
    {
        using var elsewhere = new TemporaryFolder();
        string blob = elsewhere.Write("blob", One.Replace("NAME", "a", StringComparison.Ordinal), 2);
        File.CreateSymbolicLink(_folder.File("s1.safetensors"), blob);
        Index("""{"a":"s1.safetensors"}""");
        using var checkpoint = Checkpoint.Open(_folder.Path);
        Assert.Single(checkpoint.Tensors);
    }

    [Fact]
    public void AFolderThatIsNotThereIsRefused() => Refuses(CheckpointError.NotFound, "no such folder", _folder.File("none"));

    [Fact]
    public void AFolderWithoutWeightsIsRefused() => Refuses(CheckpointError.NotFound, "neither");

    [Theory]
    [InlineData("pytorch_model.bin")]
    [InlineData("consolidated.00.pth")]
    [InlineData("model.pt")]
    [InlineData("llama.Q4_K_M.gguf")]
    public void OtherFormatsAreRefusedWithTheRemedy(string name)
    {
        File.WriteAllBytes(_folder.File(name), [1]);
        Refuses(CheckpointError.NotSafetensors, name);
        Refuses(CheckpointError.NotSafetensors, "save_pretrained(folder, safe_serialization=True)");
    }

    [Fact]
    public void SeveralFilesWithoutAnIndexAreRefused()
    {
        Shard("x.safetensors", "a");
        Shard("y.safetensors", "b");
        Refuses(CheckpointError.AmbiguousFiles, "x.safetensors, y.safetensors");
    }

    [Fact]
    public void AMissingShardIsNamed()
    {
        Shard("s1.safetensors", "a");
        Index("""{"a":"s1.safetensors","b":"s2.safetensors"}""");
        Refuses(CheckpointError.MissingShard, "'s2.safetensors'");
    }

    [Fact]
    public void ATensorThatItsShardLacksIsNamed()
    {
        Shard("s1.safetensors", "a");
        Index("""{"a":"s1.safetensors","b":"s1.safetensors"}""");
        Refuses(CheckpointError.TensorNotInShard, "'b' should be in s1.safetensors");
    }

    [Fact]
    public void ATensorInAnotherShardIsNamed()
    {
        Shard("s1.safetensors", "a");
        Shard("s2.safetensors", "b");
        Index("""{"a":"s2.safetensors","b":"s1.safetensors"}""");
        Refuses(CheckpointError.TensorNotInShard, "'a' should be in s2.safetensors, but is in s1.safetensors");
    }

    [Fact]
    public void ATensorThatTheIndexDoesNotNameIsRefused()
    {
        _folder.Write("s1.safetensors", """{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"c":{"dtype":"U8","shape":[1],"data_offsets":[1,2]}}""", 2);
        Index("""{"a":"s1.safetensors"}""");
        Refuses(CheckpointError.TensorNotInIndex, "'c' is in s1.safetensors");
    }

    [Fact]
    public void ATensorInTwoShardsIsRefused()
    {
        Shard("s1.safetensors", "a");
        _folder.Write("s2.safetensors", """{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"c":{"dtype":"U8","shape":[1],"data_offsets":[1,2]}}""", 2);
        Index("""{"a":"s1.safetensors","c":"s2.safetensors"}""");
        Refuses(CheckpointError.DuplicateTensor, "both in s1.safetensors and in s2.safetensors");
    }

    [Theory]
    [InlineData("../s1.safetensors")]
    [InlineData("sub/../../s1.safetensors")]
    [InlineData("/etc/hostname")]
    [InlineData("..\\\\s1.safetensors")]
    [InlineData("")]
    [InlineData(".")]
    [InlineData("a\\u0000b")]
    public void AShardOutsideTheFolderIsRefused(string name)
    {
        Index($$"""{"a":"{{name}}"}""");
        Refuses(CheckpointError.ShardOutsideFolder, "not in the checkpoint's folder");
    }

    [Theory]
    [InlineData("", CheckpointError.InvalidJson)]
    [InlineData("[]", CheckpointError.InvalidHeader)]
    [InlineData("{}", CheckpointError.InvalidHeader)]
    [InlineData("""{"weight_map":[]}""", CheckpointError.InvalidHeader)]
    [InlineData("""{"weight_map":{}}""", CheckpointError.InvalidHeader)]
    [InlineData("""{"weight_map":{"a":1}}""", CheckpointError.InvalidHeader)]
    [InlineData("""{"weight_map":{"a":"s","a":"t"}}""", CheckpointError.DuplicateName)]
    [InlineData("""{"weight_map":{"a":"\ud800"}}""", CheckpointError.InvalidJson)]
    public void AMalformedIndexIsRefused(string index, CheckpointError error)
    {
        File.WriteAllText(_folder.File("model.safetensors.index.json"), index);
        Refuses(error, "index");
    }

    private void Shard(string file, string tensor) => _folder.Write(file, One.Replace("NAME", tensor, StringComparison.Ordinal), 2);

    private void Index(string weightMap) => File.WriteAllText(_folder.File("model.safetensors.index.json"), $$"""{"metadata":{"total_size":4},"weight_map":{{weightMap}}}""");

    private void Refuses(CheckpointError error, string named, string? path = null) =>
        TemporaryFolder.Refuses(error, named, () => Checkpoint.Open(path ?? _folder.Path).Dispose());
}
