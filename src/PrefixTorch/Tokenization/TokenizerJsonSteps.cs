using System.Text.Json;

namespace PrefixTorch.Tokenization;

/// <summary>The steps round the model in a <c>tokenizer.json</c>: normalizer, pre-tokenizer and post-processor.</summary>
internal sealed class TokenizerJsonSteps(string file)
{
    public List<TextRewriter> Normalizers { get; } = [];

    public List<TextRewriter> Rewriters { get; } = [];

    public List<TextSplitter> Splitters { get; } = [];

    public List<int> Prefix { get; } = [];

    public List<int> Suffix { get; } = [];

    /// <summary>Whether pre-tokenization ends in bytes.</summary>
    public bool ByteLevel { get; private set; }

    public void ReadNormalizer(JsonElement step)
    {
        var json = new JsonStep(file, "normalizer", step);
        switch (json.Type)
        {
            case null:
                break;
            case "Sequence":
                json.ForEach("normalizers", ReadNormalizer);
                break;
            case "Prepend":
                Normalizers.Add(new PrefixRewriter(json.Text("prepend"), PrefixRule.Always, UnlessThere: false));
                break;
            case "Replace":
                Normalizers.Add(new ReplaceRewriter(json.Pattern("String"), json.Text("content")));
                break;
            default:
                throw json.Unknown("Sequence, Prepend and Replace");
        }
    }

    public void ReadPreTokenizer(JsonElement step)
    {
        var json = new JsonStep(file, "pre_tokenizer", step);
        if (ByteLevel && json.Type is not null)
        {
            throw new TokenizerException($"{file}: pre_tokenizer has {json.Type} after ByteLevel, where there are only bytes left to split.");
        }

        switch (json.Type)
        {
            case null:
                break;
            case "Sequence":
                json.ForEach("pretokenizers", ReadPreTokenizer);
                break;
            case "Split":
                ReadSplit(json);
                break;
            case "Digits":
                Splitters.Add(new DigitSplitter(json.Flag("individual_digits", false)));
                break;
            case "ByteLevel":
                ReadByteLevel(json);
                break;
            case "Metaspace":
                ReadMetaspace(json);
                break;
            default:
                throw json.Unknown("Sequence, Split, Digits, ByteLevel and Metaspace");
        }
    }

    public void ReadPostProcessor(JsonElement step)
    {
        var json = new JsonStep(file, "post_processor", step);
        switch (json.Type)
        {
            case null or "ByteLevel": // ByteLevel trims offsets and leaves ids alone.
                break;
            case "Sequence":
                json.ForEach("processors", ReadPostProcessor);
                break;
            case "TemplateProcessing":
                ReadTemplate(json);
                break;
            default:
                throw json.Unknown("Sequence, ByteLevel and TemplateProcessing");
        }
    }

    private void ReadSplit(JsonStep json)
    {
        // Isolated keeps what matches and what does not, so `invert` changes nothing.
        if (json.Text("behavior") is not "Isolated" and var behavior)
        {
            throw new TokenizerException($"{file}: pre_tokenizer Split has the behavior \"{behavior}\"; only Isolated is known.");
        }

        string pattern = json.Pattern("Regex");
        try
        {
            Splitters.Add(new RegexSplitter(pattern));
        }
        catch (ArgumentException error)
        {
            throw new TokenizerException($"{file}: pre_tokenizer Split has a regular expression that .NET does not understand ({error.Message})", error);
        }
    }

    private void ReadByteLevel(JsonStep json)
    {
        ByteLevel = true;
        if (json.Flag("add_prefix_space", true))
        {
            AddRewriter(json, new PrefixRewriter(" ", PrefixRule.Always, UnlessThere: true));
        }

        if (json.Flag("use_regex", true))
        {
            Splitters.Add(new RegexSplitter(KnownPatterns.Gpt2));
        }
    }

    private void ReadMetaspace(JsonStep json)
    {
        string mark = json.Text("replacement");
        if (mark.Length != 1)
        {
            throw new TokenizerException($"{file}: pre_tokenizer Metaspace has the replacement \"{mark}\", which is not one character.");
        }

        AddRewriter(json, new ReplaceRewriter(" ", mark));
        AddRewriter(json, new PrefixRewriter(mark, json.PrefixRule(), UnlessThere: true));
        if (json.Flag("split", true))
        {
            Splitters.Add(new MarkSplitter(mark[0], keepRuns: false));
        }
    }

    private void AddRewriter(JsonStep json, TextRewriter rewriter)
    {
        // Behind a splitter it would apply to every piece; no Llama has that.
        if (Splitters.Count > 0)
        {
            throw new TokenizerException($"{file}: pre_tokenizer has {json.Type} with a prefix behind a step that splits; it is known only in front of them.");
        }

        Rewriters.Add(rewriter);
    }

    private void ReadTemplate(JsonStep json)
    {
        if (Prefix.Count + Suffix.Count > 0)
        {
            throw new TokenizerException($"{file}: post_processor has two templates.");
        }

        List<int> ids = Prefix;
        foreach (JsonElement piece in json.Items("single"))
        {
            if (piece.TryGetProperty("Sequence", out _))
            {
                ids = Suffix;
            }
            else if (piece.TryGetProperty("SpecialToken", out JsonElement special) && special.TryGetProperty("id", out JsonElement name)
                && json.Element("special_tokens").TryGetProperty(name.GetString()!, out JsonElement token) && token.TryGetProperty("ids", out JsonElement values))
            {
                ids.AddRange(values.EnumerateArray().Select(value => value.GetInt32()));
            }
            else
            {
                throw new TokenizerException($"{file}: post_processor.single has a piece that special_tokens does not explain: {piece.GetRawText()}.");
            }
        }
    }
}
