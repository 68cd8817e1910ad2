using System.Text.Json;
using PrefixTorch.Cli;
using PrefixTorch.Tests.Generation;

namespace PrefixTorch.Tests.Cli;

public class ChatVerbTests(ChatModel model) : IClassFixture<ChatModel>
{
    private const int Begin = 4080, Header = 4086, EndHeader = 4087, EndOfTurn = 4089;

    [Fact]
    public async Task EveryTurnAppendsIdsAndReadsNothingAgain()
    {
        CliRun run = await ChatAsync("Good evening, Prince.\nAnd you, Natasha?\nWar\n", "--system", "You are brief.", "--json", "-v");
        Assert.Equal(0, run.ExitCode);
        Assert.Equal(["system", "user", "assistant", "user", "assistant", "user", "assistant"], Messages(run).Select(message => message.Role));
        Assert.Equal("Good evening, Prince.", Messages(run)[1].Content);
        JsonElement[] turns = [.. run.Json.GetProperty("sequences").EnumerateArray()];
        Assert.Equal([Begin, Header], Ids(turns[0], "prompt_ids")[..2]);
        int[] past = [];
        foreach (JsonElement turn in turns)
        {
            int[] prompt = Ids(turn, "prompt_ids");
            Assert.Equal(past, prompt[..past.Length]);
            if (past.Length > 0)
            {
                // The answer was cut off, so its end comes first; then the new header.
                Assert.Equal([EndOfTurn, Header], prompt[past.Length..(past.Length + 2)]);
                Assert.InRange(turn.GetProperty("usage").GetProperty("reused_tokens").GetInt32(), past.Length - 1, past.Length);
            }

            Assert.Equal(EndHeader, prompt[^2]);
            past = [.. prompt, .. Ids(turn, "ids")];
        }

        Assert.Contains("tokens reused", run.Err, StringComparison.Ordinal);
        Assert.DoesNotContain("otherwise", run.Err, StringComparison.Ordinal);
    }

    [Fact]
    public async Task AnswersGoToStandardOutputAndNotesElsewhere()
    {
        JsonElement[] turns = [.. (await ChatAsync("Hello\nAgain\n", "--json")).Json.GetProperty("sequences").EnumerateArray()];
        CliRun run = await ChatAsync("Hello\n\n/help\n/tree\nAgain\n/quit\nnever asked\n");
        Assert.Equal(0, run.ExitCode);
        Assert.Equal(string.Concat(turns.Select(turn => turn.GetProperty("text").GetString() + Environment.NewLine)), run.Out);
        Assert.Contains("/back [N]", run.Err, StringComparison.Ordinal);
        Assert.Contains("1 Hello → ", run.Err, StringComparison.Ordinal);
        Assert.Contains("cut off after 6 tokens", run.Err, StringComparison.Ordinal);
    }

    [Fact]
    public async Task AMessageMayHaveSeveralLines()
    {
        CliRun run = await ChatAsync("one\\\ntwo\\\n\n\"\"\"three\n/four\\\n  five \"\"\"\n\"\"\"\nsix\n\"\"\"\n//seven\n\"\"\"eight\"\"\"\n\"\"\"nine\nten", "--json");
        Assert.Equal(["one\ntwo\n", "three\n/four\\\n  five ", "six", "/seven", "eight", "nine\nten"], Messages(run).Where(message => message.Role == "user").Select(message => message.Content));
    }

    [Fact]
    public async Task ASavedChatGoesOnAndCanGoBack()
    {
        using var folder = new TemporaryFolder();
        string state = Path.Combine(folder.Path, "chat.safetensors");
        CliRun first = await ChatAsync($"Hello\nAgain\n/save {state}\nMore\n", "--json");
        CliRun rest = await ChatAsync("More\n", "--state", state, "--json");
        Assert.Contains("2 answers", rest.Err, StringComparison.Ordinal);
        Assert.Equal(Messages(first), Messages(rest));
        Assert.Equal(Ids(first.Json.GetProperty("sequences")[2], "ids"), Ids(rest.Json.GetProperty("sequences")[0], "ids"));

        // Back to the first answer of a chat that was restored, and on from there.
        CliRun back = await ChatAsync($"Something else\n/load {state}\n/back\nAgain\n", "--json");
        Assert.Equal(Messages(first)[..4], Messages(back));
        (int[] before, int[] after) = (Ids(first.Json.GetProperty("sequences")[1], "prompt_ids"), Ids(back.Json.GetProperty("sequences")[1], "prompt_ids"));
        Assert.Equal(before, after);
    }

