using System.CommandLine;
using PrefixTorch.Caching;
using PrefixTorch.Cli.Chat;
using PrefixTorch.Cli.Options;
using PrefixTorch.Cli.Outputs;
using PrefixTorch.Generation;

namespace PrefixTorch.Cli.Verbs;

/// <summary>A conversation in the model's own format.</summary>
internal sealed class ChatVerb : Verb
{
    // Answers are longer than continuations of a text.
    private const int LongestAnswer = 1024;

    private readonly Streams _streams;
    private readonly StateOptions _state = new(required: false);
    private readonly Option<string?> _system = TypedOption.Text("--system", "TEXT", "What the model is told first, @file, or - for standard input.");
    private readonly Option<string?> _save = TypedOption.Text("--save", "FILE", "Keep the conversation at its end, also when interrupted.");
    private readonly SampleOptions _sample = new();
    private readonly LoadOptions _load = new LoadOptions().WithGenerationConfig();

    public ChatVerb(Streams streams)
        : base(streams, "chat", "Talk with a model that has a chat template; /help there lists the commands. Ctrl-C stops an answer.", "--model weights/Llama-3.1-8B-Instruct", "--system \"You are brief.\" --temperature 0.7 -v", "--state evening.safetensors")
    {
        _streams = streams;
        Use(_state);
        Add(_system);
        Add(_save);
        Use(_sample, _load);
    }

    protected override async Task<int> RunAsync(VerbCall call, CancellationToken cancellation)
    {
        GenerationOptions options = _sample.Read(call);
        if (options.NumReturnSequences > 1)
        {
            throw new UsageException($"-n is {options.NumReturnSequences}; a chat has one answer at a time. /branch and /go lead to others.");
        }

        string? system = call.Get(_system) is string text ? call.Texts.Read(text, _system.Name) : null;
        if (call.Get(_save) is string target)
        {
            Target.CheckFile(_save.Name, target, _state.MustStay(call, new KvSaveOptions()));
        }

        using Llama llama = await _load.LoadAsync(call, cancellation, call.Get(_state.StatePath)).ConfigureAwait(false);
        using var session = new ChatSession(llama, options with { MaxNewTokens = options.MaxNewTokens ?? llama.GenerationConfig.MaxNewTokens ?? LongestAnswer }, call.Output, call.Get(_state.StatePath) ?? []);
        if (call.Get(_state.State) is string state)
        {
            session.Load(state, _state.Load(call, llama));
        }

        if (system is not null)
        {
            session.Instruct(system);
        }

        var commands = new ChatCommands(session, path => KvCache.Load(path, llama, _state.Read(call)), call.Output);
        int code = await new ChatLoop(_streams, call.Output, session, commands).RunAsync(cancellation).ConfigureAwait(false);
        var failure = new LateFailure();
        if (call.Get(_save) is string file)
        {
            if (session.Tree.Present.Cache is null)
            {
                call.Output.Note($"Nothing was said, so {file} is not written.");
            }
            else
            {
                failure.Try(() => session.Save(_save.Name, file));
            }
        }

        if (call.Output.Json)
        {
            call.Output.Document(new { Model = llama.Name, Messages = session.Messages.Select(message => new { message.Role, message.Content }), Sequences = session.Turns });
        }

        failure.Throw();
        return code;
    }
}
