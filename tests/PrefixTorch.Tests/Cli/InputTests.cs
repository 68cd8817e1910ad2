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