    [Fact]
    public async Task TheEndIsKeptWhereAskedFor()
    {
        using var folder = new TemporaryFolder();
        string state = Path.Combine(folder.Path, "chat.safetensors");
        await ChatAsync("Hello\n", "--save", state);
        CliRun nothing = await ChatAsync("/quit\n", "--save", Path.Combine(folder.Path, "nothing.safetensors"));
        Assert.Equal((0, 1), (nothing.ExitCode, Directory.GetFiles(folder.Path).Length));
        CliRun rest = await ChatAsync("Again\n", "--state", state, "--json");
        Assert.Equal(Messages(await ChatAsync("Hello\nAgain\n", "--json")), Messages(rest));
    }

    [Fact]
    public async Task BackBranchAndGoLeadToEveryMoment()
    {
        CliRun run = await ChatAsync("One\nTwo\n/branch second\nThree\n/go second\nFour\n/back 2\nFive\n/tree\n", "--json");
        Assert.Equal(0, run.ExitCode);
        Assert.Equal(["One", "Five"], Messages(run).Where(message => message.Role == "user").Select(message => message.Content));
        int[][] prompts = [.. run.Json.GetProperty("sequences").EnumerateArray().Select(turn => Ids(turn, "prompt_ids"))];

        // Three and Four follow the same state; Five follows the one that Two followed.
        int second = prompts[2].AsSpan().CommonPrefixLength(prompts[3]);
        Assert.True(second > prompts[1].Length);
        Assert.Equal(prompts[1].AsSpan().CommonPrefixLength(prompts[4]), prompts[4].AsSpan().CommonPrefixLength(prompts[2]));
        string[] tree = [.. run.Err.Split(Environment.NewLine).SkipWhile(line => !line.StartsWith("0 the beginning", StringComparison.Ordinal))];
        Assert.StartsWith("└── 1 One → ", tree[1], StringComparison.Ordinal);
        Assert.StartsWith("    ├── 2 [second] Two → ", tree[2], StringComparison.Ordinal);
        Assert.StartsWith("    │   └── 5 Four → ", tree[3], StringComparison.Ordinal);
        Assert.StartsWith("    ├── 3 Two → ", tree[4], StringComparison.Ordinal);
        Assert.StartsWith("    │   └── 4 Three → ", tree[5], StringComparison.Ordinal);
        Assert.StartsWith("    └── 6 Five → ", tree[6], StringComparison.Ordinal);
        Assert.EndsWith("← here", tree[6], StringComparison.Ordinal);
    }

    [Fact]
    public async Task AStateFromElsewhereIsGoneOnFrom()
    {
        using var folder = new TemporaryFolder();
        string state = Path.Combine(folder.Path, "system.safetensors");
        CliRun prefill = await CliRun.Of("prefill", "--model", model.Path, "--special", "--prompt", "<|begin_of_text|><|start_header_id|>system<|end_header_id|>\n\nYou are brief.<|eot_id|>", "--save", state, "--json");
        CliRun run = await ChatAsync("Hello\n", "--state", state, "--json");
        int[] kept = Ids(prefill.Json, "prompt_ids"), prompt = Ids(run.Json.GetProperty("sequences")[0], "prompt_ids");
        Assert.Equal(Ids((await ChatAsync("Hello\n", "--system", "You are brief.", "--json")).Json.GetProperty("sequences")[0], "prompt_ids"), prompt);
        Assert.Equal(kept.Length, run.Json.GetProperty("sequences")[0].GetProperty("usage").GetProperty("reused_tokens").GetInt32());
        Assert.Contains("does not say what was said", run.Err, StringComparison.Ordinal);
    }

    [Fact]
    public async Task WhereTheTemplateWouldRenderThePastOtherwiseANoteSaysSo()
    {
        using TemporaryFolder folder = model.Shouting();
        CliRun run = await CliRun.WithInput("Hello\nAgain\n", "chat", "--model", folder.Path, "--greedy", "--ignore-eos", "--max-new-tokens", "1", "--json");
        Assert.Equal(0, run.ExitCode);
        Assert.Contains($"The template would write the answer '{Messages(run)[1].Content}' as '{Messages(run)[1].Content.ToUpperInvariant()}'", run.Err, StringComparison.Ordinal);
    }

