using System.Text.RegularExpressions;

namespace PrefixTorch.Tests.Architecture;

/// <summary>Imports run downward only: what a folder may know is written here, and read from its files.</summary>
public partial class LayerTests
{
    private static readonly Dictionary<string, string[]> s_mayKnow = new()
    {
        ["Memory"] = [],
        ["Kernels"] = ["Memory"],
        ["Configuration"] = ["Memory"],
        ["Tokenization"] = [],
        ["Sampling"] = [],
        ["Checkpoints"] = ["Memory", "Configuration"],
        ["Caching"] = ["Memory", "Kernels", "Checkpoints"],
        ["Model"] = ["Memory", "Kernels", "Configuration", "Checkpoints", "Caching"],
        ["Generation"] = ["Memory", "Kernels", "Configuration", "Tokenization", "Sampling", "Checkpoints", "Caching", "Model"],
    };

    [Fact]
    public void EveryFolderIsListed() =>
        Assert.Equal(s_mayKnow.Keys.Order(), Directory.GetDirectories(Source).Select(folder => Path.GetFileName(folder)!).Where(name => name is not ("bin" or "obj")).Order());

    [Fact]
    public void ImportsRunDownward()
    {
        List<string> wrong = [];
        foreach ((string folder, string[] known) in s_mayKnow)
        {
            foreach (string file in Directory.EnumerateFiles(Path.Combine(Source, folder), "*.cs", SearchOption.AllDirectories))
            {
                foreach (Match match in Import().Matches(File.ReadAllText(file)))
                {
                    string other = match.Groups[1].Value;
                    if (other != folder && s_mayKnow.ContainsKey(other) && !known.Contains(other))
                    {
                        wrong.Add($"{Path.GetRelativePath(Source, file)} knows {other}");
                    }
                }
            }
        }

        Assert.Empty(wrong);
    }

    [Fact]
    public void ConfigurationTokenizationAndSamplingKnowNoTensors()
    {
        foreach (string folder in new[] { "Configuration", "Tokenization", "Sampling" })
        {
            Assert.All(Directory.EnumerateFiles(Path.Combine(Source, folder), "*.cs", SearchOption.AllDirectories), file =>
                Assert.DoesNotContain("TorchSharp", File.ReadAllText(file), StringComparison.Ordinal));
        }
    }

    [Fact]
    public void TheCommandLineSeesNoKernels()
    {
        string cli = Path.Combine(Repository.Root, "src", "PrefixTorch.Cli");
        Assert.All(Directory.EnumerateFiles(cli, "*.cs", SearchOption.AllDirectories).Where(file => !file.Contains($"{Path.DirectorySeparatorChar}obj{Path.DirectorySeparatorChar}", StringComparison.Ordinal)), file =>
            Assert.DoesNotMatch(@"PrefixTorch\.(Kernels|Model)\b", File.ReadAllText(file)));
    }

    private static string Source => Path.Combine(Repository.Root, "src", "PrefixTorch");

    [GeneratedRegex(@"PrefixTorch\.([A-Z]\w+)")]
    private static partial Regex Import();
}
