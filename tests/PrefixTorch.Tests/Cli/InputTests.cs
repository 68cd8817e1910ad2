using PrefixTorch.Cli;
using PrefixTorch.Cli.Inputs;

namespace PrefixTorch.Tests.Cli;

public class InputTests
{
    [Fact]
    public void StandardInputIsReadOnce()
    {
        using var streams = new Streams(new StringReader("text"), TextWriter.Null, TextWriter.Null);
        var texts = new TextSource(streams);
        Assert.Equal("text", texts.Read("-", "--prompt"));
        string message = Assert.Throws<UsageException>(() => texts.ReadPath("-", "--ids")).Message;
        Assert.StartsWith("--prompt and --ids both ask for standard input", message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task AFilesBytesAreUtf8AsStandardInputsAre()
    {
        using var folder = new TemporaryFolder();
        string file = Path.Combine(folder.Path, "text");
        byte[][] contents = [[0xef, 0xbb, 0xbf, (byte)'a'], [0xff, 0xfe, (byte)'a', 0], [0xfe, 0xff, 0, (byte)'a']];
        foreach (byte[] bytes in contents)
        {
            await File.WriteAllBytesAsync(file, bytes, TestContext.Current.CancellationToken);
            using var input = new StreamReader(new MemoryStream(bytes), new System.Text.UTF8Encoding(false), detectEncodingFromByteOrderMarks: false);
            using var streams = new Streams(input, TextWriter.Null, TextWriter.Null);
            var texts = new TextSource(streams);
            Assert.Equal(texts.Read("-", "--prompt"), texts.Read($"@{file}", "--prompt"));
        }

        // JSON has no such mark, and Windows writes one.
        await File.WriteAllTextAsync(file, "[1, 2]", System.Text.Encoding.UTF8, TestContext.Current.CancellationToken);
        Assert.Equal(0, (await CliRun.Of("detokenize", "--ids", file)).ExitCode);
        Assert.Equal(0, (await CliRun.WithInput("\ufeff[1, 2]", "detokenize", "--ids", "-")).ExitCode);
        Assert.Equal(0, (await CliRun.WithInput("\ufeff\"a\"\n", "tokenize", "--lines")).ExitCode);
        (await CliRun.Of("tokenize", "@")).AssertFailed(2, "@@ is the text @");
    }

    [Fact]
    public async Task WhatIsThereOrWrittenAsAPathIsNoModelsName()
    {
        // Relative names, as one types them: tests run side by side, so the current folder stays.
        using var folder = new TemporaryFolder();
        string near = Path.Combine(Directory.GetCurrentDirectory(), $"near-{Guid.NewGuid():N}");
        Directory.CreateDirectory(near);
        try
        {
            string file = $"{Path.GetFileName(near)}/a.safetensors";
            CliRun made = await CliRun.Of("prefill", "--prompt", "x", "--save", file);
            Assert.Equal(0, made.ExitCode);
            Assert.StartsWith("state\t", (await CliRun.Of("inspect", file)).Out, StringComparison.Ordinal);
            Assert.Equal(file, ModelFolder.Resolve(file, folder.Path));
        }
        finally
        {
            Directory.Delete(near, recursive: true);
        }

        Assert.All(["./none", "../none", "./none@v1", "/none"], path => Assert.Equal(path, ModelFolder.Resolve(path, folder.Path)));
        string message = Assert.Throws<PrefixTorchException>(() => ModelFolder.Resolve("org/none", folder.Path)).Message;
        Assert.StartsWith("There is no folder or file org/none", message, StringComparison.Ordinal);
    }

    [Fact]
    public void TheDefaultModelIsBesideTheProgramOrAboveTheCurrentFolder()
    {
        using var root = new TemporaryFolder();
        string Make(params string[] parts) => Directory.CreateDirectory(Path.Combine([root.Path, .. parts])).FullName;
        string program = Make("program"), below = Make("project", "src", "deep"), expected = Make("project", "weights", "tiny-tolstoy");
        Assert.Equal(expected, ModelFolder.Find(program, below));

        string beside = Make("program", "weights", "tiny-tolstoy");
        Assert.Equal(beside, ModelFolder.Find(program, below));
        string elsewhere = Make("elsewhere");
        string message = Assert.Throws<PrefixTorchException>(() => ModelFolder.Find(elsewhere, elsewhere)).Message;
        Assert.EndsWith("Give --model DIR.", message, StringComparison.Ordinal);
    }
}
