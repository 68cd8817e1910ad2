namespace PrefixTorch.Cli.Verbs;

/// <summary>What the demo reads when nobody says.</summary>
/// <param name="Prompt">Read once.</param>
/// <param name="Suffixes">Each continues it.</param>
internal sealed record DemoTexts(string Prompt, string[] Suffixes)
{
    /// <summary>For the model that ships, which knows one book.</summary>
    public static DemoTexts Story { get; } = new(
        "Prince Andrew rode up to the battery and looked at the French camp across the river.",
        [" He thought of his father,", " \"What is that?\" he asked.", " The soldiers were silent.", " It was already dark when", "", "\n\nMeanwhile, in Moscow, Natasha"]);

    /// <summary>For any other.</summary>
    public static DemoTexts Question { get; } = new(
        "What are the three main types of machine learning?",
        [" The three main types are:", " Briefly, for a child:", " One example of each:", ""]);

    /// <summary>What suits a model.</summary>
    public static DemoTexts For(string modelName) => IsStory(modelName) ? Story : Question;

    /// <summary>Whether a model is the one that ships.</summary>
    public static bool IsStory(string modelName) => modelName == "tiny-tolstoy";
}
