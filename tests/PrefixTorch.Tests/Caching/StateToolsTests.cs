using System.Diagnostics;
using PrefixTorch.Caching;
using PrefixTorch.Checkpoints;
using PrefixTorch.Generation;
using PrefixTorch.Tests.Checkpoints;

namespace PrefixTorch.Tests.Caching;

/// <summary>What can be done with state files without their model.</summary>
public sealed class StateToolsTests : IAsyncLifetime
{
    private static readonly KvSaveOptions s_fast = new() { FlushToDisk = false };

    private readonly TemporaryFolder _folder = new();
    private int[] _branch = [];

    private static CancellationToken Cancellation => TestContext.Current.CancellationToken;

    private static Llama Llama => Tolstoy.AsStored;

    public async ValueTask InitializeAsync()
    {
        using KvCache root = await Llama.PrefillAsync(Tolstoy.Prefix, cancellationToken: Cancellation);
        root.Name = "the prince";
        root.Save(File("root"), s_fast);
        using KvCache branch = await Llama.AppendAsync(root, " and said", cancellationToken: Cancellation), other = await Llama.AppendAsync(root, " who", cancellationToken: Cancellation);
        branch.Save(File("branch"), s_fast with { Parent = File("root") });
        other.Save(File("other"), s_fast with { Parent = File("root") });
        using KvCache leaf = await Llama.AppendAsync(branch, " nothing", cancellationToken: Cancellation);
        leaf.Save(File("leaf"), s_fast with { Parent = File("branch") });
        _branch = branch.Tokens;
    }

    public ValueTask DisposeAsync()
    {
        _folder.Dispose();
        return ValueTask.CompletedTask;
    }

    [Fact]
    public void TokensAndTextAreThoseOfTheWholeChain()
    {
        Assert.Equal(_branch, KvStates.ReadTokens(File("branch")));
        Assert.Equal(Llama.Tokenizer.Decode(_branch), KvStates.ReadText(File("branch")));
        Assert.Equal(" and said", KvStateInfo.Read(File("branch")).OwnText);
        Assert.Equal("the prince", KvStateInfo.Read(File("root")).Name);
    }

    [Fact]
    public void FolderIsDrawnAsATree()
    {
        System.IO.File.WriteAllText(File("broken"), "no state");
        var tree = KvStateTree.Read(_folder.Path);
        KvStateTree.Node root = Assert.Single(tree.Roots);
        Assert.Equal(["branch.safetensors", "other.safetensors"], root.Children.Select(child => Path.GetFileName(child.State.Path)));
        Assert.Equal(File("broken"), Assert.Single(tree.Others).Path);
        int length = root.State.Length;
        Assert.Equal(
            $"root.safetensors 'the prince'  {length} tokens\n├─ branch.safetensors  {length} + 2 tokens\n│  └─ leaf.safetensors  {length + 2} + 1 tokens\n└─ other.safetensors  {length} + 1 tokens\n",
            tree.ToString());

        System.IO.File.Delete(File("branch"));
        tree = KvStateTree.Read(_folder.Path);
        Assert.Equal([true, false], tree.Roots.Select(node => node.IsOrphan));
        Assert.Contains("parent branch.safetensors is not here", tree.ToString(), StringComparison.Ordinal);
    }

    [Fact]
    public void DifferenceOfTwoStatesIsFound()
    {
        KvStateDiff diff = KvStates.Diff(File("leaf"), File("other"));
        Assert.Equal((_branch.Length + 1, _branch.Length - 1, _branch.Length - 2), (diff.LengthA, diff.LengthB, diff.CommonTokens));
        Assert.Equal((_branch[^2], 0d), (diff.NextA!.Value, diff.LargestDistance!.Value));
        Assert.Empty(diff.Differences);
        Assert.NotNull(diff.NextB);
        KvStates.Quantize(File("leaf"), File("rough"));
        KvStateDiff rough = KvStates.Diff(File("leaf"), File("rough"));
        Assert.Null(rough.NextA);
        Assert.Equal(("quantization", "None", "Int8"), Assert.Single(rough.Differences));
        Assert.InRange(rough.LargestDistance!.Value, 1e-4, 0.5);
    }

    [Fact]
    public void ChainIsMadeOneFileThatIsRestoredBitForBit()
    {
        KvStates.Compact(File("leaf"), File("whole"));
        KvStateInfo info = KvStateInfo.Read(File("whole"));
        Assert.Null(info.Parent);
        Assert.Equal(KvStates.ReadText(File("leaf")), info.OwnText);
        using KvCache chain = KvCache.Load(File("leaf"), Llama), whole = KvCache.Load(File("whole"), Llama);
        Assert.Equal(chain.Tokens, whole.Tokens);
        Assert.Equal(chain.PassStarts, whole.PassStarts);
        Assert.Equal(chain.Logits, whole.Logits);
        Assert.Equal(Tolstoy.Bytes(chain), Tolstoy.Bytes(whole));

        // In place, too.
        KvStates.Compact(File("leaf"), File("leaf"));
        Assert.Null(KvStateInfo.Read(File("leaf")).Parent);
    }

