using System.Text.Json;

namespace PrefixTorch.Tests.Sampling;

/// <summary>One row of scores, and what Hugging Face's processors make of it.</summary>
internal static class GoldenScores
{
    private static readonly JsonElement s_root = JsonDocument.Parse(File.ReadAllBytes(Repository.Fixture("goldens", "processors.json"))).RootElement;

    public static int[] PreviousIds { get; } = [.. s_root.GetProperty("previous_ids").EnumerateArray().Select(id => id.GetInt32())];

    public static IEnumerable<string> Names => s_root.GetProperty("processed").EnumerateObject().Select(entry => entry.Name);

    public static JsonElement Chains => s_root.GetProperty("chains");

    public static float[] Scores() => Read(s_root.GetProperty("scores"));

    public static float[] Processed(string name) => Read(s_root.GetProperty("processed").GetProperty(name));

    public static float[] Read(JsonElement scores) => [.. scores.EnumerateArray().Select(score => score.ValueKind == JsonValueKind.Null ? float.NegativeInfinity : score.GetSingle())];

    /// <summary>Equal up to the last bits of a float, and forbidden in the same places.</summary>
    public static void AssertEqual(float[] expected, float[] actual)
    {
        Assert.Equal(expected.Length, actual.Length);
        for (int id = 0; id < expected.Length; id++)
        {
            bool same = float.IsNegativeInfinity(expected[id]) ? float.IsNegativeInfinity(actual[id]) : MathF.Abs(expected[id] - actual[id]) <= 1e-6f * MathF.Max(1, MathF.Abs(expected[id]));
            Assert.True(same, $"score {id}: expected {expected[id]:R}, got {actual[id]:R}");
        }
    }
}
