using System.Diagnostics;
using CsCheck;
using PrefixTorch.Tokenization;

namespace PrefixTorch.Tests.Tokenization;

public class PairMergerTests
{
    /// <summary>Merges over a small alphabet, equal ranks among them, so that everything collides with everything.</summary>
    private static readonly Gen<(int[] Symbols, (int Left, int Right, int Rank)[] Merges)> s_case = Gen.Select(
        Gen.Int[0, 5].Array[0, 30],
        Gen.Select(Gen.Int[0, 11], Gen.Int[0, 11], Gen.Int[0, 6]).Array[0, 25]);

    [Fact]
    public void ItMergesAsTheDefinitionSays() => s_case.Sample(item =>
    {
        var table = new MergeTable(1);
        foreach (var (left, right, rank) in item.Merges)
        {
            table.Add(left, right, rank, 6 + ((left + right) % 6));
        }

        List<int> merged = [];
        new PairMerger(table).Merge(item.Symbols, merged);
        Assert.Equal(MergeSlowly(table, [.. item.Symbols]), merged);
    }, iter: 5000);

    [Fact]
    public void AMergerIsUsedAgain()
    {
        var table = new MergeTable(1);
        table.Add(0, 0, 0, 1);
        var merger = new PairMerger(table);
        List<int> output = [];
        merger.Merge(Enumerable.Repeat(0, 200).ToArray(), output);
        merger.Merge([0, 0, 0], output);
        Assert.Equal([.. Enumerable.Repeat(1, 101), 0], output);
    }

    [Fact]
    public void ALongPieceTakesNoSquareOfItsLength()
    {
        LlamaTokenizer tokenizer = TokenizerCase.Load(TokenizerCase.TinyTolstoy);
        var random = new Random(1);
        string text = new([.. Enumerable.Range(0, 200_000).Select(_ => (char)('a' + random.Next(26)))]);
        var watch = Stopwatch.StartNew();
        int[] ids = tokenizer.Encode(text);
        Assert.True(watch.Elapsed < TimeSpan.FromSeconds(10), $"{watch.Elapsed}"); // Some 0.1 s; squared, minutes.
        Assert.Equal(text, tokenizer.Decode(ids, skipSpecialTokens: true));
    }

    private static List<int> MergeSlowly(MergeTable table, List<int> symbols)
    {
        while (true)
        {
            var best = (Rank: int.MaxValue, Index: -1, Result: -1);
            for (int i = 0; i + 1 < symbols.Count; i++)
            {
                if (table.TryGet(symbols[i], symbols[i + 1], out int rank, out int result) && rank < best.Rank)
                {
                    best = (rank, i, result);
                }
            }

            if (best.Index < 0)
            {
                return symbols;
            }

            symbols[best.Index] = best.Result;
            symbols.RemoveAt(best.Index + 1);
        }
    }
}
