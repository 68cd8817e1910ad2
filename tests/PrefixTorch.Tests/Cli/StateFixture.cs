namespace PrefixTorch.Tests.Cli;

/// <summary>A folder of states in float32: a prefix, a continuation that names it as its parent, and one of that.</summary>
public sealed class StateFixture : IAsyncLifetime
{
    public static readonly string[] Exact = ["--dtype", "float32", "--kv-dtype", "float32"];

    private readonly TemporaryFolder _folder = new();

    public string Folder => _folder.Path;

    public string Prefix => Path.Combine(Folder, "prefix.safetensors");

    public string Child => Path.Combine(Folder, "child.safetensors");

    public string Grandchild => Path.Combine(Folder, "grandchild.safetensors");

    public async ValueTask InitializeAsync()
    {
        await RunAsync("prefill", "--prompt", "Prince Andrew rode up to the battery and looked at the French camp across the river.", "--save", Prefix);
        await RunAsync("continue", "--state", Prefix, "--suffix", " He", "--greedy", "--max-new-tokens", "6", "--save", Child, "--delta");
        await RunAsync("continue", "--state", Child, "--greedy", "--max-new-tokens", "4", "--save", Grandchild, "--delta");
        await RunAsync("continue", "--state", Child, "--suffix", " It", "--temperature", "1", "--seed", "3", "--max-new-tokens", "4", "--save", Path.Combine(Folder, "other.safetensors"), "--delta");
    }

    public ValueTask DisposeAsync()
    {
        _folder.Dispose();
        return ValueTask.CompletedTask;
    }

    private static async Task RunAsync(params string[] args)
    {
        CliRun run = await CliRun.Of([.. args, .. Exact]);
        Assert.True(run.ExitCode == 0, run.Err);
    }
}
