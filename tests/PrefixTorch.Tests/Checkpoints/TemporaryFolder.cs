using PrefixTorch.Checkpoints;

namespace PrefixTorch.Tests.Checkpoints;

/// <summary>A folder that is gone after the test.</summary>
internal sealed class TemporaryFolder : IDisposable
{
    public string Path { get; } = Directory.CreateTempSubdirectory("prefixtorch-").FullName;

    public string File(string name) => System.IO.Path.Combine(Path, name);

    public void Dispose() => Directory.Delete(Path, recursive: true);

    /// <summary>Writes a safetensors file by hand: the header as given, then so many bytes that count up.</summary>
    public string Write(string name, string header, int dataByteCount = 0)
    {
        string path = File(name);
        System.IO.File.WriteAllBytes(path, RawSafetensors.Bytes(header, dataByteCount));
        return path;
    }

    public static void Refuses(CheckpointError error, string named, Action action)
    {
        var thrown = Assert.Throws<CheckpointException>(action);
        Assert.Equal(error, thrown.Error);
        Assert.Contains(named, thrown.Message, StringComparison.Ordinal);
        Assert.StartsWith(thrown.Path, thrown.Message, StringComparison.Ordinal);
    }
}
