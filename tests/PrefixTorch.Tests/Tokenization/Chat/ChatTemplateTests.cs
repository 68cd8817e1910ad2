using System.Text.Json;
using PrefixTorch.Tokenization.Chat;

namespace PrefixTorch.Tests.Tokenization.Chat;

public class ChatTemplateTests
{
    public static TheoryData<string, string, string> Goldens => new()
    {
        { "llama3-tokenizer", "chat_template.jinja", "golden_chat.json" },
        { "llama3-tokenizer", "chat_template_3.2.jinja", "golden_chat_3.2.json" },
        { "llama3-tokenizer", "chat_template_3.3.jinja", "golden_chat_3.3.json" },
        { "smollm2-135m", "chat_template.jinja", "goldens/golden_chat.json" },
    };

    [Theory]
    [MemberData(nameof(Goldens))]
    public void RendersEveryGoldenChatAsTransformersDoes(string folder, string templateFile, string goldenFile)
    {
        string source = File.ReadAllText(Repository.SharedFixture(folder, templateFile));
        JsonElement config = ChatData.Json(Repository.SharedFixture(folder, "tokenizer_config.json"));
        var template = new ChatTemplate(source, new Dictionary<string, JsonElement> { ["bos_token"] = config.GetProperty("bos_token") });
        foreach (JsonElement golden in ChatData.Json(Repository.SharedFixture(folder, goldenFile)).EnumerateArray())
        {
            ChatMessage[] messages = ChatData.Messages(golden);
            ChatTemplateOptions options = ChatData.Options(golden);
            Assert.Equal(golden.GetProperty("rendered_without_generation_prompt").GetString(), template.Render(messages, options).Text);
            Assert.Equal(golden.GetProperty("rendered_with_generation_prompt").GetString(), template.Render(messages, options with { AddGenerationPrompt = true }).Text);
        }
    }
}
