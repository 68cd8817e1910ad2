namespace PrefixTorch.Checkpoints.Hub;

/// <summary>The models in a hub's cache folder, whoever pulled them: this library, transformers, or huggingface_hub.</summary>
public static class PulledModels
{
    /// <summary>The revision that is meant where none is named.</summary>
    public const string MainRevision = "main";

    /// <summary>Whether a text could be a repository's name, such as meta-llama/Llama-3.1-8B.</summary>
    public static bool IsName(string text)
    {
        ArgumentNullException.ThrowIfNull(text);
        return HubNames.IsRepository(text);
    }

    /// <summary>The folder of a pulled model; null where it is not there.</summary>
    /// <param name="repository">Its name on the hub.</param>
    /// <param name="revision">A branch, tag or commit.</param>
    /// <param name="cacheFolder">The cache; null: the one that the environment names.</param>
    /// <exception cref="HubException">No repository has such a name, or the environment's HF_ENDPOINT is no address.</exception>
    public static string? Find(string repository, string revision = MainRevision, string? cacheFolder = null)
    {
        HubNames.CheckRepository(repository);
        HubNames.CheckPath("revision", revision);
        return new HubCache(cacheFolder ?? HubOptions.FromEnvironment().CacheFolder, repository).Find(revision);
    }

    /// <summary>The repository's name, for a folder in a hub's cache; null for any other.</summary>
    internal static string? NameOf(string folder)
    {
        string[] parts = Path.TrimEndingDirectorySeparator(folder).Split(Path.DirectorySeparatorChar);
        return parts is [.., string model, HubCache.Snapshots, string commit] && HubNames.IsCommit(commit) && model.StartsWith(HubCache.ModelPrefix, StringComparison.Ordinal)
            ? model[HubCache.ModelPrefix.Length..].Replace("--", "/", StringComparison.Ordinal)
            : null;
    }
}
