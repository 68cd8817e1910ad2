namespace PrefixTorch.Cli.Inputs;

/// <summary>Where the model is that serves when none is named.</summary>
internal static class ModelFolder
{
    /// <summary>The trained model that ships.</summary>
    public static string Default { get; } = Path.Combine("weights", "tiny-tolstoy");

    /// <summary>The default model's folder: beside the program, or in or above the current folder.</summary>
    public static string Find() => Find(AppContext.BaseDirectory, Directory.GetCurrentDirectory());

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
