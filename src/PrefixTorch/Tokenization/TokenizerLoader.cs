namespace PrefixTorch.Tokenization;

/// <summary>Finds a checkpoint's tokenizer file; the file's content decides how it is read.</summary>
internal static class TokenizerLoader
{
    private const string HuggingFaceFile = "tokenizer.json";
    private const string ModelFile = "tokenizer.model";

    /// <summary>What every protobuf of SentencePiece begins with (field 1, a message), and no base64 does.</summary>
    private const byte ProtobufStart = 0x0A;

    public static LlamaTokenizer Load(string path)
    {
        string file = Directory.Exists(path) ? InFolder(path) : path;
        try
        {
            var config = TokenizerConfigFile.Beside(file);
            byte[] content = File.ReadAllBytes(file);
            if (content.Length == 0)
            {
                throw new TokenizerException($"{file} is empty; get it again.");
            }

            TokenizerDefinition definition =
                Path.GetExtension(file) == ".json" ? new TokenizerJson(file).Read(content)
                : content[0] == ProtobufStart ? SentencePieceFile.Read(file, content, config)
                : TiktokenFile.Read(file, content);
            return new LlamaTokenizer(config.Refine(definition));
        }
        catch (Exception error) when (error is IOException or UnauthorizedAccessException)
        {
            throw new TokenizerException($"{file}: cannot read the tokenizer: {error.Message}", error);
        }
    }

    private static string InFolder(string folder) =>
        new[] { HuggingFaceFile, ModelFile }.Select(name => Path.Combine(folder, name)).FirstOrDefault(File.Exists)
        ?? throw new TokenizerException($"{folder} has no {HuggingFaceFile} and no {ModelFile}; put the checkpoint's tokenizer file beside its weights.");
}
