namespace PrefixTorch.Checkpoints;

/// <summary>Arithmetic on shapes as files give them, where every number may be hostile.</summary>
internal static class TensorShape
{
    /// <summary>The bytes that a tensor takes, or null where a dimension is negative or the product does not fit in 64 bits.</summary>
    public static long? ByteCount(ReadOnlySpan<long> shape, int elementSize)
    {
        // Zeros first: [2^62, 8, 0] holds nothing, whatever the product of the others.
        long bytes = elementSize;
        foreach (long dimension in shape)
        {
            if (dimension < 0)
            {
                return null;
            }

            if (dimension == 0)
            {
                bytes = 0;
            }
        }

        foreach (long dimension in shape)
        {
            try
            {
                bytes = checked(bytes * dimension);
            }
            catch (OverflowException)
            {
                return null;
            }
        }

        return bytes;
    }

    /// <summary>The elements of a tensor whose shape was checked.</summary>
    public static long Count(IEnumerable<long> shape) => shape.Aggregate(1L, (product, dimension) => product * dimension);

    /// <summary>A shape as people write it: <c>[32, 128]</c>.</summary>
    public static string Format(ReadOnlySpan<long> shape) => $"[{string.Join(", ", shape.ToArray())}]";
}
