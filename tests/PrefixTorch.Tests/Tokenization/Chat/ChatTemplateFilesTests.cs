using PrefixTorch.Tokenization.Chat;

namespace PrefixTorch.Tests.Tokenization.Chat;

public sealed class ChatTemplateFilesTests : IDisposable
{
    private readonly string _folder = Directory.CreateTempSubdirectory("chat-template-").FullName;

    public void Dispose() => Directory.Delete(_folder, recursive: true);

    [Fact]
    public void ReadsTheTemplateAndTheSpecialTokensOfTheConfig()
    {
        Write("tokenizer_config.json", """{"chat_template": "{{ bos_token }}{{ eos_token }}{{ pad_token }}", "bos_token": {"content": "<b>", "lstrip": false}, "eos_token": "<e>", "pad_token": null}""");
        Write("special_tokens_map.json", """{"bos_token": "<other>", "pad_token": "<p>"}""");
        RenderedChat chat = ChatTemplateFiles.Read(_folder).Load().Render([]);
        Assert.Equal([new("<b><e><p>", true)], chat.Segments);
    }

    [Fact]
    public void TheJinjaFileWinsAndNamedTemplatesAreChosenByName()
    {
        Write("tokenizer_config.json", """{"chat_template": [{"name": "default", "template": "d"}, {"name": "tool_use", "template": "t"}]}""");
        var files = ChatTemplateFiles.Read(_folder);
        Assert.Equal("d", files.Load().Source);
        Assert.Equal("t", files.Load(hasTools: true).Source);
        Assert.Equal("t", files.Load("tool_use").Source);
        Assert.Contains("it has: default, tool_use", Assert.Throws<ChatTemplateException>(() => files.Load("rag")).Message, StringComparison.Ordinal);

        Write("chat_template.jinja", "j");
        Directory.CreateDirectory(Path.Combine(_folder, "additional_chat_templates"));
        Write("additional_chat_templates/rag.jinja", "r");
        files = ChatTemplateFiles.Read(_folder);
        Assert.Equal("j", files.Load(hasTools: true).Source);
        Assert.Equal("r", files.Load("rag").Source);
    }

    [Fact]
    public void TheLlama2ClassHasItsTokensWithoutWritingThemDown()
    {
        Write("tokenizer_config.json", """{"chat_template": "{{ bos_token + eos_token }}", "tokenizer_class": "LlamaTokenizer"}""");
        Assert.Equal("<s></s>", ChatTemplateFiles.Read(_folder).Load().Render([]).Text);
    }

    [Fact]
    public void AModelWithoutATemplateSaysWhatToDo()
    {
        var error = Assert.Throws<ChatTemplateException>(() => ChatTemplateFiles.Read(_folder).Load());
        Assert.Contains("chat_template.jinja", error.Message, StringComparison.Ordinal);
        Write("tokenizer_config.json", "{");
        Assert.Throws<ChatTemplateException>(() => ChatTemplateFiles.Read(_folder));
        Write("tokenizer_config.json", """{"chat_template": 5}""");
        Assert.Throws<ChatTemplateException>(() => ChatTemplateFiles.Read(_folder));
    }

    private void Write(string name, string text) => File.WriteAllText(Path.Combine(_folder, name), text);
}
