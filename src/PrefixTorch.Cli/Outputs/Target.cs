namespace PrefixTorch.Cli.Outputs;

/// <summary>
/// Places that are to be written to, looked at before the work: what takes an hour must not end at a folder that was never there. What changes in the
/// meantime is found when it is written.
/// </summary>
internal static class Target
{
    /// <summary>Checks that a file can be written, or replaced.</summary>
    /// <param name="option">What names it, for messages.</param>
    /// <param name="path">The file.</param>
    /// <param name="kept">Files that must stay as they are, whatever links lead to them.</param>
    /// <param name="makesFolder">Whether folders that are not there will be made.</param>
    /// <exception cref="PrefixTorchException">It cannot be written there; the message says what to do.</exception>
    public static void CheckFile(string option, string path, IEnumerable<string>? kept = null, bool makesFolder = false)
    {
        string full = Path.GetFullPath(path);
        if (Directory.Exists(full))
        {
            throw new PrefixTorchException($"{option}: {path} is a folder, and a file is to be written. Name a file in it.");
        }

        if (!FileKind.IsRegularOrMissing(full))
        {
            throw new PrefixTorchException($"{option}: {path} is no regular file but a pipe or a device, which a file would replace. Name another.");
        }

        string place = PlaceOf(full);
        if (kept?.Any(file => place == PlaceOf(file) || place == WithoutLinks(file)) == true)
        {
            throw new PrefixTorchException($"{option}: {path} is a file that the state continues, and the state could not be read without it. Give another name.");
        }

        CheckFolder(option, Path.GetDirectoryName(full)!, makesFolder);
    }

    /// <summary>Checks that a path is a folder, or can become one.</summary>
    /// <param name="option">What names it, for messages.</param>
    /// <param name="path">The folder.</param>
    /// <param name="makes">Whether it will be made where it is not there.</param>
    /// <exception cref="PrefixTorchException">It is not; the message says what to do.</exception>
    public static void CheckFolder(string option, string path, bool makes = true)
    {
        string? place = Path.GetFullPath(path);
        while (makes && place is not null && !Path.Exists(place))
        {
            place = Path.GetDirectoryName(place);
        }

        if (File.Exists(place))
        {
            throw new PrefixTorchException($"{option}: {place} is a file, and a folder is needed. Name a folder.");
        }

        if (!Directory.Exists(place))
        {
            throw new PrefixTorchException($"{option}: there is no folder {path}. Make it, or name another.");
        }
    }

    // Where a file has its name: what replaces a link takes its place, and leaves what it leads to.
    private static string PlaceOf(string file) => Path.Combine(WithoutLinks(Path.GetDirectoryName(file)!), Path.GetFileName(file));

    private static string WithoutLinks(string full)
    {
        if (Path.GetDirectoryName(full) is not string above)
        {
            return full;
        }

        string path = Path.Combine(WithoutLinks(above), Path.GetFileName(full));
        return Path.Exists(path) && File.ResolveLinkTarget(path, returnFinalTarget: true) is { } target ? WithoutLinks(target.FullName) : path;
    }
}
