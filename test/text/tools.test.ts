/** Calls and reasoning in answers: every format whole, cut anywhere and malformed, and what its template renders. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { describe, test } from "node:test";
import fc from "fast-check";
import { compileTemplate } from "../../src/text/chat/template.js";
import { type CallOptions, CallScanner, type OutputPiece } from "../../src/text/tools/call-scanner.js";
import { ChatOutput } from "../../src/text/tools/chat-output.js";
import { callFormatNamed, callFormatNames, detectCallFormat } from "../../src/text/tools/formats/registry.js";
import { detectReasoningFormat, opensReasoning, reasoningFormatNamed } from "../../src/text/tools/reasoning.js";
import { joinCalls, type Tool, templateTool } from "../../src/text/tools/types.js";
import type { ChatMessage } from "../../src/text/types.js";

const tools: readonly Tool[] = [
  {
    name: "weather",
    description: "The weather of a city.",
    parameters: {
      type: "object",
      properties: { city: { type: "string" }, days: { type: "integer" }, hourly: { type: "boolean" } },
      required: ["city"],
    },
    strict: false,
  },
  { name: "now", description: null, parameters: null, strict: false },
];

interface Found {
  readonly text: string;
  readonly calls: readonly (readonly [string, string])[];
}

function found(pieces: readonly OutputPiece[]): Found {
  const calls = joinCalls(pieces.flatMap((piece) => (piece.kind === "call" ? [piece.delta] : [])));
  return {
    text: pieces.map((piece) => (piece.kind === "text" ? piece.text : "")).join(""),
    calls: calls.map((call) => [call.name, call.arguments]),
  };
}

function scan(name: string, parts: readonly string[], options: Partial<CallOptions> = {}): Found {
  const format = callFormatNamed(name);
  assert.ok(format);
  const scanner = new CallScanner({ format, tools, parallel: true, isHeld: false, ...options });
  return found([...parts.flatMap((part) => scanner.push(part)), ...scanner.finish()]);
}

const letters = (text: string): string[] => Array.from(text);

const paris = ["weather", '{"city": "Paris"}'] as const;
const now = ["now", "{}"] as const;

interface Example {
  readonly says: string;
  readonly text?: string;
  readonly calls?: Found["calls"];
}

/** Answers of each format, and what is in them. */
const examples: Readonly<Record<string, readonly Example[]>> = {
  hermes: [
    { says: '<tool_call>\n{"name": "weather", "arguments": {"city": "Paris"}}\n</tool_call>', calls: [paris] },
    {
      says: 'Let me see.\n<tool_call>{"arguments":{"city": "Paris"},"name":"weather"}</tool_call>\n<tool_call>{"name":"now","arguments":{}}</tool_call>\n',
      text: "Let me see.",
      calls: [paris, now],
    },
    { says: '<tool_call>{"name": "now", "arguments": "{}"}</tool_call>', calls: [now] },
    {
      says: '<tool_call>{"name": "weather", "arguments": {"city": "a </tool_call> \\" {[é😀\\u00e9", "days": -1.5e3}}</tool_call> Done.',
      text: " Done.",
      calls: [["weather", '{"city": "a </tool_call> \\" {[é😀\\u00e9", "days": -1.5e3}']],
    },
    { says: '<tool_call>{"name": "unknown", "arguments": {}}</tool_call>', calls: [["unknown", "{}"]] },
    ...[
      '<tool_call>{"name": "weather", "arguments": {"city": "Paris"}}',
      '<tool_call>{"name": "weather", "arguments": {"city": Paris}}</tool_call>',
      '<tool_call>{"name": "weather", "arguments": {"city": "Paris"}</tool_call>',
      '<tool_call>{"name": "weather", "arguments": {"city": "two\nlines"}}</tool_call>',
      '<tool_call>{"name": "weather", "arguments": ["Paris"]}</tool_call>',
      '<tool_call>{"name": "weather", "arguments": "Paris"}</tool_call>',
      '<tool_call>{"name": "weather"}</tool_call>',
      '<tool_call>{"name": "", "arguments": {}}</tool_call>',
      '<tool_call>{"name": 7, "arguments": {}}</tool_call>',
      '<tool_call>{"name": "a", "name": "b", "arguments": {}}</tool_call>',
      '<tool_call>{"arguments": {"days": 01}, "name": "a"}</tool_call>',
      '<tool_call>{"name": "a", "arguments": {"b": [1,]}}</tool_call>',
      '<tool_call>{"name": "a", "arguments": {"b": "\\x"}}</tool_call>',
      "<tool_call>weather</tool_call> <tool_cal",
      "a < b <tool",
    ].map((says) => ({ says, text: says })),
    {
      says: '<tool_call>oops <tool_call>{"name": "now", "arguments": {}}</tool_call>',
      text: "<tool_call>oops",
      calls: [now],
    },
    {
      says: '<tool_call><tool_call>{"name": "now", "arguments": {}}</tool_call>',
      text: "<tool_call>",
      calls: [now],
    },
  ],
  smollm3: [{ says: '<tool_call>{"name": "now", "arguments": {}}</tool_call>', calls: [now] }],
  qwen3_coder: [
    {
      says: "<tool_call>\n<function=weather>\n<parameter=city>\nSão\nPaulo\n</parameter>\n<parameter=days>\n3\n</parameter>\n<parameter=hourly>\ntrue\n</parameter>\n</function>\n</tool_call>",
      calls: [["weather", '{"city": "São\\nPaulo", "days": 3, "hourly": true}']],
    },
    { says: "<tool_call><function=now></function></tool_call>", calls: [now] },
    {
      says: "<tool_call><function=weather><parameter=city>12</parameter><parameter=days>a few</parameter></function></tool_call>",
      calls: [["weather", '{"city": "12", "days": "a few"}']],
    },
    ...[
      "<tool_call><function=weather><parameter=city>Paris</parameter>",
      "<tool_call><function=></function></tool_call>",
      "<tool_call><function=weather><parameter=a>1</parameter><parameter=a>2</parameter></function></tool_call>",
    ].map((says) => ({ says, text: says })),
  ],
  llama3_json: [
    { says: '{"name": "weather", "parameters": {"city": "Paris"}}', calls: [paris] },
    { says: '<|python_tag|>{"name": "weather", "parameters": {"city": "Paris"}}', calls: [paris] },
    {
      says: ' {"name": "weather", "parameters": {"city": "Paris"}}; {"name": "now", "parameters": {}}',
      calls: [paris, now],
    },
    ...[
      '{"name": "weather", "parameters": {"city": "Paris"}',
      '{"name": "Ada", "parameters": {}}',
      '{"city": "Paris"}',
      'See {"name": "now", "parameters": {}}',
      '<|python_tag|>print("hello")',
    ].map((says) => ({ says, text: says })),
  ],
  mistral: [
    { says: '[TOOL_CALLS] [{"name": "weather", "arguments": {"city": "Paris"}, "id": "abcdefghi"}]', calls: [paris] },
    {
      says: '[TOOL_CALLS][{"name": "weather", "arguments": {"city": "Paris"}}, {"name": "now", "arguments": {}}]',
      calls: [paris, now],
    },
    {
      says: 'Yes.[TOOL_CALLS]weather[ARGS]{"city": "Paris"}[TOOL_CALLS]now[CALL_ID]abcdefghi[ARGS]{}',
      text: "Yes.",
      calls: [paris, now],
    },
    { says: '[TOOL_CALLS]weather{"city": "Paris"}', calls: [paris] },
    ...[
      "[TOOL_CALLS] []",
      '[TOOL_CALLS] [{"name": "weather"}]',
      "[TOOL_CALLS]weather[ARGS]Paris",
      '[TOOL_CALLS]weather[ARGS]{"city": "Paris"',
      "[TOOL_CALL",
    ].map((says) => ({ says, text: says })),
  ],
  granite: [
    { says: '<|tool_call|>[{"name": "weather", "arguments": {"city": "Paris"}}]', calls: [paris] },
    {
      says: '<|tool_call|> [{"name": "weather", "arguments": {"city": "Paris"}}, {"name": "now", "arguments": {}}]\n',
      calls: [paris, now],
    },
    ...['<|tool_call|>{"name": "now", "arguments": {}}', '<|tool_call|>[{"name": "now", "arguments": {]'].map(
      (says) => ({
        says,
        text: says,
      }),
    ),
  ],
  phi4_mini_json: [
    { says: '<|tool_call|>[{"name": "weather", "arguments": {"city": "Paris"}}]<|/tool_call|>', calls: [paris] },
    { says: 'functools[{"name": "now", "arguments": {}}]', calls: [now] },
    { says: '<|tool_call|>[{"type": "function", "name": "now", "parameters": {}}]<|/tool_call|>', calls: [now] },
    { says: "python has functools and more", text: "python has functools and more" },
    { says: "<|tool_call|>[]<|/tool_call|>", text: "<|tool_call|>[]<|/tool_call|>" },
  ],
  functiongemma: [
    {
      says: "<start_function_call>call:weather{city:<escape>Paris<escape>,days:3,hourly:true}<end_function_call>",
      calls: [["weather", '{"city":"Paris","days":3,"hourly":true}']],
    },
    {
      says: '<start_function_call>call:now{}<end_function_call><start_function_call>call:weather{city:<escape>a "<b<escape>,more:{list:[1,[],<escape><escape>],none:null}}<end_function_call>',
      calls: [now, ["weather", '{"city":"a \\"<b","more":{"list":[1,[],""],"none":null}}']],
    },
    ...[
      "<start_function_call>call:weather{city:<escape>Paris<escape>}",
      "<start_function_call>call:weather{city:Paris}<end_function_call>",
      "<start_function_call>call:{}<end_function_call>",
      "<start_function_call>weather{}<end_function_call>",
    ].map((says) => ({ says, text: says })),
  ],
};

