using PrefixTorch.Kernels;
using PrefixTorch.Kernels.Panels;
using PrefixTorch.Kernels.Tiles;
using PrefixTorch.Memory;

namespace PrefixTorch.Model.Operations;

/// <content>Products, by what the weights are held in and what the processor multiplies.</content>
internal sealed unsafe partial class HostOperations
{
    private void ProductByTiles(byte* x, long xPitch, Linear linear, HostRows y)
    {
        var job = new TileJob(x, xPitch, linear, y);
        _pool.Run(job.Blocks, ref job);
    }

    private void ProductOfFloats(HostRows x, Linear linear, HostRows y)
    {
        Workspaces workspaces = x.Rows > _kernels.StreamedRows(linear.Parts[0].DType) ? Workspaces.Take(_arena, _pool.Threads, ProductShape.WorkspaceBytes(x.Rows)) : default;
        var job = new FloatJob(_kernels, x, workspaces, linear, y);
        _pool.Run(job.Blocks, ref job);
    }

    // Rows are encoded once for all parts of a product, which are quantized alike.
    private void ProductOfInt8(HostRows x, Linear linear, HostRows y)
    {
        if (_kernels.HasAmx)
        {
            new AmxProducts(_arena, _pool).Int8(x, linear, y);
            return;
        }

        var coded = new CodedRows(_arena.Take(CodedRows.Bytes(_kernels.Order, x.Rows, x.Columns)), _kernels.Order, x.Rows, x.Columns);
        var encode = new EncodeJob(_kernels, x, coded);
        ForRows(x.Rows, ref encode);
        if (_kernels.HasTiles(TileSource.Int8))
        {
            ProductByTiles(coded.Row(0), coded.Pitch, linear, y);
            return;
        }

        var job = new CodeJob(_kernels, coded, linear, y);
        _pool.Run(job.Blocks, ref job);
    }

    private void ProductOfInt4(HostRows x, Linear linear, HostRows y)
    {
        // Where more than a few tokens are read: codes are widened once for all rows, which stay as they are.
        if (_kernels.HasAmx && !_step!.IsFew && x.Rows == _step.Rows && x.DType == DType.BFloat16)
        {
            new AmxProducts(_arena, _pool).Int4(x, linear, y);
            return;
        }

        var rows = new GroupRows(_arena.Take(GroupRows.Bytes(x.Rows, x.Columns)), x.Rows, x.Columns);
        var encode = new EncodeGroupsJob(_kernels, x, rows);
        _pool.Run(encode.Blocks, ref encode);
        var job = new PanelJob(_kernels, rows, linear, y);
        _pool.Run(job.Blocks, ref job);
    }
}
