import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { describe, test } from "node:test";
import { RaisedFault, TemplateFault, TemplateSyntaxFault } from "../../src/text/jinja/faults.js";
import { Program } from "../../src/text/jinja/program.js";

const folder = "test/fixtures/text/templates";

interface Outcome {
  readonly text?: string;
  readonly raises?: string;
  /** The exception of Python's where the template fails without saying why. */
  readonly fails?: string;
}

interface Chat {
  readonly messages: readonly unknown[];
  readonly tools?: readonly unknown[];
  readonly documents?: readonly unknown[];
  readonly kwargs?: Record<string, unknown>;
  readonly add_generation_prompt: boolean;
}

interface Rendered {
  readonly tokens: Record<string, string>;
  readonly chats: readonly Chat[];
  readonly styles: Record<string, readonly Outcome[]>;
}

interface Expressions {
  readonly variables: Record<string, unknown>;
  readonly rows: readonly (readonly [source: string, text?: string])[];
}

const readJson = <T>(name: string): T => JSON.parse(readFileSync(`${folder}/${name}`, "utf8"));

/** A text as it is, a refusal by the template's own words, any other fault alike. */
function outcomeOf(source: string, variables: Record<string, unknown>): Outcome {
  try {
    return { text: new Program(source).render(variables) };
  } catch (error) {
    if (error instanceof RaisedFault) return { raises: error.message };
    if (error instanceof TemplateFault || error instanceof TemplateSyntaxFault) return { fails: error.message };
    throw error;
  }
}

describe("templates in the style of every family are rendered as transformers renders them", () => {
  const { tokens, chats, styles } = readJson<Rendered>("rendered.json");
  for (const [name, outcomes] of Object.entries(styles)) {
    test(name, () => {
      const source = readFileSync(`${folder}/styles/${name}.jinja`, "utf8");
      for (const [i, { kwargs, ...chat }] of chats.entries()) {
        const variables = {
          ...tokens,
          ...kwargs,
          ...chat,
          tools: chat.tools ?? null,
          documents: chat.documents ?? null,
        };
        const found = outcomeOf(source, variables);
        const wanted = outcomes[i] ?? {};
        if (wanted.fails === undefined) assert.deepEqual(found, wanted, `chat ${i}`);
        else assert.ok(found.fails, `chat ${i} must fail, as with ${wanted.fails}: ${JSON.stringify(found)}`);
      }
    });
  }
  test("there are enough of them", () => assert.ok(Object.keys(styles).length >= 60 && chats.length >= 10));
});

test("expressions and statements have Jinja2's values, and fail where Jinja2 fails", () => {
  const { variables, rows } = readJson<Expressions>("expressions.json");
  const wrong: unknown[] = [];
  for (const [source, text] of rows) {
    const found = outcomeOf(source, variables);
    if (found.text !== text) wrong.push({ source, wanted: text ?? "a fault", found });
  }
  assert.deepEqual(wrong, []);
  assert.ok(rows.length > 1000);
});

