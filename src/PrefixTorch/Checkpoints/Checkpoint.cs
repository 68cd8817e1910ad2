namespace PrefixTorch.Checkpoints;

/// <summary>
/// The weights of a folder as Hugging Face publishes them: <c>model.safetensors</c>, or shards that
/// <c>model.safetensors.index.json</c> lists, mapped and checked. Nothing is copied.
/// </summary>
/// <remarks>Safe to read from any thread. Whoever keeps a tensor's pointer beyond <see cref="Dispose"/> retains its block first.</remarks>
internal sealed class Checkpoint : IDisposable
{
    /// <summary>The file that holds everything, where there is one.</summary>
    public const string SingleFileName = "model.safetensors";

    /// <summary>The file that says which shard holds which tensor.</summary>
    public const string IndexFileName = "model.safetensors.index.json";

    private static readonly string[] s_otherFormats = [".bin", ".pth", ".pt", ".gguf"];

    private Checkpoint(string path, IReadOnlyList<SafetensorsFile> files)
    {
        Path = path;
        Files = files;
        var tensors = new SortedDictionary<string, CheckpointTensor>(StringComparer.Ordinal);
        foreach (SafetensorsFile file in files)
        {
            foreach (TensorEntry entry in file.Tensors.Values)
            {
                if (!tensors.TryAdd(entry.Name, new CheckpointTensor(file, entry)))
                {
                    throw new CheckpointException(
                        CheckpointError.DuplicateTensor,
                        path,
                        $"tensor '{entry.Name}' is both in {NameOf(tensors[entry.Name].File)} and in {NameOf(file)}. Download the checkpoint again, or remove the shard that does not belong.");
                }
            }
        }

        Tensors = tensors;
        TotalBytes = tensors.Values.Sum(tensor => tensor.ByteCount);
    }

    /// <summary>The folder, or the single file, that it was opened by.</summary>
    public string Path { get; }

    /// <summary>The files, in the order of their names; owned by this object.</summary>
    public IReadOnlyList<SafetensorsFile> Files { get; }

    /// <summary>The tensors by name, sorted ordinally.</summary>
    public IReadOnlyDictionary<string, CheckpointTensor> Tensors { get; }

    /// <summary>The bytes of all tensors together.</summary>
    public long TotalBytes { get; }

    /// <summary>A tensor by name.</summary>
    /// <exception cref="CheckpointException">There is none of that name.</exception>
    public CheckpointTensor this[string name] => Tensors.TryGetValue(name, out CheckpointTensor? tensor)
        ? tensor
        : throw new CheckpointException(CheckpointError.NotFound, Path, $"there is no tensor '{name}' among its {Tensors.Count}. Is it the right checkpoint?");

    /// <summary>Maps a checkpoint. The caller disposes it.</summary>
    /// <param name="path">A folder in the published layout, or one safetensors file.</param>
    /// <exception cref="CheckpointException">It is not there, not safetensors, not whole, or breaks a rule of the format.</exception>
    public static Checkpoint Open(string path)
    {
        if (File.Exists(path))
        {
            return OpenFiles(path, [path]);
        }

        if (!Directory.Exists(path))
        {
            throw new CheckpointException(CheckpointError.NotFound, path, "there is no such folder. Give the folder that holds config.json and the weights.");
        }

        string single = System.IO.Path.Combine(path, SingleFileName);
        if (File.Exists(single))
        {
            return OpenFiles(path, [single]);
        }

        string index = System.IO.Path.Combine(path, IndexFileName);
        return File.Exists(index) ? OpenShards(path, index) : OpenFiles(path, [OnlyFile(path)]);
    }

    /// <summary>Lets all maps go, except those that somebody retained. Doing so twice is harmless.</summary>
    public void Dispose()
    {
        foreach (SafetensorsFile file in Files)
        {
            file.Dispose();
        }
    }

    private static Checkpoint OpenShards(string folder, string indexPath)
    {
        OrderedDictionary<string, string> weightMap = CheckpointIndex.ReadWeightMap(indexPath);
        string[] names = [.. weightMap.Values.Distinct(StringComparer.Ordinal).Order(StringComparer.Ordinal)];
        Checkpoint checkpoint = OpenFiles(folder, [.. names.Select(name => ShardPath(folder, indexPath, name))]);
        try
        {
            CheckAgainstIndex(checkpoint, indexPath, weightMap);
            return checkpoint;
        }
        catch
        {
            checkpoint.Dispose();
            throw;
        }
    }

