using System.CommandLine;
using System.Diagnostics;
using PrefixTorch.Checkpoints.Hub;
using PrefixTorch.Cli.Options;
using PrefixTorch.Cli.Outputs;

namespace PrefixTorch.Cli.Verbs;

/// <summary>Brings a model from a hub into the cache that transformers reads.</summary>
internal sealed class PullVerb : Verb
{
    private readonly Argument<string> _repository = new("repository") { HelpName = "REPO", Description = "Its name on the hub, such as meta-llama/Llama-3.1-8B." };
    private readonly Option<string?> _revision = TypedOption.Text("--revision", "R", $"A branch, tag or commit; otherwise {PulledModels.MainRevision}.");
    private readonly Option<string?> _endpoint = TypedOption.Text("--endpoint", "URL", "The hub's address; otherwise HF_ENDPOINT, or Hugging Face's. HF_TOKEN opens gated repositories there.");
    private readonly Option<string?> _to = TypedOption.Text("--to", "DIR", "The cache folder, in which each model has a folder; otherwise HF_HUB_CACHE, or hub in HF_HOME, where --model finds it by name.");

    public PullVerb(Streams streams)
        : base(streams, "pull", "Bring a model from a Hugging Face compatible hub: the files that are needed, on from where an earlier pull ended, each checked. Prints the folder.", "HuggingFaceTB/SmolLM2-135M-Instruct", "meta-llama/Llama-3.1-8B --revision main", "some/model --endpoint http://localhost:8080 --to models")
    {
        Add(_repository);
        Add(_revision);
        Add(_endpoint);
        Add(_to);
    }

    protected override async Task<int> RunAsync(VerbCall call, CancellationToken cancellation)
    {
        string repository = call.Get(_repository)!, revision = call.Get(_revision) ?? PulledModels.MainRevision;
        var options = HubOptions.FromEnvironment();
        options = options with { Endpoint = Endpoint(call) ?? options.Endpoint, CacheFolder = call.Get(_to) is string to ? Path.GetFullPath(to) : options.CacheFolder };
        Target.CheckFolder(call.Get(_to) is null ? "The cache folder" : _to.Name, options.CacheFolder);
        call.Output.Detail($"{repository}, revision {revision}, from {options.Endpoint} to {options.CacheFolder}");
        long start = Stopwatch.GetTimestamp();
        PullResult result;
        using (var puller = new ModelPuller(options))
        {
            await using var bar = new PullBar(call.Output, repository);
            result = await puller.PullAsync(repository, revision, bar, cancellation).ConfigureAwait(false);
        }

        double seconds = Stopwatch.GetElapsedTime(start).TotalSeconds;
        call.Output.Note($"{result.Files.Count} files, {result.TotalBytes:N0} bytes, {result.DownloadedBytes:N0} of them now in {seconds:F1} s");
        if (call.Output.Json)
        {
            call.Output.Document(new { Repository = repository, Revision = revision, result.Commit, result.Folder, result.Files, result.TotalBytes, result.DownloadedBytes, Seconds = seconds });
        }
        else
        {
            call.Output.WriteLine(result.Folder);
        }

        return ExitCode.Done;
    }

    private Uri? Endpoint(VerbCall call) => call.Get(_endpoint) switch
    {
        null => null,
        string text when Uri.TryCreate(text, UriKind.Absolute, out Uri? address) && address.Scheme is "http" or "https" => address,
        string text => throw new UsageException(TypedOption.Wrong(_endpoint.Name, text, "an http or https address")),
    };
}
