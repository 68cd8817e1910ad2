namespace PrefixTorch.Tests;

/// <summary>Where tests find their data: in the repository, or beside it where it may not be committed.</summary>
internal static class Repository
{
    /// <summary>The folder that holds PrefixTorch.sln.</summary>
    public static string Root { get; } = FindRoot();

    /// <summary>The trained model that ships.</summary>
    public static string TinyTolstoy => Path.Combine(Root, "weights", "tiny-tolstoy");

    /// <summary>The names of the random checkpoints that have Hugging Face's logits beside them.</summary>
    public static IEnumerable<string> GoldenCases { get; } =
        [.. Directory.GetDirectories(Fixture("goldens")).Where(folder => File.Exists(Path.Combine(folder, "config.json"))).Select(folder => Path.GetFileName(folder)!).Order(StringComparer.Ordinal)];

    /// <summary>A file or folder among the committed fixtures.</summary>
    public static string Fixture(params string[] path) => Path.Combine([Root, "tests", "PrefixTorch.Tests", "Fixtures", .. path]);

    /// <summary>A file or folder that may not be committed; the test that asks skips where it is not there.</summary>
    public static string SharedFixture(params string[] path)
    {
        string folder = Environment.GetEnvironmentVariable("PREFIXTORCH_FIXTURES") ?? Path.Combine(Root, "..", "shared", "fixtures");
        string full = Path.GetFullPath(Path.Combine([folder, .. path]));
        if (!File.Exists(full) && !Directory.Exists(full))
        {
            Assert.Skip($"{Path.Combine(path)} may not be committed and is not beside this repository; set PREFIXTORCH_FIXTURES to the folder that holds it.");
        }

        return full;
    }

    private static string FindRoot()
    {
        for (DirectoryInfo? folder = new(AppContext.BaseDirectory); folder is not null; folder = folder.Parent)
        {
            if (File.Exists(Path.Combine(folder.FullName, "PrefixTorch.sln")))
            {
                return folder.FullName;
            }
        }

        throw new InvalidOperationException($"No PrefixTorch.sln above {AppContext.BaseDirectory}: run the tests from a checkout.");
    }
}
