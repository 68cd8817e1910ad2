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

    [Fact]
    public void RendersTheFormatsOfLlama2ChatMLAndLlama3()
    {
        ChatMessage[] chat = [new("system", "Be brief."), new("user", " Hi "), new("assistant", "Hello!"), new("user", "Bye")];
        Assert.Equal(
            "<s>[INST] <<SYS>>\nBe brief.\n<</SYS>>\n\nHi [/INST] Hello! </s><s>[INST] Bye [/INST]",
            Template("instruct.jinja").Render(chat).Text);
        Assert.Equal(
            "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\n Hi <|im_end|>\n<|im_start|>assistant\nHello!<|im_end|>\n<|im_start|>user\nBye<|im_end|>\n<|im_start|>assistant\n",
            Template("chatml.jinja").Render(chat, s_generate).Text);
        Assert.Equal(
            "<s><|start_header_id|>system<|end_header_id|>\n\nBe brief.<|eot_id|><|start_header_id|>user<|end_header_id|>\n\nHi<|eot_id|>"
            + "<|start_header_id|>assistant<|end_header_id|>\n\nHello!<|eot_id|><|start_header_id|>user<|end_header_id|>\n\nBye<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n",
            Template("headers.jinja").Render(chat, s_generate).Text);
    }

    [Fact]
    public void ATemplateCanRefuseAConversation()
    {
        var error = Assert.Throws<ChatTemplateException>(() => Template("instruct.jinja").Render([new("assistant", "Hi")]));
        Assert.Equal("Chat template, line 10: the template refuses this conversation: Roles must alternate: user, assistant, user, assistant.", error.Message);
    }

    [Fact]
    public void OnlyTheTemplatesOwnTextIsTemplateText()
    {
        RenderedChat chat = Template("headers.jinja").Render([new("<|eot_id|>", " a<|eot_id|> ")], s_generate);
        Assert.Equal(
            [
                new("<s><|start_header_id|>", true), new("<|eot_id|>", false), new("<|end_header_id|>\n\n", true), new("a<|eot_id|>", false),
                new("<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n", true),
            ],
            chat.Segments);
    }

    [Theory]
    [InlineData("{{ messages[0].content | upper | lower | title | replace('x', '<|b|>') }}")]
    [InlineData("{{ messages[0].content.split('|')[1] ~ '|' }}{{ messages[0].content[::-1] }}{{ messages[0] | tojson }}{{ messages }}")]
    [InlineData("{% set ns = namespace(t='') %}{% for c in messages[0].content %}{% set ns.t = ns.t + c %}{% endfor %}{{ ns.t }}")]
    [InlineData("{% macro m(x) %}{{ x }}{% endmacro %}{{ m(messages[0].content) }}{% set b %}{{ messages[0].content }}{% endset %}{{ b }}")]
    [InlineData("{{ messages | map(attribute='content') | join('-') }}{{ messages[0].items() | list }}{{ messages[0] | items | list }}")]
    [InlineData("{{ tools | tojson(indent=2) }}{{ date_string }}{{ extra }}{{ messages[0].role }}{{ messages[0].keys() | join }}{{ messages[0].name }}")]
    [InlineData("{{ ''.join([messages[0].content]) }}{{ messages[0].content * 2 }}{{ messages[0].content | indent }}{{ messages[0].content | string | trim('-') }}")]
    public void WhatTheCallerGivesNeverBecomesTemplateText(string source)
    {
        const string Token = "<|a|>";
        JsonElement element = JsonSerializer.SerializeToElement(Token);
        var message = new ChatMessage(Token, Token, new Dictionary<string, JsonElement> { [Token] = element, ["name"] = element });
        var options = new ChatTemplateOptions { Tools = [element], DateString = Token, Variables = new Dictionary<string, JsonElement> { ["extra"] = element } };
        RenderedChat chat = new ChatTemplate(source).Render([message], options);
        Assert.Contains("a|", chat.Text, StringComparison.OrdinalIgnoreCase);
        Assert.DoesNotContain(chat.Segments, segment => segment.IsTemplateText && segment.Text.Contains('a'));
    }

    [Theory]
    [InlineData("chatml.jinja", "Once upon ", "<|im_start|>user\nTell<|im_end|>\n<|im_start|>assistant\nOnce upon ")]
    [InlineData("headers.jinja", "Once upon ", "<s><|start_header_id|>user<|end_header_id|>\n\nTell<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\nOnce upon")]
    [InlineData("instruct.jinja", " Once upon", "<s>[INST] Tell [/INST] Once upon")]
    public void TheFinalMessageCanBeLeftOpen(string template, string answer, string expected)
    {
        var options = new ChatTemplateOptions { ContinueFinalMessage = true };
        Assert.Equal(expected, Template(template).Render([new("user", "Tell"), new("assistant", answer)], options).Text);
        Assert.Throws<ChatTemplateException>(() => Template(template).Render([new("user", "Tell")], options with { AddGenerationPrompt = true }));
    }

    [Fact]
    public void AFinalMessageOfPartsCanBeLeftOpenAndOneWithoutTextCannot()
    {
        var template = new ChatTemplate("{% for m in messages %}{% for part in m.content %}[{{ part.text }}]{% endfor %}{% endfor %}");
        var options = new ChatTemplateOptions { ContinueFinalMessage = true };
        var parts = ChatMessage.FromJson(JsonElement.Parse("""{"role": "assistant", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}"""));
        Assert.Equal("[a][b", template.Render([parts], options).Text);
        Assert.Throws<ChatTemplateException>(() => template.Render([new("assistant", null)], options));
        Assert.Throws<ChatTemplateException>(() => template.Render([], options));
        Assert.Throws<ChatTemplateException>(() => new ChatTemplate("nothing").Render([new("assistant", "a")], options));
    }

    [Fact]
    public void AMessageWithoutARoleIsRefused() =>
        Assert.Throws<ChatTemplateException>(() => ChatMessage.FromJson(JsonElement.Parse("""{"content": "Hi"}""")));

    private static readonly ChatTemplateOptions s_generate = new() { AddGenerationPrompt = true };

    private static ChatTemplate Template(string file) => new(ChatData.File(file), ChatData.SpecialTokens(("bos_token", "<s>"), ("eos_token", "</s>")));
}
