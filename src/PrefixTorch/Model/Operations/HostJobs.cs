using PrefixTorch.Caching;
using PrefixTorch.Kernels;
using PrefixTorch.Kernels.Panels;
using PrefixTorch.Kernels.Tiles;
using PrefixTorch.Memory;

namespace PrefixTorch.Model.Operations;

/// <content>What the threads do, a block at a time.</content>
internal sealed unsafe partial class HostOperations
{
    private readonly struct NormJob(KernelSet kernels, HostRows x, Vector weight, float epsilon, HostRows y) : IBlockJob
    {
        public void Run(int row) => kernels.RmsNorm((float*)x.Row(row), weight.Data, x.Columns, epsilon, y.DType, y.Row(row));
    }

    private readonly struct AddJob(KernelSet kernels, HostRows x, HostRows y) : IBlockJob
    {
        public void Run(int row) => kernels.Add((float*)x.Row(row), y.DType, y.Row(row), x.Columns);
    }

    /// <summary>A stretch of one row: a token's is long enough to be shared out.</summary>
    private readonly struct SwiGluJob(KernelSet kernels, HostRows gateUp, HostRows y) : IBlockJob
    {
        private const int Stretch = 1024;

        public int Blocks => y.Rows * Stretches;

        private int Stretches => (y.Columns + Stretch - 1) / Stretch;

        public void Run(int block)
        {
            int row = block / Stretches, first = block % Stretches * Stretch;
            float* gate = (float*)gateUp.Row(row) + first;
            kernels.SwiGlu(gate, gate + y.Columns, Math.Min(Stretch, y.Columns - first), y.DType, y.Row(row) + ((long)first * y.DType.Size()));
        }
    }

    /// <summary>A stretch of all rows, one behind the other, as fp32.</summary>
    private readonly struct ReadJob(KernelSet kernels, HostRows x, float* to) : IBlockJob
    {
        private const int Stretch = 4096;

        private readonly long _count = (long)x.Rows * x.Columns;

        public int Blocks => (int)((_count + Stretch - 1) / Stretch);

        public void Run(int block)
        {
            long first = (long)block * Stretch;
            kernels.Convert(x.DType, x.Data + (first * x.DType.Size()), DType.Float32, (byte*)(to + first), Math.Min(Stretch, _count - first));
        }
    }

    /// <summary>Blocks of outputs, over all parts of a product of floats.</summary>
    private readonly struct FloatJob(KernelSet kernels, HostRows x, Workspaces workspaces, Linear linear, HostRows y) : IBlockJob
    {
        // What a thread streams in some ten microseconds.
        private const int BytesPerBlock = 1 << 17;

        private readonly int _outputsPerBlock = workspaces.Exist ? ProductShape.Group : (int)Math.Max(1, BytesPerBlock / linear.Parts[0].RowBytes / LinearShape.Group) * LinearShape.Group;

        public int Blocks => linear.BlocksOf(_outputsPerBlock);

        public void Run(int block)
        {
            (WeightMatrix part, int first, int start, int end) = linear.Block(block, _outputsPerBlock);
            float* bias = linear.BiasFrom(first);
            if (workspaces.Exist)
            {
                byte* workspace = workspaces.Enter(out int index);
                part.Multiply(kernels, bias, start, end, x.Floats, x.Columns, x.Rows, y.Floats + first, y.Columns, workspace);
                workspaces.Leave(index);
            }
            else
            {
                part.Multiply(kernels, bias, start, end, x.Floats, x.Columns, x.Rows, y.Floats + first, y.Columns);
            }
        }
    }

    /// <summary>Blocks of outputs of int4, over all parts of a product.</summary>
    private readonly struct PanelJob(KernelSet kernels, GroupRows x, Linear linear, HostRows y) : IBlockJob
    {
        private readonly int _outputsPerBlock = PanelShape.OutputsPerBlock(x.Rows, x.Columns);

        public int Blocks => linear.BlocksOf(_outputsPerBlock);

        public void Run(int block)
        {
            (WeightMatrix part, int first, int start, int end) = linear.Block(block, _outputsPerBlock);
            part.Multiply(kernels, linear.BiasFrom(first), start, end, x, y.Floats + first, y.Columns);
        }
    }

