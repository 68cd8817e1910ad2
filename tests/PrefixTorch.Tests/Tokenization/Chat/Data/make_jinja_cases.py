"""What Jinja itself makes of small templates, in the environment that transformers renders chats in.

python make_jinja_cases.py > jinja_cases.json     (needs jinja2 3.1)
"""

import json

from jinja2.exceptions import TemplateError
from jinja2.ext import Extension, loopcontrols
from jinja2 import nodes
from jinja2.sandbox import ImmutableSandboxedEnvironment


class Generation(Extension):
    tags = {"generation"}

    def parse(self, parser):
        line = next(parser.stream).lineno
        body = parser.parse_statements(["name:endgeneration"], drop_needle=True)
        return nodes.CallBlock(self.call_method("_pass"), [], [], body).set_lineno(line)

    def _pass(self, caller):
        return caller()


def raise_exception(message):
    raise TemplateError(message)


def tojson(x, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
    return json.dumps(x, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=[Generation, loopcontrols])
environment.filters["tojson"] = tojson
environment.globals["raise_exception"] = raise_exception

VARIABLES = {
    "name": "Ada",
    "text": "  Grüße, Welt \U0001F642!\n",
    "empty": "",
    "n": 7,
    "x": 2.5,
    "small": 1e-07,
    "large": 1e22,
    "whole": 3.0,
    "yes": True,
    "nothing": None,
    "items": [3, 1, 2],
    "words": ["b", "A", "c", "A"],
    "mixed": [1, "a", None, True, 2.5, [1], {"k": "v"}],
    "map": {"b": 1, "a": [1, 2], "items": "shadow", "c d": {"e": None}},
    "messages": [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": " Hi <b>\"you\"</b>\\ \n"},
        {"role": "assistant", "content": None, "tool_calls": [{"function": {"name": "f", "arguments": {"x": 1, "y": "ü"}}}]},
        {"role": "tool", "content": {"celsius": 22, "sky": "clear"}},
        {"role": "user", "content": [{"type": "text", "text": "look"}, {"type": "image"}]},
    ],
}

