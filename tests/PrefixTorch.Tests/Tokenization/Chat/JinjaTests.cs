using System.Text.Json;
using PrefixTorch.Tokenization.Chat;
using PrefixTorch.Tokenization.Chat.Jinja;

namespace PrefixTorch.Tests.Tokenization.Chat;

/// <summary>The interpreter beside Jinja itself: Data/make_jinja_cases.py wrote what Jinja renders.</summary>
public class JinjaTests
{
    private static readonly JsonElement s_cases = JsonElement.Parse(ChatData.File("jinja_cases.json"));

    public static IEnumerable<TheoryDataRow<string, string>> Rendered =>
        s_cases.GetProperty("rendered").EnumerateArray().Select(each => new TheoryDataRow<string, string>(each.GetProperty("template").GetString()!, each.GetProperty("expected").GetString()!));

    public static IEnumerable<TheoryDataRow<string>> Failures =>
        s_cases.GetProperty("failures").EnumerateArray().Select(each => new TheoryDataRow<string>(each.GetString()!));

    [Theory]
    [MemberData(nameof(Rendered))]
    public void RendersAsJinjaDoes(string template, string expected) => Assert.Equal(expected, Render(template));

    [Theory]
    [MemberData(nameof(Failures))]
    public void RefusesWhatJinjaRefusesAndNamesTheLine(string template)
    {
        var error = Assert.Throws<ChatTemplateException>(() => Render("first line\n" + template));
        Assert.Equal(2, error.Line);
        Assert.StartsWith("Chat template, line 2: ", error.Message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("{% include 'other' %}", "include")]
    [InlineData("{% import 'other' as other %}", "import")]
    [InlineData("{% from 'other' import f %}", "from")]
    [InlineData("{% extends 'other' %}", "extends")]
    [InlineData("{% block b %}{% endblock %}", "block")]
    [InlineData("{% filter upper %}{% endfilter %}", "filter")]
    [InlineData("{{ name | urlencode }}", "urlencode")]
    [InlineData("{{ name is escaped }}", "escaped")]
    [InlineData("{{ '%s' % name }}", "%")]
    [InlineData("{{ '{}'.format(name) }}", "format")]
    [InlineData("{{ strftime_now('%Q') }}", "%Q")]
    [InlineData("{{ dict(*items) }}", "*")]
    [InlineData("{% for i in items recursive %}{% endfor %}", "recursive")]
    [InlineData("{{ name | safe ~ 'x' }}", "safe")]
    public void RefusesByNameAndLineWhatItDoesNotKnow(string template, string name)
    {
        var error = Assert.Throws<ChatTemplateException>(() => Render("\n\n" + template));
        Assert.Equal(3, error.Line);
        Assert.Contains(name, error.Message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("{% for i in range(1000000) %}{% for j in range(1000000) %}{% endfor %}{% endfor %}")]
    [InlineData("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}")]
    [InlineData("{{ 'a' * 1000000000000 }}")]
    [InlineData("{{ [1] * 1000000000000 }}")]
    [InlineData("{{ range(1000000000000) }}")]
    [InlineData("{% set ns = namespace(s='0123456789abcdef') %}{% for i in range(100) %}{% set ns.s = ns.s ~ ns.s %}{% endfor %}")]
    [InlineData("{% set ns = namespace(s=[1, 2]) %}{% for i in range(100) %}{% set ns.s = ns.s + ns.s %}{% endfor %}")]
    [InlineData("{% set ns = namespace(s='aaaa') %}{% for i in range(100) %}{% set ns.s = ns.s.replace('a', ns.s) %}{% endfor %}")]
    [InlineData("{% set ns = namespace(s='aaaa') %}{% for i in range(100) %}{% set ns.s = [ns.s, ns.s, ns.s] | tojson %}{% endfor %}")]
    [InlineData("{% set ns = namespace(s=[1]) %}{% for i in range(100) %}{% set ns.s = [ns.s, ns.s] %}{% endfor %}{{ ns.s }}")]
    [InlineData("{% for i in range(100000) %}{{ 'x' * 100000 }}{% endfor %}")]
    public void EndsWhateverTheTemplateDoes(string template)
    {
        var limits = new RenderLimits(MaxSteps: 200_000, MaxCharacters: 1 << 22, MaxLength: 1 << 20);
        Assert.Throws<ChatTemplateException>(() => new ChatTemplate(template, null, limits).Render([]));
    }

    [Fact]
    public void DeepNestingIsAnErrorAndNotTheEndOfTheProcess()
    {
        Assert.Throws<ChatTemplateException>(() => Render("{{ " + new string('(', 100_000) + "1" + new string(')', 100_000) + " }}"));
        Assert.Throws<ChatTemplateException>(() => Render("{{ " + string.Concat(Enumerable.Repeat("'a' + ", 200_000)) + "'b' }}"));
        Assert.Throws<ChatTemplateException>(() => Render(string.Concat(Enumerable.Repeat("{% if yes %}", 100_000))));
        Assert.Throws<ChatTemplateException>(() => Render("{% set ns = namespace(s=[1]) %}{% for i in range(100000) %}{% set ns.s = [ns.s] %}{% endfor %}{{ ns.s | tojson }}"));
        Assert.Throws<ChatTemplateException>(() => Render("{% set ns = namespace(s=[1]) %}{% for i in range(100000) %}{% set ns.s = [ns.s] %}{% endfor %}{{ ns.s == [ns.s] }}{{ ns.s }}"));
    }

    [Fact]
    public void TheDateIsFixedUnlessAskedFor()
    {
        var template = new ChatTemplate("{{ strftime_now('%d %b %Y') }}|{{ strftime_now('%A, %-d. %B %y, %H:%M:%S %I%p %j %F%%') }}");
        Assert.Equal("26 Jul 2024|Friday, 26. July 24, 00:00:00 12AM 208 2024-07-26%", template.Render([]).Text);
        var asked = new ChatTemplateOptions { Now = new DateTime(2031, 1, 2, 15, 4, 5) };
        Assert.Equal("02 Jan 2031|Thursday, 2. January 31, 15:04:05 03PM 002 2031-01-02%", template.Render([], asked).Text);
    }

    [Fact]
    public void WhateverATemplateSaysTheOnlyErrorIsItsOwn()
    {
        var random = new Random(7);
        string[] templates = [.. Rendered.Select(row => row.Data.Item1), .. Failures.Select(row => row.Data)];
        string all = string.Concat(templates);
        var limits = new RenderLimits(MaxSteps: 20_000, MaxCharacters: 1 << 20, MaxLength: 1 << 18);
        for (int i = 0; i < 20_000; i++)
        {
            string template = templates[random.Next(templates.Length)];
            for (int changes = random.Next(1, 4); changes > 0; changes--)
            {
                int at = random.Next(template.Length);
                int length = Math.Min(random.Next(4), template.Length - at);
                int from = random.Next(all.Length - 8);
                template = template[..at] + (random.Next(2) == 0 ? "" : all.Substring(from, random.Next(8))) + template[(at + length)..] + " ";
            }

            try
            {
                new ChatTemplate(template, null, limits).Render([], new() { Variables = Variables });
            }
            catch (ChatTemplateException)
            {
            }
            catch (Exception error)
            {
                Assert.Fail($"{template}\n{error}");
            }
        }
    }

    private static Dictionary<string, JsonElement> Variables => s_cases.GetProperty("variables").EnumerateObject().ToDictionary(variable => variable.Name, variable => variable.Value);

    private static string Render(string template)
    {
        return new ChatTemplate(template).Render([], new() { Variables = Variables }).Text;
    }
}
