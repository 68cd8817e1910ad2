namespace PrefixTorch.Checkpoints.Hub;

/// <summary>Where models come from and where they go. The defaults are huggingface_hub's, so that transformers finds what was pulled.</summary>
public sealed record HubOptions
{
    /// <summary>The hub's address; HF_ENDPOINT, or Hugging Face's.</summary>
    public Uri Endpoint { get; init; } = new("https://huggingface.co");

    /// <summary>The token for gated and private repositories; HF_TOKEN, or none. It is sent to <see cref="Endpoint"/> only, never where that redirects to.</summary>
    public string? Token { get; init; }

    /// <summary>The cache folder, in which each model has a folder; HF_HUB_CACHE, or "hub" in HF_HOME.</summary>
    public required string CacheFolder { get; init; }

    /// <summary>How many files are downloaded at once.</summary>
    public int Parallelism { get; init; } = 4;

    /// <summary>How often in a row a request may fail, or a download break off without a new byte, before the pull gives up.</summary>
    public int Attempts { get; init; } = 5;

    /// <summary>How long to wait before the second attempt; before each further one twice as long.</summary>
    public TimeSpan RetryDelay { get; init; } = TimeSpan.FromSeconds(1);

    /// <summary>How long the hub may stay silent before that counts as a break.</summary>
    public TimeSpan StallTimeout { get; init; } = TimeSpan.FromSeconds(60);

    /// <summary>The options that the environment asks for.</summary>
    /// <exception cref="HubException">HF_ENDPOINT is no address.</exception>
    public static HubOptions FromEnvironment() => FromEnvironment(Environment.GetEnvironmentVariable);

    internal static HubOptions FromEnvironment(Func<string, string?> read)
    {
        string? Get(string name) => string.IsNullOrWhiteSpace(read(name)) ? null : read(name)!.Trim();

        string home = Get("HF_HOME")
            ?? Path.Combine(Get("XDG_CACHE_HOME") ?? Path.Combine(Environment.GetFolderPath(Environment.SpecialFolder.UserProfile), ".cache"), "huggingface");
        var options = new HubOptions { CacheFolder = Path.GetFullPath(Get("HF_HUB_CACHE") ?? Path.Combine(home, "hub")), Token = Get("HF_TOKEN") };
        if (Get("HF_ENDPOINT") is not string endpoint)
        {
            return options;
        }

        return Uri.TryCreate(endpoint, UriKind.Absolute, out Uri? address) && address.Scheme is "http" or "https"
            ? options with { Endpoint = address }
            : throw new HubException($"HF_ENDPOINT is '{endpoint}', which is no http or https address. Set it to one such as https://huggingface.co, or unset it.");
    }
}