    [Fact]
    public async Task CtrlCStopsTheAnswerAndNotTheProgram()
    {
        var interrupts = new List<Streams>();
        bool taken = false;
        await using var output = new InterruptingWriter(" ", () => taken = interrupts[0].Interrupts.Press());
        using var error = new StringWriter();
        using var streams = new Streams(new StringReader("Tell me everything.\n/tree\n"), output, error);
        interrupts.Add(streams);
        int code = await CommandLine.RunAsync(["chat", "--model", model.Path, "--greedy", "--ignore-eos", "--max-new-tokens", "3500", "-v"], streams, TestContext.Current.CancellationToken);
        Assert.Equal(0, code);
        Assert.True(taken);
        Assert.Contains("1 Tell me everything. → ", error.ToString(), StringComparison.Ordinal);
        Assert.DoesNotContain("3500 new ones", error.ToString(), StringComparison.Ordinal);
        Assert.False(streams.Interrupts.Press());
    }

    [Fact]
    public async Task CtrlCTwiceAtThePromptQuits()
    {
        using var reader = new PressingReader();
        using var error = new StringWriter();
        using var streams = new Streams(reader, TextWriter.Null, error);
        reader.Press = () => streams.Interrupts.Press();
        int code = await CommandLine.RunAsync(["chat", "--model", model.Path], streams, TestContext.Current.CancellationToken);
        Assert.Equal(130, code);
        Assert.Contains("Ctrl-C once more ends the chat", error.ToString(), StringComparison.Ordinal);
    }

    [Fact]
    public async Task WhatCannotBeDoneIsSaidAndTheChatGoesOn()
    {
        CliRun run = await ChatAsync("/frobnicate\n/save nowhere\n/back\n/load none.safetensors\n/branch\n/go 7\n/back x\n/system\nHello\n", "--json");
        Assert.Equal(1, run.ExitCode);
        Assert.Single(run.Json.GetProperty("sequences").EnumerateArray());
        Assert.All(
            ["no command /frobnicate", "no state to save", "are 0 answers", "none.safetensors", "nothing to branch from", "no moment '7'", "followed by 'x'", "/system TEXT"],
            text => Assert.Contains(text, run.Err, StringComparison.Ordinal));
        CliRun quiet = await ChatAsync("/nope\n", "-q");
        quiet.AssertFailed(1, "no command /nope");
        (await CliRun.Of("chat")).AssertFailed(1, "has no chat template", "instruct");
        (await CliRun.Of("chat", "-n", "2")).AssertFailed(2, "-n is 2");
    }

    [Fact]
    public async Task ARealModelAnswersAsIfItHadReadTheWholeConversation()
    {
        string[] line = ["--model", SmolLM.Folder(), "--greedy", "--max-new-tokens", "24", "--dtype", "float32", "--kv-dtype", "float32", "--json"];
        CliRun run = await CliRun.WithInput("What is the capital of France?\nAnd of Italy?\n", ["chat", .. line]);
        Assert.Equal(0, run.ExitCode);
        Assert.Contains("Paris", Messages(run)[1].Content, StringComparison.Ordinal);
        JsonElement second = run.Json.GetProperty("sequences")[1];
        Assert.InRange(second.GetProperty("usage").GetProperty("computed_tokens").GetInt32(), 1, 20);

        using var folder = new TemporaryFolder();
        CliRun whole = await CliRun.Of(["generate", "--ids", folder.Write("ids.json", second.GetProperty("prompt_ids").GetRawText()), .. line]);
        Assert.Equal(Ids(whole.Json.GetProperty("sequences")[0], "ids"), Ids(second, "ids"));
    }

    private async Task<CliRun> ChatAsync(string input, params string[] args) =>
        await CliRun.WithInput(input, ["chat", "--model", model.Path, "--greedy", "--ignore-eos", "--max-new-tokens", "6", .. args]);

    private static (string Role, string Content)[] Messages(CliRun run) =>
        [.. run.Json.GetProperty("messages").EnumerateArray().Select(message => (message.GetProperty("role").GetString()!, message.GetProperty("content").GetString()!))];

    private static int[] Ids(JsonElement element, string name) => [.. element.GetProperty(name).EnumerateArray().Select(id => id.GetInt32())];

    /// <summary>Somebody who presses Ctrl-C twice instead of typing.</summary>
    private sealed class PressingReader : TextReader
    {
        private readonly ManualResetEventSlim _end = new();

        public Action Press { get; set; } = () => { };

        public override string? ReadLine()
        {
            Press();
            Press();
            _end.Wait(TimeSpan.FromSeconds(30));
            return null;
        }

        protected override void Dispose(bool disposing)
        {
            _end.Set();
            base.Dispose(disposing);
        }
    }
}
