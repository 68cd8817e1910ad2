namespace PrefixTorch.Generation;

/// <summary>Where weights lie that are held as stored. What is converted to another dtype lies in memory of its own in any case.</summary>
public enum LoadMode
{
    /// <summary>Chosen; <see cref="Llama.Options"/> says what.</summary>
    Auto,

    /// <summary>
    /// In the mapped file: nothing is read before it is used, processes share the memory, and the system may take it back. The first token comes soonest.
    /// </summary>
    Map,

    /// <summary>
    /// In a copy of their own, in huge pages where the system gives them (Linux): loading takes the time to copy and the memory to hold it, and
    /// every token after that is a little faster.
    /// </summary>
    Copy,
}
