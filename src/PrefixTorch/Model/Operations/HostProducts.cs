using PrefixTorch.Kernels;
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
        Workspaces workspaces = x.Rows > _kernels.StreamedRows ? Workspaces.Take(_arena, _pool.Threads, ProductShape.Of(x.Rows).WorkspaceBytes) : default;
        var job = new FloatJob(_kernels, x, workspaces, linear, y);
        _pool.Run(job.Blocks, ref job);
    }

    // Rows are encoded once for all parts of a product, which are quantized alike.
    private void ProductOfCodes(HostRows x, WeightFormat format, Linear linear, HostRows y)
    {
        var amx = new AmxProducts(_arena, _pool);
        if (_kernels.HasAmx && format == WeightFormat.Int8)
        {
            amx.Int8(x, linear, y);
            return;
        }

        // Where more than a few tokens are read: codes are widened once for all rows, which stay as they are.
        if (_kernels.HasAmx && !_step!.IsFew && x.Rows == _step.Rows && x.DType == DType.BFloat16)
        {
            amx.BFloat16(x, linear, y);
            return;
        }

        CodedOrder order = _kernels.OrderFor(format == WeightFormat.Int4);
        var coded = new CodedRows(_arena.Take(CodedRows.Bytes(order, x.Rows, x.Columns)), order, x.Rows, x.Columns);
        var encode = new EncodeJob(_kernels, x, coded);
        ForRows(x.Rows, ref encode);
        if (_kernels.HasTiles(linear.Parts[0].TileSource))
        {
            ProductByTiles(coded.Row(0), coded.Pitch, linear, y);
            return;
        }

        var job = new CodeJob(_kernels, coded, linear, y);
        _pool.Run(job.Blocks, ref job);
    }
}