    /// <summary>Blocks of outputs of int8, over all parts of a product.</summary>
    private readonly struct CodeJob(KernelSet kernels, CodedRows x, Linear linear, HostRows y) : IBlockJob
    {
        private const int BytesPerBlock = 1 << 16;

        // Many rows want whole groups.
        private readonly int _outputsPerBlock = (int)Math.Max(x.Rows < Int8Shape.FewestTogether ? 4 : Int8Shape.Group, BytesPerBlock / linear.Parts[0].RowBytes / 4 * 4);

        public int Blocks => linear.BlocksOf(_outputsPerBlock);

        public void Run(int block)
        {
            (WeightMatrix part, int first, int start, int end) = linear.Block(block, _outputsPerBlock);
            part.Multiply(kernels, linear.BiasFrom(first), start, end, x, y.Floats + first, y.Columns);
        }
    }

    /// <summary>Blocks of outputs by tiles, over all parts of a product.</summary>
    private readonly struct TileJob(byte* x, long xPitch, Linear linear, HostRows y) : IBlockJob
    {
        private readonly int _outputsPerBlock = TileProduct.OutputsPerBlock(linear.Parts[0].TileSource, y.Rows, linear.Parts[0].RowBytes);

        public int Blocks => linear.BlocksOf(_outputsPerBlock);

        public void Run(int block)
        {
            (WeightMatrix part, int first, int start, int end) = linear.Block(block, _outputsPerBlock);
            float* bias = linear.BiasFrom(first);
            TileProduct.Run(part.Tiles, bias, start, end, x, xPitch, y.Rows, y.Floats + first, y.Columns);
        }
    }

    private readonly struct EncodeJob(KernelSet kernels, HostRows x, CodedRows to) : IBlockJob
    {
        public void Run(int row) => kernels.EncodeActivations(x.DType, x.Row(row), to, row);
    }

    /// <summary>A chunk of every row of a tile.</summary>
    private readonly struct EncodeGroupsJob(KernelSet kernels, HostRows x, GroupRows to) : IBlockJob
    {
        public int Blocks => to.Tiles * to.Chunks;

        public void Run(int block)
        {
            int first = block / to.Chunks * GroupRows.MostWidth, end = Math.Min(x.Rows, first + GroupRows.MostWidth);
            for (int row = first; row < end; row++)
            {
                kernels.EncodeActivations(x.DType, x.Row(row), to, row, block % to.Chunks);
            }
        }
    }

    /// <summary>One row: its query turned, its key turned and its value as it is, into their slot.</summary>
    private readonly struct RopeJob(HostOperations ops, HostRows queryKeyValue, int layer) : IBlockJob
    {
        public void Run(int row)
        {
            int heads = ops.Heads, kvHeads = ops.KvHeads, headDim = ops.HeadDim;
            DType dtype = queryKeyValue.DType;
            long headBytes = (long)headDim * dtype.Size();
            float* cos = ops._cos + (long)row * ops._rotary.Half, sin = ops._sin + (long)row * ops._rotary.Half;
            byte* from = queryKeyValue.Row(row);

            // Scaled here once, and not at every key.
            for (int head = 0; head < heads; head++)
            {
                ops._kernels.Rotate(dtype, from + head * headBytes, cos, sin, headDim, ops.QueryScale, dtype, from + head * headBytes);
            }

            (KvBuffer buffer, int slot) = ops._slots[row];
            DType stored = buffer.Layout.DType;
            byte* key = from + heads * headBytes, value = key + kvHeads * headBytes;
            float* wide = stackalloc float[stored == DType.Int8 ? headDim : 0];
            for (int head = 0; head < kvHeads; head++)
            {
                if (stored == DType.Int8)
                {
                    ops._kernels.Rotate(dtype, key + head * headBytes, cos, sin, headDim, 1, DType.Float32, (byte*)wide);
                    *buffer.KeyScales(layer, head, slot) = ops._kernels.QuantizeInt8(wide, headDim, (sbyte*)buffer.Keys(layer, head, slot));
                    ops._kernels.Convert(dtype, value + head * headBytes, DType.Float32, (byte*)wide, headDim);
                    *buffer.ValueScales(layer, head, slot) = ops._kernels.QuantizeInt8(wide, headDim, (sbyte*)buffer.Values(layer, head, slot));
                    continue;
                }

                ops._kernels.Rotate(dtype, key + head * headBytes, cos, sin, headDim, 1, stored, buffer.Keys(layer, head, slot));
                ops._kernels.Convert(dtype, value + head * headBytes, stored, buffer.Values(layer, head, slot), headDim);
            }
        }
    }
}
