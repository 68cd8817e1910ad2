using PrefixTorch.Generation;
using PrefixTorch.Tokenization;

namespace PrefixTorch.Tests.Generation;

/// <summary>The model that ships with Llama 2's kind of tokenizer: it says nothing sensible, and spells a space ▁.</summary>
public sealed class SentencePieceModel : IDisposable
{
    private readonly Cli.TemporaryFolder _folder = new();
    private readonly Lazy<Llama> _llama;

    public SentencePieceModel()
    {
        foreach (string file in Directory.GetFiles(Repository.TinyTolstoy).Where(file => !Path.GetFileName(file).StartsWith("tokenizer", StringComparison.Ordinal)))
        {
            File.Copy(file, Path.Combine(_folder.Path, Path.GetFileName(file)));
        }

        File.Copy(Repository.Fixture("sentencepiece", "tokenizer.model"), Path.Combine(_folder.Path, "tokenizer.model"));
        _llama = new(() => Llama.LoadAsync(_folder.Path).GetAwaiter().GetResult());
    }

    public Llama Llama => _llama.Value;

    public LlamaTokenizer Tokenizer => Llama.Tokenizer;

    public void Dispose()
    {
        if (_llama.IsValueCreated)
        {
            Llama.Dispose();
        }

        _folder.Dispose();
    }
}
