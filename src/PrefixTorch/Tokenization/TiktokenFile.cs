using System.Buffers.Text;
using System.Text;

namespace PrefixTorch.Tokenization;

/// <summary>
/// Meta's <c>tokenizer.model</c> of Llama 3: a line for each token, its bytes in base64 and its rank, which is its id. The
/// file says nothing of regular expression and special tokens; they are Llama 3.1's.
/// </summary>
internal static class TiktokenFile
{
    private const int SpecialTokenCount = 256;
    private const string BeginOfText = "<|begin_of_text|>";

    private static readonly string[] s_firstSpecialTokens =
    [
        BeginOfText, "<|end_of_text|>", Reserved(0), Reserved(1), "<|finetune_right_pad_id|>", Reserved(2),
        "<|start_header_id|>", "<|end_header_id|>", "<|eom_id|>", "<|eot_id|>", "<|python_tag|>",
    ];

    public static TokenizerDefinition Read(string file, ReadOnlySpan<byte> content)
    {
        List<string> spellings = ReadSpellings(file, content);
        var vocabulary = new Vocabulary(spellings.Count);
        for (int id = 0; id < spellings.Count; id++)
        {
            vocabulary.Add(spellings[id], id, file);
        }

        const int NamedReserved = 3;
        string[] special = [.. s_firstSpecialTokens, .. Enumerable.Range(NamedReserved, SpecialTokenCount - s_firstSpecialTokens.Length).Select(Reserved)];
        return new TokenizerDefinition
        {
            File = file,
            Vocabulary = vocabulary,
            Merges = Merges(file, vocabulary),
            Options = new BytePairOptions { ByteLevel = true, IgnoreMerges = true },
            AddedTokens = [.. special.Select((text, index) => new AddedToken(spellings.Count + index, text, Special: true))],
            Splitters = [new RegexSplitter(KnownPatterns.Llama3)],
            Prefix = [spellings.Count + Array.IndexOf(special, BeginOfText)],
            Text = new TokenTextOptions { ByteLevel = true },
        };
    }

    private static string Reserved(int number) => $"<|reserved_special_token_{number}|>";

    private static List<string> ReadSpellings(string file, ReadOnlySpan<byte> content)
    {
        List<string> spellings = [];
        int number = 0;
        foreach (Range range in content.Split((byte)'\n'))
        {
            number++;
            ReadOnlySpan<byte> line = content[range].TrimEnd((byte)'\r');
            if (!line.IsEmpty)
            {
                spellings.Add(ReadLine(file, number, line, spellings.Count));
            }
        }

        return spellings;
    }

    private static string ReadLine(string file, int number, ReadOnlySpan<byte> line, int expectedRank)
    {
        int space = line.IndexOf((byte)' ');
        Span<byte> bytes = stackalloc byte[1024];
        if (space <= 0 || space > bytes.Length || Base64.DecodeFromUtf8(line[..space], bytes, out _, out int count) != System.Buffers.OperationStatus.Done
            || !Utf8Parser.TryParse(line[(space + 1)..], out int rank, out int read) || read != line.Length - space - 1)
        {
            throw new TokenizerException($"{file}, line {number}: \"{Encoding.UTF8.GetString(line[..Math.Min(line.Length, 80)])}\" is not a token in base64 and its rank; is the file whole?");
        }

        if (rank != expectedRank)
        {
            throw new TokenizerException($"{file}, line {number}: the rank is {rank}, and {expectedRank} is due; is the file whole?");
        }

        Span<char> spelling = stackalloc char[count];
        ByteLevelAlphabet.ToChars(bytes[..count], spelling);
        return spelling.ToString();
    }

    /// <summary>Any two tokens merge that make a third, and the third's rank is when: so the file's own algorithm has it.</summary>
    private static MergeTable Merges(string file, Vocabulary vocabulary)
    {
        for (int value = 0; value < 256; value++)
        {
            if (!vocabulary.TryGetId([ByteLevelAlphabet.ToChar((byte)value)], out _))
            {
                throw new TokenizerException($"{file} has no token for the byte 0x{value:X2}; is the file whole?");
            }
        }

        var merges = new MergeTable(vocabulary.Size * 2);
        for (int id = 0; id < vocabulary.Size; id++)
        {
            ReadOnlySpan<char> spelling = vocabulary[id];
            for (int split = 1; split < spelling.Length; split++)
            {
                if (vocabulary.TryGetId(spelling[..split], out int left) && vocabulary.TryGetId(spelling[split..], out int right))
                {
                    merges.Add(left, right, rank: id, result: id);
                }
            }
        }

        return merges;
    }
}