test("every format has examples", () => {
  assert.deepEqual(Object.keys(examples).sort(), [...callFormatNames].sort());
});

for (const [name, answers] of Object.entries(examples)) {
  describe(`answers in the format ${name}`, () => {
    for (const { says, text = "", calls = [] } of answers) {
      test(JSON.stringify(says.slice(0, 100)), () => {
        assert.deepEqual(scan(name, [says]), { text, calls }, "whole");
        assert.deepEqual(scan(name, letters(says)), { text, calls }, "letter by letter");
        for (let cut = 1; cut < says.length; cut++) {
          assert.deepEqual(scan(name, [says.slice(0, cut), says.slice(cut)]), { text, calls }, `cut at ${cut}`);
        }
      });
    }
  });
}

test("whatever a model writes, how it is cut changes nothing, and text that is not a call is not lost", () => {
  const fragments = [
    ...[
      "<tool_call>",
      "</tool_call>",
      "[TOOL_CALLS]",
      "[ARGS]",
      "[CALL_ID]",
      "<|tool_call|>",
      "<|/tool_call|>",
      "functools",
    ],
    ...[
      "<|python_tag|>",
      "<start_function_call>",
      "call:",
      "<end_function_call>",
      "<escape>",
      "<function=now>",
      "</function>",
    ],
    ...[
      "<parameter=city>",
      "</parameter>",
      '{"name": "now", "arguments": ',
      '"parameters": {}',
      "{}",
      "}",
      "{",
      "[",
      "]",
      ",",
      ";",
    ],
    ...["weather", "now", '"', ":", " ", "\n", "é", "😀", "x", "1", "\\", "null"],
  ];
  const texts = fc.array(fc.constantFrom(...fragments), { maxLength: 12 }).map((parts) => parts.join(""));
  for (const name of callFormatNames) {
    fc.assert(
      fc.property(texts, fc.array(fc.nat(100), { maxLength: 4 }), (text, cuts) => {
        const whole = scan(name, [text]);
        assert.deepEqual(scan(name, letters(text)), whole);
        const places = [...new Set([0, ...cuts.map((cut) => Math.min(cut, text.length)), text.length])].sort(
          (a, b) => a - b,
        );
        const parts = places.slice(1).map((place, i) => text.slice(places[i], place));
        assert.deepEqual(scan(name, parts), whole);
        for (const [, json] of whole.calls) assert.ok(typeof JSON.parse(json) === "object");
        if (whole.calls.length === 0) assert.equal(whole.text, text);
      }),
      { numRuns: 150 },
    );
  }
});