TEMPLATES = r"""
{{ name }}|{{ nothing }}|{{ yes }}|{{ n }}|{{ x }}|{{ small }}|{{ large }}|{{ whole }}|{{ missing }}
{{ mixed }} {{ map }} {{ (1,) }} {{ (1, 2) }} {{ [] }} {{ {} }} {{ "it's" }} {{ ["it's", 'a"b', "t\tn\n"] }}
{{ 1 + 2 * 3 - 4 / 2 }} {{ 7 // 2 }} {{ -7 // 2 }} {{ -7 % 3 }} {{ 7 % -3 }} {{ 2 ** 10 }} {{ 2 ** -1 }} {{ -2 ** 2 }} {{ 2 ** 3 ** 2 }}
{{ 1.5 + 1 }} {{ 10 / 4 }} {{ 1e3 }} {{ 1_000 }} {{ 7.0 // 2 }} {{ -7.5 % 2 }} {{ 0.1 + 0.2 }} {{ 1e16 }} {{ 123456789012345680.0 }} {{ 0.0001 }} {{ 0.00001 }}
{{ "a" ~ 1 ~ none ~ true ~ 2.50 }} {{ "a" "b" 'c' }} {{ "ab" * 3 }} {{ [1] * 2 }} {{ [1] + [2] }} {{ (1,) + (2,) }}
{{ 1 < 2 < 3 }} {{ 1 < 3 < 2 }} {{ 1 == 1.0 }} {{ true == 1 }} {{ "a" < "b" }} {{ "a" != 'a' }} {{ [1, 2] == [1, 2] }} {{ (1,) == [1] }} {{ none == missing }} {{ missing == other }}
{{ "a" in "cat" }} {{ "x" not in "cat" }} {{ 1 in items }} {{ "a" in map }} {{ "z" in map }} {{ not "a" in map }} {{ 1 in missing }} {{ "role" in messages[0] }}
{{ not true or true }} {{ "" or "b" }} {{ 0 and 1 }} {{ name and n }} {{ not name }} {{ not not n }} {{ none or missing or 0 }}
{{ "a" if yes else "b" }} {{ "a" if empty else "b" }}[{{ "a" if empty }}] {{ 1 if 0 else 2 if 0 else 3 }}
{{ name[0] }} {{ name[-1] }} {{ name[9] }} {{ name[1:] }} {{ name[::-1] }} {{ name[:2] }} {{ text[-3:] }} {{ text[10] }} {{ text[::2] }} {{ items[1:] }} {{ items[::-1] }} {{ items[-2:] }} {{ items[5:] }} {{ items.0 }} {{ (1,2,3)[1:] }}
{{ map.a }} {{ map["b"] }} {{ map.items() | list }} {{ map["items"] }} {{ map.keys() | list }} {{ map.values() | list }} {{ map.get("z") }} {{ map.get("z", 5) }} {{ map.get("b") }} {{ map["c d"].e }} {{ map.zz }} {{ map["zz"] is defined }}
{% for i in items %}{{ loop.index }}{{ loop.index0 }}{{ loop.revindex }}{{ loop.revindex0 }}{{ loop.first }}{{ loop.last }}{{ loop.length }}{{ i }}{{ loop.previtem }}{{ loop.nextitem }}{{ loop.cycle("a", "b") }}{{ loop.changed(i) }};{% endfor %}
{% for k, v in map.items() %}{{ k }}={{ v }},{% endfor %}{% for k in map %}{{ k }}{% endfor %}{% for c in "aé🙂" %}<{{ c }}>{% endfor %}{% for a, b in [(1, 2), [3, 4]] %}{{ a }}{{ b }}{% endfor %}
{% for i in items if i > 1 %}{{ loop.index }}/{{ loop.length }}:{{ i }} {% else %}none{% endfor %}{% for i in [] %}x{% else %}empty{% endfor %}{% for i in missing %}x{% else %}undefined{% endfor %}{% for i in items if i > 9 %}x{% else %}filtered{% endfor %}
{% for i in range(10) %}{% if i == 2 %}{% continue %}{% endif %}{% if i == 5 %}{% break %}{% endif %}{{ i }}{% endfor %}{{ range(3) | list }}{{ range(5, 1, -2) | list }}{{ range(1, 4) | list }}
{% set a = 1 %}{% for i in items %}{% set a = a + i %}{{ a }} {% endfor %}{{ a }}{% if true %}{% set a = 9 %}{% endif %}{{ a }}
{% set ns = namespace(total=0, seen=false) %}{% for i in items %}{% set ns.total = ns.total + i %}{% endfor %}{{ ns.total }} {{ ns.seen }} {{ ns.none_such }}
{% set a, b = 1, 2 %}{{ a }}{{ b }}{% set t = 1, 2 %}{{ t }}{% set block %}x{{ a }}y{% endset %}[{{ block }}]{% set up | upper %}abc{% endset %}{{ up }}
{% for i in [1, 2] %}{% if z is defined %}leak{% endif %}{% set z = i %}{{ z }}{% endfor %}{{ z is defined }}
{% macro greet(who, mark="!", n=1) %}Hello {{ who }}{{ mark * n }}{% endmacro %}{{ greet("you") }} {{ greet("me", n=3) }} {{ greet("x", "?") | upper }} [{{ greet() }}]
{% macro outer(x) %}{{ inner(x) }}{% endmacro %}{% macro inner(x) %}<{{ x }}{{ name }}{{ later }}>{% endmacro %}{% set later = 5 %}{{ outer(1) }}
{% macro fact(n) %}{% if n > 1 %}{{ n * fact(n - 1) | int }}{% else %}1{% endif %}{% endmacro %}{{ fact(5) }}
{{ name | upper }}{{ name | lower }}{{ "hello wORLD it's" | title }} {{ "hELLO" | capitalize }} [{{ text | trim }}] {{ "xxaxx" | trim("x") }} {{ none | trim }} {{ 5 | trim }} [{{ missing | trim }}]
{{ text | length }} {{ items | length }} {{ map | count }} {{ missing | length }} {{ items | first }} {{ items | last }} [{{ [] | first }}] {{ "abc" | first }}{{ "abc" | last }} {{ "abc" | list }} {{ map | list }}
{{ items | join }} {{ items | join(", ") }} {{ messages | join("|", attribute="role") }} {{ words | join("-") }} {{ "abc" | join(".") }} [{{ [] | join(",") }}]
{{ missing | default("d") }} {{ none | default("d") }} {{ none | default("d", true) }} {{ "" | default("d", boolean=true) }} [{{ missing | default }}] {{ 0 | d(5) }}
{{ messages | map(attribute="role") | list }} {{ words | map("lower") | list }} {{ words | map("replace", "A", "x") | join }} {{ messages | map(attribute="missing", default="-") | join(",") }} {{ messages | map(attribute="content.celsius", default=0) | list | length }}
{{ messages | selectattr("role", "equalto", "user") | list | length }} {{ messages | rejectattr("role", "eq", "user") | map(attribute="role") | list }} {{ messages | selectattr("tool_calls") | list | length }} {{ messages | selectattr("tool_calls", "defined") | list | length }} {{ items | select("odd") | list }} {{ items | reject("equalto", 1) | join }} {{ mixed | select | list | length }} {{ mixed | select("string") | list }} {{ items | select(">", 1) | list }}
{{ words | sort }} {{ words | sort(case_sensitive=true) }} {{ items | sort(reverse=true) }} {{ messages | sort(attribute="role") | map(attribute="role") | list }} {{ words | unique | list }} {{ items | min }}{{ items | max }} {{ items | sum }} {{ items | reverse | list }} {{ "abc" | reverse }} {{ map | dictsort | map("first") | list }}
{{ "a-b-c" | replace("-", "+") }} {{ "a-b-c" | replace("-", "", 1) }} {{ "3" | int + 1 }} {{ "x" | int }} {{ "x" | int(4) }} {{ "2.7" | int }} {{ 2.9 | int }} {{ "2.5" | float }} {{ 3 | float }} {{ -3 | abs }} {{ 2.567 | round(2) }} {{ 2.5 | round }} {{ 3 | round }} {{ 5 | string + "x" }}
{{ "a\nb\n\nc" | indent }} {{ "a\nb" | indent(2, true) }} {{ "a\n\nb" | indent(1, blank=true) }} {{ "a\nb" | indent("> ") }}
{{ map | tojson }} {{ mixed | tojson }} {{ "ü\"\\/<>&'\n\t\u0001\u007f" | tojson }} {{ none | tojson }} {{ small | tojson }} {{ large | tojson }} {{ whole | tojson }} {{ true | tojson }}
{{ map | tojson(indent=2) }}{{ [] | tojson(indent=4) }}{{ {} | tojson(indent=4) }}{{ [[1, []]] | tojson(indent=1) }}
{{ map | tojson(ensure_ascii=true) }} {{ "ü🙂" | tojson(ensure_ascii=true) }} {{ map | tojson(sort_keys=true) }} {{ map | tojson(separators=(",", ":")) }}
{{ messages[2].tool_calls[0].function.arguments | tojson }} {% for k, v in messages[2].tool_calls[0].function.arguments | items %}{{ k }}:{{ v }};{% endfor %}{{ missing | items | list }}
{{ name is defined }}{{ missing is defined }}{{ missing is undefined }}{{ nothing is none }}{{ name is string }}{{ map is mapping }}{{ items is iterable }}{{ name is iterable }}{{ n is iterable }}{{ items is sequence }}{{ map is sequence }}{{ n is number }}{{ yes is number }}{{ n is integer }}{{ yes is integer }}{{ x is float }}{{ yes is boolean }}{{ yes is true }}{{ 1 is true }}{{ yes is false }}{{ range is callable }}
{{ n is odd }}{{ n is even }}{{ n is divisibleby 7 }}{{ n is divisibleby(2) }}{{ n is eq 7 }}{{ n is gt(6) }}{{ n is in items }}{{ 1 is in [1] }}{{ none is sameas none }}{{ "ab" is lower }}{{ "AB" is upper }}{{ n is not none }}{{ not n is none }}{{ 1 + 1 is number }}{{ missing is not defined and yes }}{{ name is not string or yes }}
{{ text.strip() }}|{{ "xaxbx".strip("x") }}|{{ " a ".lstrip() }}|{{ " a ".rstrip() }}|{{ "ab".upper() }}{{ "AB".lower() }}|{{ "ab cd".title() }}|{{ "aB".capitalize() }}|{{ name.startswith("A") }}{{ name.endswith("x") }}{{ name.startswith(("x", "A")) }}
{{ "a,b,,c".split(",") }} {{ " a  b c ".split() }} {{ "a,b,c".split(",", 1) }} {{ " a b c ".split(none, 1) }} {{ "a,b,c".rsplit(",", 1) }} {{ "</think>x</think>y".split("</think>")[-1] }} {{ "a\nb\r\nc".splitlines() }} {{ "".split() }} {{ "".split(",") }} {{ ",".join(["a", "b"]) }}
{{ "banana".replace("a", "o") }} {{ "banana".replace("a", "o", 2) }} {{ "ab".replace("", "-") }} {{ "banana".find("n") }} {{ "🙂a".find("a") }} {{ "banana".rfind("n") }} {{ "x".find("y") }} {{ "banana".count("an") }} {{ "abc".removeprefix("a") }} {{ "abc".removesuffix("c") }} {{ "12".isdigit() }} {{ "a1".isalpha() }}
{% generation %}said {{ name }}{% endgeneration %} {% raw %}{{ not }} {% this %}{% endraw %}!
{# a comment #}{{ {'a': {'b': [1, {'c': 2}]}}.a.b[1].c }} {{ {1: 'one', 'k': 2,}[1] }} {{ "}}" }} {{ '{%' }}
{{ "\x41\u00e9\U0001F642\101\a\q" | tojson }} {{ 'don\'t' }} {{ "tab\tnew\\n" }}
{{ dict(a=1, b="x") }} {{ dict(a=1).a }} {{ namespace(a=2).a }} {{ [1, 2, 3,] }} {{ (1) }} {{ ("a", "b",) }} {{ () }}
{{ messages[-1].content[0].text }} {{ messages[1]["content"] | trim | upper }} {{ messages[99] is defined }} {{ (messages | last).role }} {{ messages[0].content.nothing is defined }} {{ messages[3].content.sky }}
{{ 'a' + 'b' | upper }} {{ ('a' + 'b') | upper }} {{ -1 | abs }} {{ 1 ~ (2 + 3) }} {{ 1 ~ 2 * 3 }} {{ "x" ~ 1 + 2 if false else "y" }} {{ 10 - 2 - 3 }} {{ 2 * 3 % 4 }} {{ not 1 == 2 }} {{ 1 in [1] and 2 not in [1] }}
{{ (messages | selectattr("role", "equalto", "nobody")) is iterable }}{% if messages | selectattr("role", "equalto", "nobody") %}generators are true{% endif %}
""".strip("\n").split("\n")

