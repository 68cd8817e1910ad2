using PrefixTorch.Kernels;
using PrefixTorch.Kernels.Amx;
using PrefixTorch.Memory;

namespace PrefixTorch.Model.Operations;

/// <summary>Products where the processor multiplies whole tiles: the rows are laid as tiles read them, once for all parts of a product, and outputs shared out.</summary>
/// <param name="arena">Memory meanwhile; not owned, and what is taken stays for the caller to give back.</param>
/// <param name="pool">The threads; not owned.</param>
internal readonly unsafe struct AmxProducts(Arena arena, KernelPool pool)
{
    /// <summary>bf16 by bf16.</summary>
    public void BFloat16(HostRows x, Linear linear, HostRows y)
    {
        var rows = new AmxRows(arena.Take(AmxRows.Bytes(x.Rows, x.Columns)), x.Rows, x.Columns);
        var pack = new PackJob(x, rows);
        Run(rows.Pieces, ref pack);
        var job = new AmxJob(rows, Workspaces.Take(arena, pool.Threads, AmxProduct.WorkspaceBytes(rows.Tiles)), linear, y);
        pool.Run(job.Blocks, ref job);
    }

    /// <summary>int8, by rows of floats that are rounded to bytes.</summary>
    public void Int8(HostRows x, Linear linear, HostRows y)
    {
        var rows = new AmxByteRows(arena.Take(AmxByteRows.Bytes(x.Rows, x.Columns)), x.Rows, x.Columns);
        var pack = new PackBytesJob(x, rows);
        Run(rows.Pieces, ref pack);
        var job = new AmxByteJob(rows, linear, y);
        pool.Run(job.Blocks, ref job);
    }

    /// <summary>int4, widened to bf16, by many rows of bf16.</summary>
    public void Int4(HostRows x, Linear linear, HostRows y)
    {
        var rows = new PaddedRows(arena.Take(PaddedRows.Bytes(x.Rows, x.Columns)), x.Rows, x.Columns);
        var pad = new PadJob(x, rows);
        Run(x.Rows, ref pad);
        var job = new AmxPanelJob(rows, Workspaces.Take(arena, pool.Threads, AmxPanelProduct.WorkspaceBytes(rows.Tiles)), linear, y);
        pool.Run(job.Blocks, ref job);
    }

    // A single piece is too little work to share.
    private void Run<TJob>(int pieces, ref TJob job)
        where TJob : struct, IBlockJob
    {
        if (pieces > 1)
        {
            pool.Run(pieces, ref job);
        }
        else
        {
            job.Run(0);
        }
    }

    /// <summary>Rows of bf16 as AMX reads them, a piece at a time.</summary>
    private readonly struct PackJob(HostRows x, AmxRows to) : IBlockJob
    {
        public void Run(int piece) => to.Fill(piece, x.Data, (long)x.Columns * sizeof(ushort));
    }

    /// <summary>Blocks of outputs by AMX, over all parts of a product.</summary>
    private readonly struct AmxJob(AmxRows x, Workspaces workspaces, Linear linear, HostRows y) : IBlockJob
    {
        public int Blocks => linear.BlocksOf(AmxProduct.OutputsAtOnce);

        public void Run(int block)
        {
            (WeightMatrix part, int first, int start, int end) = linear.Block(block, AmxProduct.OutputsAtOnce);
            float* bias = linear.BiasFrom(first);
            byte* workspace = workspaces.Enter(out int index);
            AmxProduct.Run(part.Tiles, part.Rows, bias, start, end, x, y.Floats + first, y.Columns, workspace);
            workspaces.Leave(index);
        }
    }

    /// <summary>A row of bf16.</summary>
    private readonly struct PadJob(HostRows x, PaddedRows to) : IBlockJob
    {
        public void Run(int row) => to.Fill(row, x.Row(row));
    }

    /// <summary>Blocks of outputs of int4 by AMX, over all parts of a product.</summary>
    private readonly struct AmxPanelJob(PaddedRows x, Workspaces workspaces, Linear linear, HostRows y) : IBlockJob
    {
        public int Blocks => linear.BlocksOf(AmxPanelProduct.OutputsAtOnce);

        public void Run(int block)
        {
            (WeightMatrix part, int first, int start, int end) = linear.Block(block, AmxPanelProduct.OutputsAtOnce);
            float* bias = linear.BiasFrom(first);
            byte* workspace = workspaces.Enter(out int index);
            AmxPanelProduct.Run(part.Tiles, bias, start, end, x, y.Floats + first, y.Columns, workspace);
            workspaces.Leave(index);
        }
    }

    /// <summary>Rows rounded to bytes as AMX reads them, a piece at a time.</summary>
    private readonly struct PackBytesJob(HostRows x, AmxByteRows to) : IBlockJob
    {
        public void Run(int piece)
        {
            if (x.DType == DType.BFloat16)
            {
                to.Fill<BFloat16Element>(piece, x.Data, (long)x.Columns * sizeof(ushort));
            }
            else
            {
                to.Fill<Float32Element>(piece, x.Data, (long)x.Columns * sizeof(float));
            }
        }
    }

    /// <summary>Blocks of outputs of int8 by AMX, over all parts of a product.</summary>
    private readonly struct AmxByteJob(AmxByteRows x, Linear linear, HostRows y) : IBlockJob
    {
        private readonly int _outputsPerBlock = AmxByteProduct.OutputsPerBlock(x.Tiles, linear.Parts[0].RowBytes);

        public int Blocks => linear.BlocksOf(_outputsPerBlock);

        public void Run(int block)
        {
            (WeightMatrix part, int first, int start, int end) = linear.Block(block, _outputsPerBlock);
            float* bias = linear.BiasFrom(first);
            AmxByteProduct.Run(part.Tiles, part.Rows, bias, start, end, x, y.Floats + first, y.Columns);
        }
    }
}