describe("calls in a stream", () => {
  const says = '<tool_call>{"name": "weather", "arguments": {"city": "Paris"}}</tool_call>';
  const deltas = (isHeld: boolean, text = says) => {
    const format = callFormatNamed("hermes");
    assert.ok(format);
    const scanner = new CallScanner({ format, tools, parallel: true, isHeld });
    return [...letters(text).map((letter) => scanner.push(letter)), scanner.finish()];
  };

  test("come once the call is whole: the name first, then the arguments in the pieces in which they came", () => {
    const pieces = deltas(false);
    assert.equal(
      pieces.findIndex((each) => each.length > 0),
      says.length - 1,
      "nothing before the end tag",
    );
    const [first, ...others] = pieces.flat();
    assert.ok(first?.kind === "call" && first.delta.begin?.name === "weather" && first.delta.arguments === "");
    assert.match(first.delta.begin.id, /^call_[0-9a-f]{24}$/);
    const args = others.map((piece) =>
      piece.kind === "call" && piece.delta.begin === null ? piece.delta.arguments : "?",
    );
    assert.deepEqual(args, letters('{"city": "Paris"}'));
  });

  test("come while they are written where a grammar holds them, and a cut one stays unfinished", () => {
    const pieces = deltas(true);
    assert.equal(
      pieces.findIndex((each) => each.length > 0),
      says.indexOf(","),
      "the name, once the comma is read",
    );
    assert.deepEqual(found(pieces.flat()), { text: "", calls: [paris] });
    const cut = deltas(true, says.slice(0, says.indexOf("ris"))).flat();
    assert.deepEqual(found(cut), { text: "", calls: [["weather", '{"city": "Pa']] });
  });

  test("leave no markup behind where an answer that had to call is cut", () => {
    for (let end = 1; end < says.length; end++) {
      for (const before of ["", `${says}\n`]) {
        const cut = scan("hermes", [before, says.slice(0, end)], { isHeld: true, isForced: true });
        assert.equal(cut.text, "", `cut at ${end}`);
      }
    }
    assert.equal(scan("hermes", ["2 <tool"], { isHeld: true }).text, "2 <tool", "text of an answer that may call");
  });

  test("end with the first one where only one is allowed", () => {
    const one = { parallel: false };
    assert.deepEqual(scan("hermes", [`${says}${says} and so on`], one), { text: "", calls: [paris] });
    const list = '[TOOL_CALLS][{"name": "now", "arguments": {}}, {"name": "now", "arguments": {}}]';
    assert.deepEqual(scan("mistral", [list], one).calls, [now]);
  });

  test("have ids of nine letters and digits for Mistral", () => {
    assert.match(callFormatNamed("mistral")?.newId() ?? "", /^[0-9A-Za-z]{9}$/);
  });
});

