using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using TorchSharp;

namespace PrefixTorch.Memory;

/// <summary>Tensors over memory that somebody else owns: how libtorch reads a <see cref="NativeBlock"/>.</summary>
internal static unsafe partial class NativeTensor
{
    /// <summary>
    /// A CPU tensor over <paramref name="data"/>, row-major. It copies nothing and owns nothing: the memory must outlive it.
    /// The caller disposes the tensor.
    /// </summary>
    public static torch.Tensor Over(void* data, DType dtype, params ReadOnlySpan<long> shape)
    {
        LibTorch.EnsureLoaded();
        sbyte type = (sbyte)dtype.ToTorch();
        fixed (long* sizes = shape)
        {
            nint handle = New(data, &DeleteNothing, sizes, shape.Length, type, type, deviceType: 0, deviceIndex: 0, requiresGrad: 0);
            if (handle == 0)
            {
                torch.CheckForErrors();
            }

            return torch.Tensor.UnsafeCreateTensor(handle);
        }
    }

    [UnmanagedCallersOnly(CallConvs = [typeof(CallConvCdecl)])]
    private static void DeleteNothing(void* data)
    {
    }

    [LibraryImport("LibTorchSharp", EntryPoint = "THSTensor_new")]
    private static partial nint New(void* data, delegate* unmanaged[Cdecl]<void*, void> deleter, long* sizes, int sizeCount, sbyte scalarType, sbyte dtype, int deviceType, int deviceIndex, byte requiresGrad);
}
