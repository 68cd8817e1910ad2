namespace PrefixTorch.Checkpoints;

/// <summary>What is wrong with a safetensors file or a checkpoint folder. The message of the exception says the rest.</summary>
public enum CheckpointError
{
    /// <summary>The file or folder is not there, or cannot be opened.</summary>
    NotFound,

    /// <summary>The file could not be written (disk full, no permission, …). What was there before is untouched.</summary>
    NotWritten,

    /// <summary>The file is too short to hold a header.</summary>
    FileTooShort,

    /// <summary>The header's length is zero or reaches beyond the file.</summary>
    InvalidHeaderLength,

    /// <summary>The header is longer than 100 MB.</summary>
    HeaderTooLarge,

    /// <summary>The header is not UTF-8.</summary>
    HeaderNotUtf8,

    /// <summary>The header does not start with <c>{</c>.</summary>
    InvalidHeaderStart,

    /// <summary>The header, or an index, is not JSON.</summary>
    InvalidJson,

    /// <summary>The header, or an index, is JSON of another form than the format asks for.</summary>
    InvalidHeader,

    /// <summary><c>__metadata__</c> is not an object of strings.</summary>
    InvalidMetadata,

    /// <summary>A name occurs twice in one header or index.</summary>
    DuplicateName,

    /// <summary>A tensor's dtype is not one that this library knows.</summary>
    UnknownDType,

    /// <summary>A tensor's dimension is negative, or the shape's product does not fit in 64 bits.</summary>
    InvalidShape,

    /// <summary>A tensor's data offsets are reversed or negative.</summary>
    InvalidOffsets,

    /// <summary>A tensor's data offsets reach beyond the end of the file.</summary>
    TruncatedFile,

    /// <summary>Two tensors share bytes.</summary>
    OverlappingTensors,

    /// <summary>There are bytes between two tensors that belong to none.</summary>
    HoleBetweenTensors,

    /// <summary>There are bytes after the last tensor that belong to none.</summary>
    TrailingBytes,

    /// <summary>A tensor's dtype and shape ask for another number of bytes than it has.</summary>
    SizeMismatch,

    /// <summary>A tensor's bytes are not those that were written.</summary>
    ChecksumMismatch,

    /// <summary>The folder holds weights in another format than safetensors.</summary>
    NotSafetensors,

    /// <summary>The folder holds several safetensors files and no index that says which belong together.</summary>
    AmbiguousFiles,

    /// <summary>A shard that the index names is not there.</summary>
    MissingShard,

    /// <summary>The index names a shard outside of the checkpoint's folder.</summary>
    ShardOutsideFolder,

    /// <summary>The index places a tensor in a shard that does not hold it.</summary>
    TensorNotInShard,

    /// <summary>A shard holds a tensor that the index does not name.</summary>
    TensorNotInIndex,

    /// <summary>Two shards hold a tensor of one name.</summary>
    DuplicateTensor,

    /// <summary>The checkpoint's tensors are not those that the model asks for.</summary>
    WeightMismatch,
}
