using PrefixTorch.Caching;
using PrefixTorch.Kernels;
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

    private readonly struct SwiGluJob(KernelSet kernels, HostRows gateUp, HostRows y) : IBlockJob
    {
        public void Run(int row)
        {
            var gate = (float*)gateUp.Row(row);
            kernels.SwiGlu(gate, gate + y.Columns, y.Columns, y.DType, y.Row(row));
        }
    }

    /// <summary>Blocks of outputs, over all parts of a product.</summary>
    private readonly struct LinearJob : IBlockJob
    {
        private const int BytesPerBlock = 1 << 17;

        private readonly KernelSet _kernels;
        private readonly HostRows _x;
        private readonly Linear _linear;
        private readonly HostRows _y;
        private readonly CodedRows _coded;
        private readonly Workspaces _workspaces;
        private readonly int _outputsPerBlock;

        public LinearJob(KernelSet kernels, HostRows x, CodedRows coded, Workspaces workspaces, Linear linear, HostRows y)
        {
            _kernels = kernels;
            _x = x;
            _coded = coded;
            _workspaces = workspaces;
            _linear = linear;
            _y = y;

            // So many outputs are computed together; a block is what a thread streams in some ten microseconds.
            int together = workspaces.Exist ? ProductShape.Of(x.Rows).Group : 4;
            _outputsPerBlock = workspaces.Exist && x.Rows > ProductShape.FewRows ? together : (int)Math.Max(together, BytesPerBlock / linear.Parts[0].RowBytes / together * together);
        }

        public int Blocks => _linear.BlocksOf(_outputsPerBlock);

        public void Run(int block)
        {
            (WeightMatrix part, int first, int start, int end) = _linear.Block(block, _outputsPerBlock);
            float* bias = _linear.Bias is Vector b ? b.Data + first : null;
            if (_workspaces.Exist)
            {
                byte* workspace = _workspaces.Enter(out int index);
                part.Multiply(_kernels, bias, start, end, _x.Floats, _x.Columns, _x.Rows, _y.Floats + first, _y.Columns, workspace);
                _workspaces.Leave(index);
            }
            else if (part.Format == WeightFormat.Float)
            {
                part.Multiply(_kernels, bias, start, end, _x.Floats, _x.Columns, _x.Rows, _y.Floats + first, _y.Columns);
            }
            else
            {
                part.Multiply(_kernels, bias, start, end, _coded, _y.Floats + first, _y.Columns);
            }
        }
    }

    /// <summary>Blocks of outputs by tiles, over all parts of a product.</summary>
    private readonly struct TileJob : IBlockJob
    {
        // Of few rows a block is what a thread streams in a few microseconds; of many, what stays in the second cache level.
        private const int BytesPerBlock = 1 << 16;
        private const int ManyOutputs = 64;

        private readonly HostRows _x;
        private readonly Linear _linear;
        private readonly HostRows _y;
        private readonly int _outputsPerBlock;

        public TileJob(HostRows x, Linear linear, HostRows y)
        {
            _x = x;
            _linear = linear;
            _y = y;
            long few = BytesPerBlock / linear.Parts[0].RowBytes / TileEmitter.Outputs * TileEmitter.Outputs;
            _outputsPerBlock = x.Rows >= TileProduct.ManyRows ? ManyOutputs : (int)Math.Max(TileEmitter.Outputs, few);
        }

        public int Blocks => _linear.BlocksOf(_outputsPerBlock);

        public void Run(int block)
        {
            (WeightMatrix part, int first, int start, int end) = _linear.Block(block, _outputsPerBlock);
            float* bias = _linear.Bias is Vector b ? b.Data + first : null;
            TileProduct.Run(part.Tiles, bias, start, end, (ushort*)_x.Data, (long)_x.Columns * sizeof(ushort), _x.Rows, _y.Floats + first, _y.Columns);
        }
    }

    private readonly struct LayJob(TileSource source, HostRows x, HostRows to) : IBlockJob
    {
        public void Run(int row) => TileRows.Encode(source, (ushort*)x.Row(row), x.Columns, (ushort*)to.Row(row));
    }

    private readonly struct EncodeJob(KernelSet kernels, HostRows x, bool int4, CodedRows to) : IBlockJob
    {
        public void Run(int row) => kernels.EncodeActivations((float*)x.Row(row), x.Columns, int4, to, row);
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
