using System.Globalization;
using System.IO.Hashing;
using System.Runtime.InteropServices;
using System.Text;

namespace PrefixTorch.Tokenization;

/// <summary>A digest of what a text's ids depend on, in an order of our own, so that reformatting a file changes nothing.</summary>
internal static class TokenizerFingerprint
{
    /// <summary>Counted up whenever what is digested changes.</summary>
    private const string Version = "PrefixTorch tokenizer 1";

    /// <summary>32 hex digits.</summary>
    public static string Of(TokenizerDefinition definition)
    {
        var hash = new XxHash128();
        Add(hash, Version);
        AddVocabulary(hash, definition.Vocabulary);
        foreach (var (left, right, rank, result) in definition.Merges.InOrder())
        {
            Add(hash, left, right, rank, result);
        }

        BytePairOptions options = definition.Options;
        Add(hash, $"{options.ByteLevel} {options.IgnoreMerges} {options.ByteFallback} {options.UnknownId} {options.FuseUnknown}");
        foreach (AddedToken token in definition.AddedTokens.OrderBy(token => token.Id))
        {
            Add(hash, $"{token.Id} {token.Special} {token.Normalized} {token.StripLeft} {token.StripRight} {token.SingleWord} {token.Content}");
        }

        AddSteps(hash, "normalizers", definition.Normalizers.Select(step => step.Description));
        AddSteps(hash, "rewriters", definition.Rewriters.Select(step => step.Description));
        AddSteps(hash, "splitters", definition.Splitters.Select(step => step.Description));
        AddSteps(hash, "prefix", definition.Prefix.Select(id => id.ToString(CultureInfo.InvariantCulture)));
        AddSteps(hash, "suffix", definition.Suffix.Select(id => id.ToString(CultureInfo.InvariantCulture)));
        return Convert.ToHexStringLower(hash.GetCurrentHash());
    }

    private static void AddVocabulary(XxHash128 hash, Vocabulary vocabulary)
    {
        for (int id = 0; id < vocabulary.Size; id++)
        {
            if (vocabulary[id] is { } spelling)
            {
                Add(hash, id);
                Add(hash, spelling);
            }
        }
    }

    private static void AddSteps(XxHash128 hash, string name, IEnumerable<string> steps)
    {
        Add(hash, name);
        foreach (string step in steps)
        {
            Add(hash, step);
        }
    }

    private static void Add(XxHash128 hash, string text)
    {
        // The length first, or "ab" "c" would be "a" "bc".
        Span<byte> bytes = text.Length <= 256 ? stackalloc byte[text.Length * 3] : new byte[text.Length * 3];
        bytes = bytes[..Encoding.UTF8.GetBytes(text, bytes)];
        Add(hash, bytes.Length);
        hash.Append(bytes);
    }

    private static void Add(XxHash128 hash, params ReadOnlySpan<int> numbers) => hash.Append(MemoryMarshal.AsBytes(numbers));
}
