using PrefixTorch.Checkpoints.Hub;

namespace PrefixTorch.Cli.Inputs;

/// <summary>Where models are: the one that is named, or the one that serves when none is.</summary>
internal static class ModelFolder
{
    /// <summary>The trained model that ships.</summary>
    public static string Default { get; } = Path.Combine("weights", "tiny-tolstoy");

    /// <summary>The default model's folder: beside the program, or in or above the current folder.</summary>
    public static string Find() => Find(AppContext.BaseDirectory, Directory.GetCurrentDirectory());

    /// <summary>The folder of a model that was named: a folder itself, or a pulled model's. What is there, or is written as a path, is one and no name.</summary>
    /// <param name="given">A folder or file, or <c>org/name</c>, or <c>org/name@revision</c>.</param>
    /// <exception cref="PrefixTorchException">It is like a name, and no such model was pulled.</exception>
    public static string Resolve(string given) => Resolve(given, cacheFolder: null);

    internal static string Resolve(string given, string? cacheFolder)
    {
        string[] parts = given.Split('@', 2);
        if (Path.Exists(given) || IsPath(given) || !given.Contains('/', StringComparison.Ordinal) || !PulledModels.IsName(parts[0]))
        {
            return given;
        }

        string revision = parts.Length > 1 ? parts[1] : PulledModels.MainRevision;
        cacheFolder ??= HubOptions.FromEnvironment().CacheFolder;
        return PulledModels.Find(parts[0], revision, cacheFolder)
            ?? throw new PrefixTorchException($"There is no folder or file {given}, and revision {revision} of a model {parts[0]} is not among those in {cacheFolder}. Pull it: {CommandLine.Name} pull {parts[0]}{(parts.Length > 1 ? $" --revision {revision}" : "")}.");
    }

    private static bool IsPath(string given) => Path.IsPathRooted(given) || given.StartsWith("./", StringComparison.Ordinal) || given.StartsWith("../", StringComparison.Ordinal);

    internal static string Find(string program, string current)
    {
        var places = new List<string> { program };
        for (DirectoryInfo? folder = new(current); folder is not null; folder = folder.Parent)
        {
            places.Add(folder.FullName);
        }

        return places.Select(place => Path.Combine(place, Default)).FirstOrDefault(Directory.Exists)
            ?? throw new PrefixTorchException($"No model was named, and {Default} is neither beside the program ({program}) nor in or above {current}. Give --model DIR.");
    }
}
