using PrefixTorch.Kernels;
using PrefixTorch.Memory;

namespace PrefixTorch.Model.Operations;

/// <content>Products in fp32, whatever the weights are held in: our own kernels for any number of rows.</content>
internal sealed unsafe partial class HostOperations
{
    // Rows of codes are encoded where few of them meet codes; many rows meet widened weights.
    private HostRows ProductOfFloats(HostRows x, CodedRows coded, Linear linear)
    {
        HostRows y = _arena.TakeRows(DType.Float32, x.Rows, linear.OutFeatures);
        using var scratch = new ArenaScope(_arena);
        Workspaces workspaces = coded.Rows == 0 && x.Rows > _kernels.StreamedRows
            ? Workspaces.Take(_arena, _pool.Threads, ProductShape.Of(x.Rows).WorkspaceBytes)
            : default;
        var job = new LinearJob(_kernels, x, coded, workspaces, linear, y);
        _pool.Run(job.Blocks, ref job);
        return y;
    }
}