const files = [...callFormatNames, "mistral-list"];

describe("templates", () => {
  for (const file of files) {
    test(`the format of ${file}.jinja is found, and calls that it renders are read again`, () => {
      const text = readFileSync(`test/fixtures/tools/${file}.jinja`, "utf8");
      const name = file.replace("-list", "");
      assert.equal(detectCallFormat(text)?.name, name);
      const render = compileTemplate({ text, origin: file }, new Map());
      const options = { tools: tools.map(templateTool) };
      const user: ChatMessage = { role: "user", content: "How is it?" };
      const calls = [
        { id: "abcdefghi", name: "weather", arguments: '{"city":"São \\"P\\"","days":2}' },
        ...(name === "llama3_json" || name === "mistral" ? [] : [{ id: "abcdefghj", name: "now", arguments: "{}" }]),
      ];
      const assistant: ChatMessage = { role: "assistant", content: "", toolCalls: calls };
      const prompt = render([user], true, options);
      const whole = render([user, assistant], false, options);
      assert.ok(prompt.includes("weather") && !render([user], true).includes("weather"), "it shows the tools");
      const begin = whole.startsWith(prompt) ? prompt.length : whole.indexOf("[/INST]");
      const said = scan(name, [whole.slice(begin)]);
      assert.deepEqual(
        said.calls.map(([called, json]) => [called, JSON.parse(json)]),
        calls.map((call) => [call.name, JSON.parse(call.arguments)]),
      );
      const result: ChatMessage = { role: "tool", content: "21 degrees", toolCallId: "abcdefghi", name: "weather" };
      assert.match(render([user, assistant, result], true, options), /21 degrees/);
    });
  }

  test("a template of no known format has none", () => {
    assert.equal(detectCallFormat("{{ messages }} {{ tools }}"), null);
    assert.equal(detectReasoningFormat("{{ messages }}"), null);
    assert.equal(detectReasoningFormat("{{ content.split('</think>') }}")?.name, "qwen3");
    assert.equal(detectReasoningFormat("[THINK]{{ reasoning }}[/THINK]")?.name, "mistral");
  });
});