    [Fact]
    public void QuantizedFileIsSmallerAndSaysItsError()
    {
        double error = KvStates.Quantize(File("root"), File("rough"));
        Assert.InRange(error, 1e-4, 0.02);
        Assert.Equal(error, KvStateInfo.Read(File("rough")).QuantizationError);
        using var rough = KvCache.Load(File("rough"), Llama);
        Assert.Equal(_branch[..^2], rough.Tokens);
    }

    [Fact]
    public void ExportHoldsHuggingFacesTensors()
    {
        KvStates.Export(File("leaf"), File("plain"));
        using var cache = KvCache.Load(File("leaf"), Llama);
        using var file = SafetensorsFile.Open(File("plain"));
        Assert.Equal([1, 2, cache.Length, 32], file["key_cache.5"].Shape);
        (TorchSharp.torch.Tensor key, TorchSharp.torch.Tensor value) = cache.ToTensors(5);
        using (key)
        using (value)
        {
            Assert.Equal(key.bytes.ToArray(), file.Bytes(file["key_cache.5"]).ToArray());
            Assert.Equal(value.bytes.ToArray(), file.Bytes(file["value_cache.5"]).ToArray());
        }
    }

    [Fact]
    public void PythonTakesAStateOutAndIn()
    {
        string like = Repository.Fixture("states", "version-1.safetensors");
        Python("kv_to_hf.py", like, File("hf"));
        using (SafetensorsFile ours = SafetensorsFile.Open(like), theirs = SafetensorsFile.Open(File("hf")))
        {
            for (int i = 0; i < 6; i++)
            {
                Assert.Equal(ours.Bytes(ours[$"key.{i}"]).ToArray(), theirs.Bytes(theirs[$"key_cache.{i}"]).ToArray());
                Assert.Equal(ours.Bytes(ours[$"value.{i}"]).ToArray(), theirs.Bytes(theirs[$"value_cache.{i}"]).ToArray());
            }
        }

        Python("hf_to_kv.py", File("hf"), File("back"), "--like", like);
        using KvCache original = KvCache.Load(like, Llama), back = KvCache.Load(File("back"), Llama);
        Assert.Equal(original.Tokens, back.Tokens);
        Assert.Equal(original.Logits, back.Logits);
        Assert.Equal(Tolstoy.Bytes(original), Tolstoy.Bytes(back));

        // What the library exports is what the script takes.
        KvStates.Export(File("leaf"), File("plain"));
        Python("hf_to_kv.py", File("plain"), File("again"), "--like", like);
        using KvCache leaf = KvCache.Load(File("leaf"), Llama), again = KvCache.Load(File("again"), Llama);
        Assert.Equal(Tolstoy.Bytes(leaf), Tolstoy.Bytes(again));
        Assert.NotEqual("", Python("kv_to_hf.py", expected: 1, File("branch"), File("hf")));
    }

    [Fact]
    public void PythonNamesWhatAFileIsNot()
    {
        string like = Repository.Fixture("states", "version-1.safetensors");
        byte[] bytes = System.IO.File.ReadAllBytes(like);
        Write("empty", []);
        Write("cut", bytes[..^1000]);
        Write("header", bytes[..500]);
        Write("json", [.. "[1, 2, \"three\"]"u8]);
        foreach ((string name, string expected) in new[] { ("empty", "has 0 bytes"), ("cut", "it was cut short"), ("header", "header cannot be read"), ("json", "no safetensors file") })
        {
            string error = Python("kv_to_hf.py", expected: 1, File(name), File("hf"));
            Assert.Contains(expected, error, StringComparison.Ordinal);
            Assert.DoesNotContain("Traceback", error, StringComparison.Ordinal);
            Assert.DoesNotContain("Traceback", Python("hf_to_kv.py", expected: 1, File(name), File("hf"), "--like", like), StringComparison.Ordinal);
        }

        Python("kv_to_hf.py", like, File("hf"));
        Assert.Contains("give a JSON array of integers", Python("hf_to_kv.py", expected: 1, File("hf"), File("back"), "--like", like, "--ids", File("json")), StringComparison.Ordinal);

        void Write(string name, byte[] content) => System.IO.File.WriteAllBytes(File(name), content);
    }

    private string File(string name) => _folder.File(name + ".safetensors");

    private static string Python(string script, params string[] arguments) => Python(script, expected: 0, arguments);

    private static string Python(string script, int expected, params string[] arguments)
    {
        Process? process = null;
        try
        {
            process = Process.Start(new ProcessStartInfo("python3", [Path.Combine(Repository.Root, "tools", script), .. arguments]) { RedirectStandardError = true });
        }
        catch (System.ComponentModel.Win32Exception)
        {
            Assert.Skip("The scripts need python3.");
        }

        using (process)
        {
            string errors = process!.StandardError.ReadToEnd();
            process.WaitForExit();
            Assert.True(process.ExitCode == expected, errors);
            return errors;
        }
    }
}
