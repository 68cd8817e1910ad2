using System.CommandLine;
using System.Diagnostics;
using PrefixTorch.Cli.Inputs;
using PrefixTorch.Cli.Outputs;
using PrefixTorch.Cli.Verbs;
using PrefixTorch.Generation;
using PrefixTorch.Memory;

namespace PrefixTorch.Cli.Options;

/// <summary>Which model, and how it is held and run.</summary>
internal sealed class LoadOptions : ModelOptions
{
    private const string Auto = "auto";

    private static readonly Dictionary<string, DType?> s_dtypes = new()
    {
        [Auto] = null,
        ["float32"] = Memory.DType.Float32,
        ["bfloat16"] = Memory.DType.BFloat16,
        ["float16"] = Memory.DType.Float16,
    };

    private static readonly Dictionary<string, DType?> s_kvDTypes = new(s_dtypes) { ["int8"] = Memory.DType.Int8 };

    private static readonly Dictionary<string, Quantization> s_quantizations = new()
    {
        ["int8"] = Quantization.Int8,
        ["int4"] = Quantization.Int4,
    };

    private static readonly Dictionary<string, LoadMode> s_loads = new()
    {
        [Auto] = LoadMode.Auto,
        ["map"] = LoadMode.Map,
        ["copy"] = LoadMode.Copy,
    };

    private Option<string?>? _generationConfig;

    public LoadOptions()
    {
        DType = Choice("--dtype", "How weights are held in memory; auto: as stored. int8 and int4 are made once and kept beside the model.", DTypeWords);
        KvDType = Choice("--kv-dtype", "How keys and values are held; auto: as the arithmetic. int8 has a scale for each head and token: about half the memory of 16 bits.", KvDTypeWords);
        Load = Choice("--load", "Where weights lie that are held as stored. map: in the mapped file, the first token comes soonest; copy: in memory of their own, in huge pages where there are any, each token comes a little sooner; auto: map.", [.. s_loads.Keys]);
        Device = Text("--device", "cpu|cuda[:n]", "Where the model runs; otherwise cpu.");
        Threads = Integer("--threads", "Threads that compute; otherwise one for each processor.", least: 1, "-t");
    }

    /// <summary>The words for how weights are held.</summary>
    public static string[] DTypeWords => [.. s_dtypes.Keys, .. s_quantizations.Keys];

    /// <summary>The words for how keys and values are held.</summary>
    public static string[] KvDTypeWords => [.. s_kvDTypes.Keys];

    /// <summary>Adds the option for verbs that choose tokens.</summary>
    public LoadOptions WithGenerationConfig()
    {
        _generationConfig = Text("--generation-config", "FILE", "Defaults of sampling and end tokens, instead of the checkpoint's generation_config.json.");
        return this;
    }

    public Option<string?> DType { get; }

    public Option<string?> KvDType { get; }

    public Option<string?> Load { get; }

    public Option<string?> Device { get; }

    public Option<int?> Threads { get; }

    /// <summary>Loads the model that the command line names. The caller disposes it.</summary>
    /// <param name="call">The command line.</param>
    /// <param name="cancellation">Looked at between the parts.</param>
    /// <param name="statePath">Where parents of delta files are looked for.</param>
    /// <param name="defaultDType">What weights, keys and values are held in where the command line does not say.</param>
    public async Task<Llama> LoadAsync(VerbCall call, CancellationToken cancellation, IReadOnlyList<string>? statePath = null, DType? defaultDType = null)
    {
        long start = Stopwatch.GetTimestamp();
        using var bar = new QuantizeBar(call.Output);
        var options = new LlamaOptions
        {
            DType = call.Get(DType) is string dtype ? s_dtypes.GetValueOrDefault(dtype) : defaultDType,
            Quantization = call.Get(DType) is string name && s_quantizations.TryGetValue(name, out Quantization quantization) ? quantization : null,
            QuantizationProgress = bar,
            KvDType = call.Get(KvDType) is string kvDType ? s_kvDTypes[kvDType] : defaultDType,
            Load = s_loads[call.Get(Load) ?? Auto],
            Device = call.Get(Device) ?? "cpu",
            Threads = call.Get(Threads),
            GenerationConfigFile = _generationConfig is null ? null : call.Get(_generationConfig),
            StatePath = statePath ?? [],
        };
        Llama llama = await Llama.LoadAsync(Folder(call), options, cancellation).ConfigureAwait(false);
        call.Output.Detail($"{llama.Name} loaded in {Stopwatch.GetElapsedTime(start).TotalSeconds:F2} s: weights {llama.Config.Quantization?.Format ?? Name(llama.Options.DType)}, {(llama.Options.Load == LoadMode.Copy ? "copied" : "mapped")}, keys and values {Name(llama.Options.KvDType)}, {llama.Options.Device}, {llama.Options.Threads} threads, {llama.Arithmetic}");
        return llama;
    }

    /// <summary>Loads a second model, on the same device and threads. The caller disposes it.</summary>
    /// <param name="call">The command line.</param>
    /// <param name="folder">Its folder or name; null: the first one's.</param>
    /// <param name="dtype">How its weights are held, a value of <c>--dtype</c>; null: as stored.</param>
    /// <param name="kvDType">How its keys and values are held, a value of <c>--kv-dtype</c>; null: as the arithmetic, whatever the first one's are.</param>
    /// <param name="cancellation">Looked at between the parts.</param>
    public Task<Llama> LoadOtherAsync(VerbCall call, string? folder, string? dtype, string? kvDType, CancellationToken cancellation) =>
        Llama.LoadAsync(
            folder is null ? Folder(call) : ModelFolder.Resolve(folder),
            new LlamaOptions
            {
                DType = s_dtypes.GetValueOrDefault(dtype ?? Auto),
                Quantization = dtype is not null && s_quantizations.TryGetValue(dtype, out Quantization quantization) ? quantization : null,
                KvDType = s_kvDTypes[kvDType ?? Auto],
                Device = call.Get(Device) ?? "cpu",
                Threads = call.Get(Threads),
            },
            cancellation);

    private static string Name(DType? dtype) => dtype?.ToString().ToLowerInvariant() ?? "as stored";
}