describe("no template can hang the thread or exhaust memory", () => {
  const limits = { maxSteps: 20_000 };
  const hostile: Record<string, string> = {
    "loops in loops": "{% for a in range(9999) %}{% for b in range(9999) %}{% endfor %}{% endfor %}",
    "a text that doubles":
      "{% set ns = namespace(x='ab') %}{% for i in range(99) %}{% set ns.x = ns.x ~ ns.x %}{% endfor %}",
    "a list that doubles":
      "{% set ns = namespace(x=[1]) %}{% for i in range(99) %}{% set ns.x = ns.x + ns.x %}{% endfor %}",
    "a list of one list, printed":
      "{% set ns = namespace(x=[1]) %}{% for i in range(60) %}{% set ns.x = [ns.x, ns.x] %}{% endfor %}{{ ns.x }}",
    "a list of one list, compared":
      "{% set ns = namespace(x=[1], y=[1]) %}{% for i in range(60) %}{% set ns.x = [ns.x, ns.x] %}{% set ns.y = [ns.y, ns.y] %}{% endfor %}{{ ns.x == ns.y }}",
    "a list of one list, as JSON":
      "{% set ns = namespace(x=[1]) %}{% for i in range(60) %}{% set ns.x = [ns.x, ns.x] %}{% endfor %}{{ ns.x | tojson }}",
    "a repeated text": "{{ 'ab' * 999999999999 }}",
    "a repeated list": "{{ [1] * 999999999999 }}",
    "a huge power": "{{ 9 ** (9 ** 9) }}",
    "a shift by multiplication":
      "{% set ns = namespace(x=7) %}{% for i in range(99) %}{% set ns.x = ns.x * ns.x %}{% endfor %}",
    "a wide field": "{{ '%999999999d' % 1 }}",
    "a wide format": "{{ '{:>999999999}'.format(1) }}",
    "a long precision": "{{ '%.999999999f' % 1 }}",
    "a centered text": "{{ 'a'.center(999999999) }}",
    "an indentation": "{{ messages | tojson(indent=999999999) }}",
    tabs: "{{ '\\t'.expandtabs(999999999) }}",
    "a batch filled up": "{{ [1] | batch(999999999, 0) | list }}",
    "many slices": "{{ [1] | slice(999999999) | list | length }}",
    "a replacement": "{% set a = 'a' * 1000 %}{{ a | replace('a', a) | replace('a', a) }}",
    "a join": "{% set a = 'a' * 1500 %}{{ a.join(a) | length }}",
    "a macro that calls itself": "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
    "a loop that calls itself": "{% for x in [1] recursive %}{{ loop([1]) }}{% endfor %}",
    "a value inside itself": "{% set ns = namespace() %}{% set ns.x = ns %}{{ ns }}",
    "a long output": "{% for i in range(9999) %}{{ 'a' * 999 }}{% endfor %}",
    parentheses: `{{ ${"(".repeat(5000)}1${")".repeat(5000)} }}`,
    "minus signs": `{{ ${"- ".repeat(5000)}1 }}`,
    "a chain of sums": `{{ ${"1 + ".repeat(50_000)}1 }}`,
    "a chain of filters": `{{ 1 ${"| string ".repeat(50_000)} }}`,
    "ifs in ifs": "{% if true %}".repeat(5000),
    "lists in lists": `{{ ${"[".repeat(5000)}${"]".repeat(5000)} }}`,
  };
  for (const [name, source] of Object.entries(hostile)) {
    test(name, () => {
      const found = (() => {
        try {
          return new Program(source).render({ messages: [{ role: "user", content: "Hi" }] }, limits);
        } catch (error) {
          return error;
        }
      })();
      assert.ok(found instanceof TemplateFault || found instanceof TemplateSyntaxFault, String(found).slice(0, 200));
    });
  }

  test("a value nested too deep is refused", () => {
    let value: unknown = 1;
    for (let i = 0; i < 5000; i++) value = [value];
    assert.throws(() => new Program("{{ x }}").render({ x: value }), { kind: "LimitError" });
  });

  test("each rendering has its own budget", () => {
    const program = new Program("{% for i in range(900) %}{{ i }}{% endfor %}");
    for (let i = 0; i < 20; i++) assert.equal(program.render({}, { maxSteps: 9000 }).length, 2590);
  });
});

describe("an error says what is wrong, and where", () => {
  const fails = (source: string, message: RegExp) =>
    assert.match(outcomeOf(source, { messages: [] }).fails ?? "no fault", message, source);

  test("syntax", () => {
    fails("a\n{{ 1 +", /^line 2: expected an expression, found the end of the template$/);
    fails("a\n\n{% nope %}", /^line 3: unknown tag "nope"$/);
    fails("{% for x in y %}\n{% endif %}", /^line 2: unknown tag "endif"; expected \{% endfor %\} or \{% else %\}$/);
    fails("{% if x %}", /unexpected end of the template, expected \{% elif %\} or \{% else %\} or \{% endif %\}/);
    fails("{{ x | nope }}", /^line 1: there is no filter named "nope"$/);
    fails("{{ x is nope }}", /there is no test named "nope"/);
    fails("{{ x | urlize }}", /the filter "urlize" is not supported/);
    fails("{{ [1) }}", /unexpected "\)", expected "\]"/);
  });

  test("rendering", () => {
    fails("{{ x.y }}", /^'x' is undefined$/);
    fails("{{ messages[0].content.x }}", /'list object' has no element 0/);
    fails("{{ {'a': 1}.b.c }}", /'dict object' has no attribute 'b'/);
    fails("{% include 'other' %}", /\{% include %\} is not supported/);
    fails("{{ 1 + 'a' }}", /unsupported operand type\(s\) for \+: 'int' and 'str'/);
    fails("{% set x = [] %}{{ x.append(1) }}", /access to attribute 'append' of 'list' object is unsafe/);
  });
});

test("a program keeps nothing from one rendering to the next", () => {
  const program = new Program(
    "{{ x is defined }}{% set x = 1 %}{% set ns = namespace(n=0) %}{% set ns.n = ns.n + 1 %}{{ ns.n }}",
  );
  assert.equal(program.render({}) + program.render({}), "False1False1");
});

test("variables cannot access JavaScript's members", () => {
  for (const name of ["constructor", "toString", "__proto__", "hasOwnProperty", "valueOf"]) {
    assert.equal(new Program(`{{ ${name} is defined }}`).render({ messages: [] }), "False", name);
    for (const value of ["messages", "'a'", "{}", "1", "namespace()", "range(3)", "messages.items", "none"]) {
      assert.equal(
        new Program(`{{ ${value}.${name} is defined }}`).render({ messages: {} }),
        "False",
        `${value}.${name}`,
      );
    }
    assert.equal(new Program(`{{ {'${name}': 1}.${name} }}`).render({}), "1");
  }
  assert.throws(() => new Program("{{ 'a' | constructor }}"), TemplateSyntaxFault);
  assert.throws(() => new Program("{{ 'a' is toString }}"), TemplateSyntaxFault);
});
