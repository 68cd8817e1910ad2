using System.IO.Hashing;
using PrefixTorch.Memory;

namespace PrefixTorch.Tests.Memory;

/// <summary>Our XXH3 against that of System.IO.Hashing.</summary>
public unsafe class Xxh3Tests
{
    private static readonly byte[] s_bytes = Bytes(70_000);

    [Fact]
    public void EveryLengthGivesWhatTheLibraryGives()
    {
        fixed (byte* bytes = s_bytes)
        {
            foreach (int length in Enumerable.Range(0, 5000).Append(65536).Append(65537).Append(s_bytes.Length))
            {
                Assert.Equal(XxHash3.HashToUInt64(s_bytes.AsSpan(0, length)), Xxh3.Of(bytes, length));
            }
        }
    }

    [Fact]
    public void PiecesGiveWhatTheWholeGivesAndMoreMayFollow()
    {
        var random = new Random(3);
        var hash = new Xxh3();
        for (int round = 0; round < 200; round++)
        {
            int largest = 1 << random.Next(1, 13), done = 0;
            while (done < s_bytes.Length - largest && done < 20_000)
            {
                int count = random.Next(largest + 1);
                hash.Append(s_bytes.AsSpan(done, count));
                done += count;
                if (random.Next(8) == 0)
                {
                    Assert.Equal(XxHash3.HashToUInt64(s_bytes.AsSpan(0, done)), hash.Value);
                }
            }

            Assert.Equal(XxHash3.HashToUInt64(s_bytes.AsSpan(0, done)), hash.Value);
            hash.Reset();
        }
    }

    private static byte[] Bytes(int count)
    {
        var bytes = new byte[count];
        new Random(7).NextBytes(bytes);
        return bytes;
    }
}