describe("reasoning", () => {
  const split = (parts: readonly string[], { isOpen = false, name = "qwen3" } = {}) => {
    const format = reasoningFormatNamed(name);
    const calls = callFormatNamed("hermes");
    assert.ok(format && calls);
    const output = new ChatOutput({
      reasoning: { format, isOpen },
      calls: { format: calls, tools, parallel: true, isHeld: false },
    });
    const pieces = [...parts.flatMap((part) => output.push(part)), ...output.finish()];
    const reasoning = pieces.map((piece) => (piece.kind === "reasoning" ? piece.text : "")).join("");
    return [
      reasoning,
      found(pieces).text,
      found(pieces)
        .calls.map(([name]) => name)
        .join(),
    ];
  };
  const call = '<tool_call>{"name": "now", "arguments": {}}</tool_call>';
  const cases: readonly (readonly [string, boolean, readonly [string, string, string]])[] = [
    ["<think>\nLet me see.\n\nYes.\n</think>\n\nIt is.", false, ["Let me see.\n\nYes.", "It is.", ""]],
    ["Let me see.\n</think>\n\nIt is. ", true, ["Let me see.", "It is. ", ""]],
    ["<think>Yes</think>no", true, ["Yes", "no", ""]],
    ["\n<think></think>It is.", false, ["", "It is.", ""]],
    ["It is <think>not</think>.", false, ["", "It is <think>not</think>.", ""]],
    [" It is.", false, ["", " It is.", ""]],
    ["<think>Never done </thin", false, ["Never done </thin", "", ""]],
    [`<think>Not ${call} yet</think>\n${call}`, false, [`Not ${call} yet`, "", "now"]],
    ["<thin", false, ["", "<thin", ""]],
    ["  ", true, ["", "", ""]],
  ];
  for (const [says, isOpen, expected] of cases) {
    test(JSON.stringify(says.slice(0, 60)), () => {
      assert.deepEqual(split([says], { isOpen }), expected);
      assert.deepEqual(split(letters(says), { isOpen }), expected);
      for (let cut = 1; cut < says.length; cut++) {
        assert.deepEqual(split([says.slice(0, cut), says.slice(cut)], { isOpen }), expected, `cut at ${cut}`);
      }
    });
  }

  test("is open where the prompt or the continued message has opened it", () => {
    const [qwen, deepseek] = [reasoningFormatNamed("qwen3"), reasoningFormatNamed("deepseek_r1")];
    assert.ok(qwen && deepseek);
    assert.equal(opensReasoning(qwen, "<|assistant|>\n<think>\n", null), true);
    assert.equal(opensReasoning(qwen, "<|assistant|>\n<think>\n\n</think>\n\n", null), false);
    assert.equal(opensReasoning(qwen, "what is <think> for?<|assistant|>\n", null), false);
    assert.equal(opensReasoning(qwen, "", "<think>Well"), true);
    assert.equal(opensReasoning(qwen, "", "<think>Well</think>So"), false);
    assert.equal(opensReasoning(deepseek, "<|assistant|>", null), true);
    assert.equal(opensReasoning(deepseek, "<|assistant|><think></think>", null), false);
  });
});
