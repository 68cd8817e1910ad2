using System.Globalization;

namespace PrefixTorch.Tests.Caching;

/// <summary>What becomes of files in the hands of others.</summary>
internal static class Mutations
{
    /// <summary>A few bytes changed, removed, doubled or moved; most often in the header, where structure is.</summary>
    public static byte[] Mutate(byte[] original, Random random)
    {
        List<byte> bytes = [.. original];
        for (int i = random.Next(1, 4); i > 0; i--)
        {
            int at = random.Next(random.Next(3) > 0 ? Math.Min(bytes.Count, 3000) : bytes.Count), count = Math.Min(random.Next(1, 40), bytes.Count - at);
            switch (random.Next(5))
            {
                case 0:
                    bytes[at] = (byte)random.Next(256);
                    break;
                case 1:
                    bytes.RemoveRange(at, count);
                    break;
                case 2:
                    bytes.InsertRange(at, bytes.GetRange(at, count));
                    break;
                case 3:
                    bytes[at] = (byte)"0123456789[]{}\",:-eE"[random.Next(20)];
                    break;
                default:
                    List<byte> moved = bytes.GetRange(at, count);
                    bytes.RemoveRange(at, count);
                    bytes.InsertRange(random.Next(bytes.Count + 1), moved);
                    break;
            }
        }

        return [.. bytes];
    }

    /// <summary>How many are asked for by an environment variable.</summary>
    public static int Count(string variable, int otherwise) =>
        int.TryParse(Environment.GetEnvironmentVariable(variable), CultureInfo.InvariantCulture, out int count) ? count : otherwise;
}
