using PrefixTorch.Kernels;
using PrefixTorch.Kernels.Amx;

namespace PrefixTorch.Model.Operations;

/// <content>Products, by what the weights are held in and what the processor multiplies.</content>
internal sealed unsafe partial class HostOperations
{
    private void ProductByAmx(HostRows x, Linear linear, HostRows y)
    {
        var packed = new AmxRows(_arena.Take(AmxRows.Bytes(x.Rows, x.Columns)), x.Rows, x.Columns);
        var pack = new PackJob(x, packed);
        ForRows(packed.Pieces, ref pack);
        var job = new AmxJob(packed, Workspaces.Take(_arena, _pool.Threads, AmxProduct.WorkspaceBytes(packed.Tiles)), linear, y);
        _pool.Run(job.Blocks, ref job);
    }

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
        if (_kernels.HasAmx && format == WeightFormat.Int8)
        {
            var bytes = new AmxByteRows(_arena.Take(AmxByteRows.Bytes(x.Rows, x.Columns)), x.Rows, x.Columns);
            var packBytes = new PackBytesJob(x, bytes);
            ForRows(bytes.Pieces, ref packBytes);
            var byteJob = new AmxByteJob(bytes, linear, y);
            _pool.Run(byteJob.Blocks, ref byteJob);
            return;
        }

        CodedOrder order = _kernels.OrderFor(format == WeightFormat.Int4);
        var coded = new CodedRows(_arena.Take(CodedRows.Bytes(order, x.Rows, x.Columns)), order, x.Rows, x.Columns);
        var encode = new EncodeJob(_kernels, x, coded);
        ForRows(x.Rows, ref encode);
        if (_kernels.HasAmx && x.Rows >= AmxCodeProduct.FewestRows)
        {
            var packed = new AmxCodedRows(_arena.Take(AmxCodedRows.Bytes(x.Rows, x.Columns)), x.Rows, x.Columns);
            var pack = new PackCodesJob(coded, packed);
            ForRows(packed.Pieces, ref pack);
            var product = new AmxCodeJob(packed, Workspaces.Take(_arena, _pool.Threads, AmxCodeProduct.WorkspaceBytes), linear, y);
            _pool.Run(product.Blocks, ref product);
            return;
        }

        if (_kernels.HasTiles(linear.Parts[0].TileSource))
        {
            ProductByTiles(coded.Row(0), coded.Pitch, linear, y);
            return;
        }

        var job = new CodeJob(_kernels, coded, linear, y);
        _pool.Run(job.Blocks, ref job);
    }
}
