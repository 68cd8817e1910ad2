using System.Diagnostics.CodeAnalysis;
using System.IO.Hashing;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using System.Runtime.Loader;
using TorchSharp;

namespace PrefixTorch.Memory;

/// <summary>
/// Loads libtorch before TorchSharp's first use, on systems older than the one TorchSharp was built on too.
/// </summary>
/// <remarks>
/// <c>libLibTorchSharp.so</c> 0.107.0 asks for <c>GLIBCXX_3.4.32</c>, which Debian 12 and Ubuntu 22.04 lack, and uses nothing of it: the one
/// symbol of that version has no relocation. Where the plain load fails for that reason, a copy in which that need is marked weak is
/// made once in the user's cache folder and loaded; TorchSharp then finds the library by its name among those already loaded.
/// One mechanism for the program, the package and the notebook.
/// </remarks>
internal static partial class LibTorch
{
    private const string Library = "libLibTorchSharp.so";
    private const string MissingVersion = "GLIBCXX_3.4.32";

    private static readonly Lazy<string> s_loaded = new(Load);

    /// <summary>The folder of this user where what is made once is kept.</summary>
    public static string CacheFolder
    {
        get
        {
            string root = Environment.GetEnvironmentVariable("XDG_CACHE_HOME") is { Length: > 0 } set
                ? set
                : Path.Combine(Environment.GetFolderPath(Environment.SpecialFolder.UserProfile), ".cache");
            return Path.Combine(root, "prefixtorch");
        }
    }

    /// <summary>Loads the native libraries if this process has not yet. Thread-safe, and cheap after the first call.</summary>
    /// <returns>The file that serves as LibTorchSharp, or an empty string where TorchSharp's own search is left to find it.</returns>
    /// <exception cref="PrefixTorchException">The library can be neither loaded nor mended.</exception>
    public static string EnsureLoaded() => s_loaded.Value;

    /// <summary>
    /// Makes TorchSharp find the library that fits also where it is the first to be used: a program that brings tensors of its own needs no call of ours
    /// before.
    /// </summary>
    [ModuleInitializer]
    [SuppressMessage("Usage", "CA2255", Justification = "Nothing is loaded here; TorchSharp remembers a first search that failed, so this must come before.")]
    internal static void HelpTorchSharp() => AssemblyLoadContext.Default.ResolvingUnmanagedDll += (_, name) =>
        name == "LibTorchSharp" && EnsureLoaded() is { Length: > 0 } path ? NativeLibrary.Load(path) : 0;

    /// <summary>The file of that name that the loader would take, if any.</summary>
    internal static string? Find(string library)
    {
        var folders = new List<string> { AppContext.BaseDirectory, Path.Combine(AppContext.BaseDirectory, "runtimes", "linux-x64", "native") };
        if (AppContext.GetData("NATIVE_DLL_SEARCH_DIRECTORIES") is string searched)
        {
            folders.AddRange(searched.Split(Path.PathSeparator, StringSplitOptions.RemoveEmptyEntries));
        }

        // In a notebook TorchSharp.dll lies in the package folder: torchsharp/<version>/lib/<framework>/.
        string assembly = Path.GetDirectoryName(typeof(torch).Assembly.Location) ?? "";
        folders.Add(assembly);
        folders.Add(Path.Combine(assembly, "..", "..", "runtimes", "linux-x64", "native"));
        string packages = Path.GetFullPath(Path.Combine(assembly, "..", "..", "..", ".."));
        if (Directory.Exists(Path.Combine(packages, "libtorch-cpu-linux-x64")))
        {
            folders.AddRange(Directory.GetDirectories(Path.Combine(packages, "libtorch-cpu-linux-x64")).Select(version => Path.Combine(version, "runtimes", "linux-x64", "native")));
        }

        return folders.Select(folder => Path.Combine(folder, library)).FirstOrDefault(File.Exists);
    }

    /// <summary>A copy of <paramref name="original"/> that does not insist on the missing version; made once per content.</summary>
    internal static string Mend(string original, string cacheFolder)
    {
        byte[] image = File.ReadAllBytes(original);
        string name = Convert.ToHexStringLower(XxHash128.Hash(image));
        string folder = Path.Combine(cacheFolder, "native", name);
        string mended = Path.Combine(folder, Library);
        if (File.Exists(mended) && new FileInfo(mended).Length == image.Length)
        {
            return mended;
        }

        if (ElfVersionNeeds.MarkWeak(image, MissingVersion) == 0)
        {
            throw new PrefixTorchException($"{original} does not ask for {MissingVersion}: nothing to mend.");
        }

        Directory.CreateDirectory(folder);
        string temporary = Path.Combine(folder, Path.GetRandomFileName());
        File.WriteAllBytes(temporary, image);
        File.Move(temporary, mended, overwrite: true);
        return mended;
    }

    private static string Load()
    {
        if (!OperatingSystem.IsLinux())
        {
            return "";
        }

        // libtorch's threads spin after each product, which starves ours on few cores. The variable is read when the OpenMP runtime
        // loads, from the native environment, which .NET's SetEnvironmentVariable does not reach. A user's own choice stays.
        _ = SetNativeEnvironment("OMP_WAIT_POLICY", "PASSIVE", overwrite: 0);

        string? original = Find(Library);
        if (original is null)
        {
            return "";
        }

        // The libraries it needs, first: a mended copy elsewhere would not find them beside itself.
        string[] needed = ["libc10.so", "libtorch_cpu.so", "libtorch.so"];
        foreach (string library in needed)
        {
            if (Find(library) is string path)
            {
                NativeLibrary.TryLoad(path, out _);
            }
        }

        try
        {
            NativeLibrary.Load(original);
            return original;
        }
        catch (DllNotFoundException e) when (e.Message.Contains(MissingVersion, StringComparison.Ordinal))
        {
            string mended = MendIn(original);
            NativeLibrary.Load(mended);
            return mended;
        }
        catch (DllNotFoundException e)
        {
            throw new PrefixTorchException($"{original} could not be loaded: {e.Message}", e);
        }
    }

    private static string MendIn(string original)
    {
        try
        {
            return Mend(original, CacheFolder);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            // No home to write to (a service account, a read-only container): a folder for this process serves as well.
            return Mend(original, Directory.CreateTempSubdirectory("prefixtorch-").FullName);
        }
    }

    [LibraryImport("libc", EntryPoint = "setenv", StringMarshalling = StringMarshalling.Utf8)]
    private static partial int SetNativeEnvironment(string name, string value, int overwrite);
}
