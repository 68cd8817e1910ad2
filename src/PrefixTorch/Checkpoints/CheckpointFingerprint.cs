using System.Buffers.Binary;
using System.IO.Hashing;
using System.Text;
using PrefixTorch.Memory;

namespace PrefixTorch.Checkpoints;

/// <summary>
/// Tells one set of weights from another without reading all of it: per tensor its name, dtype, shape and a few sampled pages.
/// The same for one file and for shards of it, in any order; another for a fine-tune, whose header is the original's.
/// </summary>
internal static unsafe class CheckpointFingerprint
{
    private const int PageByteCount = 4096;
    private const int PagesPerTensor = 8;

    /// <summary>XXH128 over the checkpoint's tensors, sorted by name, as 32 lower-case hex digits.</summary>
    /// <remarks>
    /// Eight pages of 4 KiB per tensor, from its first byte to its last at even distances; all of it where it is no larger. An
    /// 8B model has 291 tensors: some 9 MB are read, wherever they lie in the maps.
    /// </remarks>
    public static string Compute(Checkpoint checkpoint)
    {
        // All pages are asked for before the first is waited for.
        foreach (CheckpointTensor tensor in checkpoint.Tensors.Values)
        {
            foreach ((long offset, int byteCount) in Samples(tensor.ByteCount))
            {
                MemoryPages.Prefetch(tensor.Pointer + offset, byteCount);
            }
        }

        var hash = new XxHash128();
        foreach (CheckpointTensor tensor in checkpoint.Tensors.Values)
        {
            AppendDescription(hash, tensor);
            foreach ((long offset, int byteCount) in Samples(tensor.ByteCount))
            {
                hash.Append(new ReadOnlySpan<byte>(tensor.Pointer + offset, byteCount));
            }
        }

        return Convert.ToHexStringLower(hash.GetCurrentHash());
    }

    private static IEnumerable<(long Offset, int ByteCount)> Samples(long byteCount)
    {
        if (byteCount <= PagesPerTensor * PageByteCount)
        {
            yield return (0, (int)byteCount);
            yield break;
        }

        for (int page = 0; page < PagesPerTensor; page++)
        {
            // Int128: a tensor's size times seven may not fit.
            yield return ((long)((Int128)(byteCount - PageByteCount) * page / (PagesPerTensor - 1)), PageByteCount);
        }
    }

    // Every text is preceded by its length and every list by its count, so that no two descriptions read alike.
    private static void AppendDescription(XxHash128 hash, CheckpointTensor tensor)
    {
        AppendText(hash, tensor.Name);
        AppendText(hash, tensor.DType.FileName());
        AppendInteger(hash, tensor.Shape.Length);
        foreach (long dimension in tensor.Shape)
        {
            AppendInteger(hash, dimension);
        }
    }

    private static void AppendText(XxHash128 hash, string text)
    {
        byte[] bytes = Encoding.UTF8.GetBytes(text);
        AppendInteger(hash, bytes.Length);
        hash.Append(bytes);
    }

    private static void AppendInteger(XxHash128 hash, long value)
    {
        Span<byte> bytes = stackalloc byte[sizeof(long)];
        BinaryPrimitives.WriteInt64LittleEndian(bytes, value);
        hash.Append(bytes);
    }
}