SPACES = [
    "  {% if yes %}\n    a\n  {% endif %}\n  b\n",
    "a\n  {%- if yes %}  b  {%- endif %}\n\nc",
    "a {%- if yes -%}  \n b \n {%- endif -%} \n c",
    "a  {{ n }}  \n  {{- n }} \n {{ n -}} \n b",
    "{% if yes %}\n\n a{% endif %}\n\nb\n\n",
    "x\n  {# note #}\n  y\n {#- note -#} \n z {# n #} w",
    "\t{%+ if yes %}\n a\n{% endif +%}\nb",
    "{% for i in items %}\n  {{ i }}\n{% endfor %}\nend",
    "a {% if yes %} b {% endif %} c\n",
    "{{ n }}\n  {% set q = 1 %}\n  {{ q }}\n",
    "{% set q = 1 %}   {% set r = 2 %}\n{{ q }}\r\n{{ r }}\r",
    "  {% raw %}  \n  {{ x }}\n  {% endraw %}\n  z",
    "a\n  {%- raw -%}  {{ x }}  {%- endraw -%}  \nb",
    "{{- '  a' -}}  \n  {{- 'b  ' }}\n\n",
    "{%- for m in messages -%}\n  {{- m.role -}}\n  {%- if not loop.last %}, {% endif -%}\n{%- endfor -%}",
    "{%- macro m(x) -%}\n  [{{ x }}]\n{%- endmacro -%}\n\n{{ m(1) }}\n{{ m(2) }}",
    "\n\n{% if yes %}\n{% endif %}\n  \n  {% if yes %}x{% endif %}",
    "line\n    {% generation %}\n  g\n    {% endgeneration %}\n  end",
]