    private static string ShardPath(string folder, string indexPath, string name)
    {
        // A link inside the folder may point anywhere (Hugging Face's cache is made of links); a name may not.
        string root = System.IO.Path.GetFullPath(folder).TrimEnd(System.IO.Path.DirectorySeparatorChar) + System.IO.Path.DirectorySeparatorChar;
        string full = name.Contains('\0') ? "" : System.IO.Path.GetFullPath(name, root);
        if (name.Length == 0 || name.Contains('\\') || System.IO.Path.IsPathRooted(name) || !full.StartsWith(root, StringComparison.Ordinal))
        {
            throw new CheckpointException(CheckpointError.ShardOutsideFolder, indexPath, $"the shard '{name}' is not in the checkpoint's folder. Shards must lie beside the index: do not trust this checkpoint.");
        }

        return File.Exists(full)
            ? full
            : throw new CheckpointException(CheckpointError.MissingShard, indexPath, $"the shard '{name}' is not there. Download it beside the index.");
    }

    private static void CheckAgainstIndex(Checkpoint checkpoint, string indexPath, OrderedDictionary<string, string> weightMap)
    {
        string root = System.IO.Path.GetFullPath(checkpoint.Path);
        foreach ((string name, string shard) in weightMap)
        {
            string expected = System.IO.Path.GetFullPath(shard, root);
            if (!checkpoint.Tensors.TryGetValue(name, out CheckpointTensor? tensor))
            {
                throw new CheckpointException(CheckpointError.TensorNotInShard, indexPath, $"tensor '{name}' should be in {shard}, which does not hold it. Download the shard and the index of one revision.");
            }

            if (tensor.File.Path != expected)
            {
                throw new CheckpointException(CheckpointError.TensorNotInShard, indexPath, $"tensor '{name}' should be in {shard}, but is in {NameOf(tensor.File)}. Download the shards and the index of one revision.");
            }
        }

        foreach (CheckpointTensor tensor in checkpoint.Tensors.Values)
        {
            if (!weightMap.ContainsKey(tensor.Name))
            {
                throw new CheckpointException(CheckpointError.TensorNotInIndex, indexPath, $"tensor '{tensor.Name}' is in {NameOf(tensor.File)}, but the index does not name it. Download the shards and the index of one revision.");
            }
        }
    }

    private static string OnlyFile(string folder)
    {
        string[] files = [.. Directory.GetFiles(folder).Order(StringComparer.Ordinal)];
        string[] candidates = [.. files.Where(file => file.EndsWith(".safetensors", StringComparison.OrdinalIgnoreCase))];
        if (candidates.Length == 1)
        {
            return candidates[0];
        }

        if (candidates.Length > 1)
        {
            throw new CheckpointException(
                CheckpointError.AmbiguousFiles,
                folder,
                $"there are {candidates.Length} safetensors files ({string.Join(", ", candidates.Take(4).Select(System.IO.Path.GetFileName))}) and no {IndexFileName} that says which belong together. Download the index, or give the path of one file.");
        }

        string? other = files.FirstOrDefault(file => s_otherFormats.Contains(System.IO.Path.GetExtension(file), StringComparer.OrdinalIgnoreCase));
        throw other is not null
            ? new CheckpointException(
                CheckpointError.NotSafetensors,
                folder,
                $"the weights are {System.IO.Path.GetFileName(other)}, which is not safetensors. Convert them: transformers' AutoModelForCausalLM.from_pretrained(...).save_pretrained(folder, safe_serialization=True).")
            : new CheckpointException(CheckpointError.NotFound, folder, $"there is neither {SingleFileName} nor {IndexFileName}. Give the folder that holds config.json and the weights.");
    }

    private static Checkpoint OpenFiles(string path, IReadOnlyList<string> paths)
    {
        var files = new List<SafetensorsFile>(paths.Count);
        try
        {
            foreach (string file in paths)
            {
                files.Add(SafetensorsFile.Open(file));
            }

            return new Checkpoint(path, files);
        }
        catch
        {
            files.ForEach(file => file.Dispose());
            throw;
        }
    }

    private static string NameOf(SafetensorsFile file) => System.IO.Path.GetFileName(file.Path);
}
