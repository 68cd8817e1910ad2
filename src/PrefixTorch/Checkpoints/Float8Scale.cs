using PrefixTorch.Memory;

namespace PrefixTorch.Checkpoints;

/// <summary>
/// What an fp8 weight <c>[rows, columns]</c> is multiplied by: one number, one per row, or one per block, as published
/// checkpoints have them beside the weight.
/// </summary>
internal sealed unsafe class Float8Scale
{
    /// <summary>What scales are called, after the weight's name. Both multiply, <c>_scale_inv</c> too.</summary>
    public static readonly string[] Suffixes = ["_scale_inv", "_scale"];

    private readonly float[] _values;
    private readonly long _valuesPerRow;

    private Float8Scale(float[] values, long blockRows, long blockColumns, long valuesPerRow)
    {
        _values = values;
        BlockRows = blockRows;
        BlockColumns = blockColumns;
        _valuesPerRow = valuesPerRow;
    }

    /// <summary>So many rows share a number.</summary>
    public long BlockRows { get; }

    /// <summary>So many columns share a number.</summary>
    public long BlockColumns { get; }

    /// <summary>The number for an element.</summary>
    public float At(long row, long column) => _values[(row / BlockRows * _valuesPerRow) + (column / BlockColumns)];

    /// <summary>Finds the scale of a weight, by its name; null where it has none.</summary>
    /// <param name="checkpoint">The checkpoint that holds both.</param>
    /// <param name="weight">A weight <c>[rows, columns]</c>.</param>
    /// <param name="blockRows">Rows of a block, where config.json's <c>weight_block_size</c> says so.</param>
    /// <param name="blockColumns">Columns of a block.</param>
    /// <exception cref="CheckpointException">The scale's shape or dtype is none that is known.</exception>
    public static Float8Scale? Find(Checkpoint checkpoint, CheckpointTensor weight, int blockRows = 128, int blockColumns = 128)
    {
        foreach (string suffix in Suffixes)
        {
            if (checkpoint.Tensors.TryGetValue(weight.Name + suffix, out CheckpointTensor? scale))
            {
                return Read(scale, weight, blockRows, blockColumns);
            }
        }

        return null;
    }

    private static Float8Scale Read(CheckpointTensor scale, CheckpointTensor weight, int blockRows, int blockColumns)
    {
        (long rows, long columns) = weight.Shape.Length == 2 ? (weight.Shape[0], weight.Shape[1]) : (1, weight.Entry.ElementCount);
        float[] values = ReadValues(scale);
        long rowBlocks = DivideUp(rows, blockRows);
        long columnBlocks = DivideUp(columns, blockColumns);
        return scale.Shape switch
        {
            [] or [1] or [1, 1] => new Float8Scale(values, Math.Max(rows, 1), Math.Max(columns, 1), 1),
            [long n] when n == rows => new Float8Scale(values, 1, Math.Max(columns, 1), 1),
            [long n, 1] when n == rows => new Float8Scale(values, 1, Math.Max(columns, 1), 1),
            [long n, long m] when n == rowBlocks && m == columnBlocks => new Float8Scale(values, blockRows, blockColumns, columnBlocks),
            _ => throw new CheckpointException(
                CheckpointError.WeightMismatch,
                scale.File.Path,
                $"scale '{scale.Name}' has shape {TensorShape.Format(scale.Shape)}; weight {TensorShape.Format(weight.Shape)} takes [], [{rows}, 1] or [{rowBlocks}, {columnBlocks}] (blocks of {blockRows} × {blockColumns}). Convert the checkpoint to bfloat16 with transformers."),
        };
    }

    private static float[] ReadValues(CheckpointTensor scale)
    {
        var values = new float[scale.Entry.ElementCount];
        for (int i = 0; i < values.Length; i++)
        {
            // Unaligned reads: a scalar scale may lie anywhere.
            byte* element = scale.Pointer + ((long)i * scale.DType.Size());
            values[i] = scale.DType switch
            {
                DType.Float32 => System.Runtime.CompilerServices.Unsafe.ReadUnaligned<float>(element),
                DType.BFloat16 => Float8.BFloat16ToSingle(System.Runtime.CompilerServices.Unsafe.ReadUnaligned<ushort>(element)),
                DType.Float16 => (float)System.Runtime.CompilerServices.Unsafe.ReadUnaligned<Half>(element),
                _ => throw new CheckpointException(
                    CheckpointError.UnknownDType,
                    scale.File.Path,
                    $"scale '{scale.Name}' is {scale.DType.FileName()}, not F32, BF16 or F16. Convert the checkpoint to bfloat16 with transformers."),
            };
        }

        return values;
    }

    private static long DivideUp(long value, long by) => (value + by - 1) / by;
}
