using System.CommandLine;
using System.Globalization;
using PrefixTorch.Caching;
using PrefixTorch.Cli.Outputs;
using PrefixTorch.Cli.Verbs;

namespace PrefixTorch.Cli.Options;

/// <summary>Whether the states of several results are kept, each in a file of its own.</summary>
internal sealed class SaveEachOptions : OptionSet
{
    private const string Place = "{}";
    private const string Extension = ".safetensors";

    private readonly Option<string?> _save;

    public SaveEachOptions()
    {
        _save = Text("--save", "DIR|PATTERN", $"Keep each result's state, also when interrupted: in a folder, or in files whose name has {Place} where the result's index goes.");
    }

    /// <summary>Whether states are kept.</summary>
    public bool IsGiven(VerbCall call) => call.Get(_save) is not null;

    /// <summary>Checks, before there is anything to lose, that every result gets a file of its own, and that there is a place for it.</summary>
    /// <param name="call">The command line.</param>
    /// <param name="results">How many results there will be.</param>
    /// <param name="kept">The files that must stay as they are.</param>
    /// <exception cref="UsageException">The path names one file, and there are several results.</exception>
    /// <exception cref="PrefixTorchException">A file cannot be written.</exception>
    public void Check(VerbCall call, int results, Func<IEnumerable<string>> kept)
    {
        if (call.Get(_save) is not string path)
        {
            return;
        }

        if (results > 1 && path.EndsWith(Extension, StringComparison.Ordinal) && !path.Contains(Place, StringComparison.Ordinal))
        {
            throw new UsageException($"{_save.Name} is {path}, and there would be {results} results; name a folder, or put {Place} where the result's index goes.");
        }

        string[] mustStay = [.. kept()];
        for (int i = 0; i < results; i++)
        {
            Target.CheckFile(_save.Name, FileOf(path, i), mustStay, makesFolder: true);
        }
    }

    /// <summary>Keeps a result's state if states are to be kept.</summary>
    public void Keep(VerbCall call, int index, KvCache cache, KvSaveOptions how)
    {
        if (call.Get(_save) is string path)
        {
            string file = FileOf(path, index);
            Directory.CreateDirectory(Path.GetDirectoryName(Path.GetFullPath(file))!);
            cache.Save(file, how);
            call.Output.Note($"{cache.Length} tokens saved to {file} ({new FileInfo(file).Length:N0} bytes)");
        }
    }

    private static string FileOf(string path, int index)
    {
        string number = index.ToString(CultureInfo.InvariantCulture);
        return path.Contains(Place, StringComparison.Ordinal) ? path.Replace(Place, number, StringComparison.Ordinal)
            : path.EndsWith(Extension, StringComparison.Ordinal) ? path
            : Path.Combine(path, $"branch-{number}{Extension}");
    }
}
