using System.CommandLine;
using System.Globalization;
using PrefixTorch.Caching;
using PrefixTorch.Cli.Inputs;
using PrefixTorch.Cli.Options;
using PrefixTorch.Cli.Outputs;
using PrefixTorch.Configuration;
using PrefixTorch.Generation;
using Spectre.Console;

namespace PrefixTorch.Cli.Verbs;

/// <summary>What is in a checkpoint or a state.</summary>
internal sealed class InspectVerb : Verb
{
    private readonly ModelOptions _model = new();
    private readonly Argument<string?> _path = TypedOption.Path<string?>("path", "PATH", "A checkpoint's folder or a safetensors file (a state, for instance), or a pulled model's name; otherwise the model.", ArgumentArity.ZeroOrOne);
    private readonly Option<bool> _tensors = new("--tensors") { Description = "List every tensor." };

    public InspectVerb(Streams streams)
        : base(streams, "inspect", "What is in a checkpoint or a state: architecture, tensors, sizes, what is missing.", "", "weights/Llama-3.1-8B --tensors", "question.safetensors --json")
    {
        Add(_path);
        Add(_tensors);
        Use(_model);
    }

    protected override Task<int> RunAsync(VerbCall call, CancellationToken cancellation)
    {
        string path = call.Get(_path) is string given ? ModelFolder.Resolve(given) : _model.Folder(call);
        var info = CheckpointInfo.Read(path);
        KvStateInfo? state = info.Metadata.GetValueOrDefault("format") == KvStateInfo.Format ? KvStateInfo.Read(path) : null;
        if (call.Output.Json)
        {
            call.Output.Document(new
            {
                info.Path,
                info.Files,
                info.Fingerprint,
                info.TotalBytes,
                Parameters = info.ParameterCount,
                Dtypes = Dtypes(info),
                Architecture = info.Config is { } config ? Architecture.Of(config) : null,
                State = state is null ? null : StateDocument.Of(state),
                info.Metadata,
                info.Problem,
                Machine = Machine.Description,
                Tensors = info.Tensors.Select(tensor => new { tensor.Name, Dtype = tensor.DType, tensor.Shape, Bytes = tensor.ByteCount, tensor.File }),
            });
        }
        else
        {
            if (state is not null && !call.Get(_tensors))
            {
                StateView.Show(call.Output, state);
            }
            else
            {
                Show(call.Output, info, call.Get(_tensors));
            }
        }

        if (info.Problem is not null)
        {
            throw new PrefixTorchException(info.Problem);
        }

        return Task.FromResult(ExitCode.Done);
    }

    private static void Show(Output output, CheckpointInfo info, bool tensors)
    {
        List<(string Name, string Value)> rows = [("path", info.Path), ("files", string.Join(", ", info.Files)), ("fingerprint", info.Fingerprint)];
        if (info.Config is { } config)
        {
            rows.AddRange(Architecture.Of(config).Rows());
        }

        rows.Add(("parameters", info.ParameterCount.ToString("N0", CultureInfo.InvariantCulture)));
        rows.Add(("bytes", info.TotalBytes.ToString("N0", CultureInfo.InvariantCulture)));
        rows.AddRange(Dtypes(info).Select(type => ($"bytes in {type.Key}", type.Value.ToString("N0", CultureInfo.InvariantCulture))));
        rows.AddRange(info.Metadata.Where(entry => tensors || !entry.Key.StartsWith("xxh3.", StringComparison.Ordinal)).Select(entry => (entry.Key, entry.Value)));
        rows.Add(("machine", Machine.Description));
        output.Rows(["", ""], rows.Select(row => new[] { row.Name, row.Value }));
        if (tensors)
        {
            output.Rows(["tensor", "dtype", "shape", "bytes", "file"], info.Tensors.Select(tensor => new[] { tensor.Name, tensor.DType, $"[{string.Join(", ", tensor.Shape)}]", tensor.ByteCount.ToString("N0", CultureInfo.InvariantCulture), tensor.File }));
        }
    }

    private static Dictionary<string, long> Dtypes(CheckpointInfo info) =>
        info.Tensors.GroupBy(tensor => tensor.DType).ToDictionary(group => group.Key, group => group.Sum(tensor => tensor.ByteCount));

    /// <summary>The architecture in Hugging Face's words.</summary>
    private sealed record Architecture(int HiddenSize, int IntermediateSize, int NumHiddenLayers, int NumAttentionHeads, int NumKeyValueHeads, int HeadDim, int VocabSize, int MaxPositionEmbeddings, string RopeType, double RopeTheta, double RmsNormEps, bool TieWordEmbeddings, long KvBytesPerToken)
    {
        public static Architecture Of(LlamaConfig c) => new(
            c.HiddenSize, c.IntermediateSize, c.NumHiddenLayers, c.NumAttentionHeads, c.NumKeyValueHeads, c.HeadDim, c.VocabSize, c.MaxPositionEmbeddings, c.Rope.RopeType, c.Rope.RopeTheta, c.RmsNormEps, c.TieWordEmbeddings,
            2L * c.NumHiddenLayers * c.NumKeyValueHeads * c.HeadDim * sizeof(ushort));

        public IEnumerable<(string, string)> Rows() =>
        [
            ("layers", $"{NumHiddenLayers}"),
            ("hidden size", $"{HiddenSize}, {IntermediateSize} in the feed-forward"),
            ("heads", $"{NumAttentionHeads} for queries, {NumKeyValueHeads} for keys and values, of {HeadDim}"),
            ("vocabulary", $"{VocabSize}{(TieWordEmbeddings ? ", embedding and head tied" : "")}"),
            ("context", $"{MaxPositionEmbeddings} tokens, rope {RopeType} with theta {RopeTheta.ToString(CultureInfo.InvariantCulture)}"),
            ("cache", $"{KvBytesPerToken:N0} bytes a token in 16 bits"),
        ];
    }
}
