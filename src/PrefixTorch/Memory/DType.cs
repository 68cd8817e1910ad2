using TorchSharp;

namespace PrefixTorch.Memory;

/// <summary>The type of a tensor's elements, as a safetensors file spells it.</summary>
public enum DType
{
    /// <summary>64-bit IEEE 754 (<c>F64</c>).</summary>
    Float64,

    /// <summary>32-bit IEEE 754 (<c>F32</c>).</summary>
    Float32,

    /// <summary>16-bit IEEE 754 (<c>F16</c>).</summary>
    Float16,

    /// <summary>The upper half of a 32-bit float (<c>BF16</c>).</summary>
    BFloat16,

    /// <summary>8-bit float, 4 exponent bits, no infinity (<c>F8_E4M3</c>).</summary>
    Float8E4M3,

    /// <summary>8-bit float, 5 exponent bits (<c>F8_E5M2</c>).</summary>
    Float8E5M2,

    /// <summary>64-bit signed integer (<c>I64</c>).</summary>
    Int64,

    /// <summary>32-bit signed integer (<c>I32</c>).</summary>
    Int32,

    /// <summary>16-bit signed integer (<c>I16</c>).</summary>
    Int16,

    /// <summary>8-bit signed integer (<c>I8</c>).</summary>
    Int8,

    /// <summary>8-bit unsigned integer (<c>U8</c>).</summary>
    UInt8,

    /// <summary>One byte, 0 or 1 (<c>BOOL</c>).</summary>
    Bool,
}

/// <summary>What is known of each <see cref="DType"/>: size, its name in a file, its name in libtorch.</summary>
internal static class DTypes
{
    private static readonly (DType Type, string Name, int Size, torch.ScalarType? Torch)[] s_table =
    [
        (DType.Float64, "F64", 8, torch.ScalarType.Float64),
        (DType.Float32, "F32", 4, torch.ScalarType.Float32),
        (DType.Float16, "F16", 2, torch.ScalarType.Float16),
        (DType.BFloat16, "BF16", 2, torch.ScalarType.BFloat16),
        (DType.Float8E4M3, "F8_E4M3", 1, null),
        (DType.Float8E5M2, "F8_E5M2", 1, null),
        (DType.Int64, "I64", 8, torch.ScalarType.Int64),
        (DType.Int32, "I32", 4, torch.ScalarType.Int32),
        (DType.Int16, "I16", 2, torch.ScalarType.Int16),
        (DType.Int8, "I8", 1, torch.ScalarType.Int8),
        (DType.UInt8, "U8", 1, torch.ScalarType.Byte),
        (DType.Bool, "BOOL", 1, torch.ScalarType.Bool),
    ];

    /// <summary>Bytes per element.</summary>
    public static int Size(this DType type) => s_table[(int)type].Size;

    /// <summary>The name in a safetensors header, such as <c>BF16</c>.</summary>
    public static string FileName(this DType type) => s_table[(int)type].Name;

    /// <summary>The name that Hugging Face and the command line use, such as <c>bfloat16</c>.</summary>
    public static string Name(this DType type) => type.ToString().ToLowerInvariant();

    /// <summary>Whether the elements are floating point numbers.</summary>
    public static bool IsFloat(this DType type) => type <= DType.Float8E5M2;

    /// <summary>libtorch's name for the type.</summary>
    /// <exception cref="PrefixTorchException">TorchSharp has no such type.</exception>
    public static torch.ScalarType ToTorch(this DType type) =>
        s_table[(int)type].Torch ?? throw new PrefixTorchException($"TorchSharp has no tensors of {type.FileName()}; widen them to BF16 first.");

    /// <summary>Looks a safetensors name up.</summary>
    public static bool TryParseFileName(string name, out DType type)
    {
        foreach (var row in s_table)
        {
            if (row.Name == name)
            {
                type = row.Type;
                return true;
            }
        }

        type = default;
        return false;
    }
}