FAILURES = [
    "{{ missing.attribute }}", "{{ missing['x'] }}", "{{ map.zz.deeper }}", "{{ missing() }}", "{{ missing + 'a' }}", "{{ 'a' + missing }}",
    "{{ 'a' + 1 }}", "{{ nothing.x.y }}", "{{ 1 < 'a' }}", "{{ items + name }}", "{{ nothing + 'a' }}", "{{ 1 / 0 }}", "{{ name.foo() }}",
    "{{ items.append(4) }}", "{{ map.update({}) }}", "{{ map.pop('a') }}", "{% set map.x = 1 %}", "{{ missing | tojson }}", "{{ n | length }}",
    "{{ raise_exception('no') }}", "{% for i in n %}{% endfor %}", "{{ nothing | join }}", "{{ 5 in 'a' }}", "{{ n() }}", "{{ -missing }}",
    "{% for a, b in [(1, 2, 3)] %}{% endfor %}", "{{ [1, 'a'] | sort }}", "{{ -name }}", "{{ nothing | length }}", "{{ 'a' * 'b' }}",
    "{% if yes %}", "{{ name", "{% endif %}", "{{ 1 + }}", "{% if %}x{% endif %}", "{% for x %}{% endfor %}", "{{ 'open }}", "{# open", "{{ a b }}",
    "{% frobnicate %}", "{{ name | frobnicate }}", "{{ name is frobnicate }}", "{{ ) }}", "{{ (1 }}", "{% raw %}x", "{% macro %}{% endmacro %}", "{{ f(a=1, 2) }}",
    "{{ name.__class__.__mro__ }}", "{{ ''.__class__.__subclasses__() }}", "{% break %}",
]


def main():
    rendered = [{"template": t, "expected": environment.from_string(t).render(**VARIABLES)} for t in TEMPLATES + SPACES]
    for template in FAILURES:
        try:
            environment.from_string(template).render(**VARIABLES)
        except Exception:
            continue
        raise SystemExit(f"Jinja renders this after all: {template}")
    print(json.dumps({"variables": VARIABLES, "rendered": rendered, "failures": FAILURES}, ensure_ascii=False, indent=1))


main()
