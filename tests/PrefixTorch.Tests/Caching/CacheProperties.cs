using CsCheck;
using PrefixTorch.Caching;
using PrefixTorch.Memory;
using PrefixTorch.Tests.Checkpoints;
using PrefixTorch.Tests.Parity;

namespace PrefixTorch.Tests.Caching;

/// <summary>Whatever is done to several caches, in whatever order, each is what its list of ids says, and what a fresh read of them gives.</summary>
public sealed class CacheProperties
{
    private const int Context = 400;

    // What is done, to which cache, and a number that it may need.
    private static readonly Gen<(int Action, int Which, int Amount)[]> s_actions = Gen.Select(Gen.Int[0, 7], Gen.Int[0, 99], Gen.Int[1, 40]).Array[1, 14];

    // Where two reads round otherwise, a number of 8 bits may come out a whole step apart.
    private const float Tolerance = 1e-4f;
    private const float Int8Tolerance = 0.05f;

    public static TheoryData<string, DType> Paths
    {
        get
        {
            var data = new TheoryData<string, DType>();
            foreach (string path in TestModel.Paths)
            {
                data.Add(path, DType.Float32);
                data.Add(path, DType.Int8);
            }

            return data;
        }
    }

    [Theory]
    [MemberData(nameof(Paths))]
    public void AnySequenceOfActionsGivesWhatAFreshReadGives(string path, DType kvDType)
    {
        using var model = new TestModel(Golden.Checkpoint("llama31-gqa"), path, kvDType: kvDType);
        using var folder = new TemporaryFolder();
        float tolerance = path != "torch" ? 0 : ToleranceOf(kvDType);
        Gen.Select(s_actions, Gen.Int[0, 300]).Sample((actions, start) => Play(model, folder, actions, start, tolerance), iter: 12, threads: 1);
    }

    [Theory]
    [MemberData(nameof(Paths))]
    public void AnySplitGivesTheBitsOfAWholeRead(string path, DType kvDType)
    {
        // libtorch sums otherwise in products of other sizes.
        AnySplit(path, null, kvDType, path != "torch" ? 0 : ToleranceOf(kvDType));
        if (path != "torch")
        {
            AnySplit(path, DType.BFloat16, kvDType, 0);
        }
    }

    private static void AnySplit(string path, DType? dtype, DType kvDType, float tolerance)
    {
        using var model = new TestModel(Golden.Checkpoint("llama31-gqa"), path, dtype, kvDType);
        Gen.Int[1, 150].Array[1, 6].Sample(pieces =>
        {
            int[] ids = [.. Enumerable.Range(0, Math.Min(pieces.Sum(), Context)).Select(i => (i * 31 + pieces[0]) % 320)];
            using var whole = new KvCache(model);
            float[] expected = model.Append(whole, ids, allLogits: true);
            var split = new KvCache(model);
            List<float> found = [];
            for (int done = 0, i = 0; done < ids.Length; i++)
            {
                int[] piece = [.. ids.Skip(done).Take(pieces[i])];
                found.AddRange(model.Append(split, piece, allLogits: true));
                done += piece.Length;

                // Every other one goes on from a clone.
                if (i % 2 == 1)
                {
                    KvCache clone = split.Clone();
                    split.Dispose();
                    split = clone;
                }
            }

            using (split)
            {
                Assert.Equal(ids, split.Tokens);
                Assert.InRange(Golden.MaxDistance([.. found], expected), 0, tolerance);
            }
        }, iter: 10, threads: 1);
    }

    private static float ToleranceOf(DType kvDType) => kvDType == DType.Int8 ? Int8Tolerance : Tolerance;

    private static void Play(TestModel model, TemporaryFolder folder, (int Action, int Which, int Amount)[] actions, int start, float tolerance)
    {
        List<(KvCache Cache, List<int> Ids)> caches = [(new KvCache(model), [])];
        try
        {
            Append(model, [caches[0]], start);
            foreach ((int action, int which, int amount) in actions)
            {
                (KvCache cache, List<int> ids) = caches[which % caches.Count];
                switch (action)
                {
                    case 0 or 1:
                        Append(model, [(cache, ids)], amount);
                        break;
                    case 2:
                        caches.Add((cache.Clone(), [.. ids]));
                        break;
                    case 3:
                        int length = ids.Count * amount / 40;
                        cache.Truncate(length);
                        ids.RemoveRange(length, ids.Count - length);
                        break;
                    case 4:
                        string file = folder.File($"{Guid.NewGuid():N}");
                        cache.Save(file, new() { FlushToDisk = false });
                        caches.Add((KvCache.Load(file, model), [.. ids]));
                        break;
                    case 5:
                        // All of them in one step, side by side.
                        Append(model, caches, amount % 16 + 1);
                        break;
                    case 6 when caches.Count > 1:
                        cache.Dispose();
                        caches.RemoveAt(which % caches.Count);
                        break;
                    case 7 when ids.Count < Context:
                        // A token that has no keys yet, as after a generation.
                        cache.AddPending(amount, TokenOrigin.Generated);
                        ids.Add(amount);
                        break;
                }
            }

            foreach ((KvCache cache, List<int> ids) in caches)
            {
                Assert.Equal(ids, cache.Tokens);
                cache.EnsureEvaluated();
                AssertIsFresh(model, cache, ids, tolerance);
            }

            for (int i = 1; i < caches.Count; i++)
            {
                int common = caches[i].Ids.Zip(caches[0].Ids).TakeWhile(pair => pair.First == pair.Second).Count();
                Assert.Equal(common, KvCache.CommonPrefix(caches[i].Cache, caches[0].Cache));
                Assert.Equal(caches[i].Cache.ByteCount, caches[i].Cache.OwnBytes + caches[i].Cache.SharedBytes);
            }
        }
        finally
        {
            caches.ForEach(pair => pair.Cache.Dispose());
        }
    }

    private static void AssertIsFresh(TestModel model, KvCache cache, List<int> ids, float tolerance)
    {
        using var fresh = new KvCache(model);
        foreach (int[] chunk in ids.Chunk(11))
        {
            model.Append(fresh, chunk);
        }

        if (cache.Logits is float[] logits)
        {
            Assert.InRange(Golden.MaxDistance(logits, fresh.Logits!), 0, tolerance);
        }

        if (tolerance == 0)
        {
            Assert.Equal(Tolstoy.Bytes(fresh), Tolstoy.Bytes(cache));
        }
    }

    // In pieces of 16 at most, as the promise of equal bits asks.
    private static void Append(TestModel model, List<(KvCache Cache, List<int> Ids)> caches, int count)
    {
        for (int done = 0; done < count; done += 16)
        {
            int piece = Math.Min(16, count - done);
            List<(KvCache, int[])> added = [];
            foreach ((KvCache cache, List<int> ids) in caches.Where(pair => pair.Ids.Count + piece <= Context))
            {
                cache.EnsureEvaluated();
                int[] next = [.. Enumerable.Range(0, piece).Select(i => (ids.Count * 7 + i * 13 + cache.Length + caches.Count) % 320)];
                ids.AddRange(next);
                added.Add((cache, next));
            }

            if (added.Count > 0)
            {
                model.Append([.. added]);
            }
        }
    }
}
