using System.Buffers.Binary;
using System.Text;

namespace PrefixTorch.Tests.Checkpoints;

/// <summary>Safetensors files put together by hand, so that they may be wrong in any way.</summary>
internal static class RawSafetensors
{
    /// <summary>A header of such entries.</summary>
    public static string Header(params string[] entries) => "{" + string.Join(',', entries) + "}";

    /// <summary>A tensor's entry; shape and offsets as JSON.</summary>
    public static string Entry(string name, string dtype, string shape, string offsets) =>
        $"\"{name}\":{{\"dtype\":\"{dtype}\",\"shape\":{shape},\"data_offsets\":{offsets}}}";

    /// <summary>A tensor of bytes from one offset to another.</summary>
    public static string Bytes(string name, int begin, int end) => Entry(name, "U8", $"[{end - begin}]", $"[{begin},{end}]");

    public static byte[] Bytes(string header, int dataByteCount = 0) => Bytes(Encoding.UTF8.GetBytes(header), dataByteCount);

    public static byte[] Bytes(byte[] header, int dataByteCount = 0, ulong? headerLength = null)
    {
        var bytes = new byte[8 + header.Length + dataByteCount];
        BinaryPrimitives.WriteUInt64LittleEndian(bytes, headerLength ?? (ulong)header.Length);
        header.CopyTo(bytes, 8);
        for (int i = 0; i < dataByteCount; i++)
        {
            bytes[8 + header.Length + i] = (byte)i;
        }

        return bytes;
    }
}
