/** Tools and reasoning in chats over a fake engine: what the model is shown, and what its answers become, whole and streamed. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { describe, test } from "node:test";
import { LorikeetError } from "../../src/base/errors.js";
import type { AnswerChunk, ChatChoice, ChatChunkChoice, WholeAnswer } from "../../src/gateway/openai/serialize.js";
import { byteTokenizer, eosId } from "../support/byte-tokenizer.js";
import { openRig, type Rig, type RigOptions } from "../support/rig.js";

const never = new AbortController().signal;
const bytes = (text: string): number[] => [...Buffer.from(text)];
const template = readFileSync("test/fixtures/tools/hermes.jinja", "utf8");
const thinking = "{{ messages[-1].content }}{{ reasoning_effort }}{% if not quiet %}<think>\n{% endif %}{# </think> #}";

function saying(text: string | readonly string[], chatTemplate = template, gateway: RigOptions["gateway"] = {}) {
  let next = 0;
  const texts = [text].flat();
  const answer = () => [...bytes(texts[next++ % texts.length] ?? ""), eosId];
  const limits = { maxContext: 4096 };
  return openRig({ script: { answer, limits }, tokenizer: byteTokenizer({ chatTemplate }), gateway });
}

const weather = {
  type: "function",
  function: {
    name: "weather",
    description: "The weather of a city.",
    parameters: { type: "object", properties: { city: { type: "string" } }, required: ["city"] },
  },
};
const messages = [{ role: "user", content: "How is it in Paris?" }];
const call = '<tool_call>\n{"name": "weather", "arguments": {"city": "Paris"}}\n</tool_call>';

async function whole(rig: Rig, body: object): Promise<{ answer: WholeAnswer; choice: ChatChoice }> {
  const answer = await (await rig.chat({ messages, tools: [weather], max_tokens: 500, ...body }, never)).whole();
  const [choice] = answer.choices;
  assert.ok(choice && "message" in choice);
  return { answer, choice };
}

async function deltas(rig: Rig, body: object): Promise<ChatChunkChoice[]> {
  const answer = await rig.chat({ messages, tools: [weather], max_tokens: 500, stream: true, ...body }, never);
  const chunks: AnswerChunk[] = [];
  for await (const frame of answer.frames()) if (frame.type === "chunk") chunks.push(frame.data);
  return chunks.flatMap(({ choices }) => choices.flatMap((choice) => ("delta" in choice ? [choice] : [])));
}

/** Streamed choices put together as clients do. */
function assembled(choices: readonly ChatChunkChoice[]) {
  const calls = new Map<number, { id: string; name: string; arguments: string }>();
  for (const delta of choices.flatMap(({ delta }) => delta.tool_calls ?? [])) {
    if (delta.id !== undefined) {
      assert.ok(!calls.has(delta.index) && delta.type === "function", "the first delta of a call alone has its id");
      calls.set(delta.index, { id: delta.id, name: delta.function.name ?? "", arguments: "" });
    }
    const known = calls.get(delta.index);
    assert.ok(known);
    known.arguments += delta.function.arguments;
  }
  return {
    content: choices.map(({ delta }) => delta.content ?? "").join(""),
    reasoning: choices.map(({ delta }) => delta.reasoning_content ?? "").join(""),
    calls: [...calls.values()].map((each) => [each.name, each.arguments]),
    finish: choices.at(-1)?.finish_reason,
  };
}

async function refusal(promise: Promise<unknown>): Promise<LorikeetError> {
  const error = await promise.then(
    () => null,
    (fault: unknown) => fault,
  );
  assert.ok(error instanceof LorikeetError, `refused with a LorikeetError, not ${String(error)}`);
  return error;
}

/** The prompt of the last request. */
const promptOf = (rig: Rig): string => Buffer.from(rig.engine.sequences.at(-1)?.request.promptIds ?? []).toString();

describe("calls", () => {
  test("are split from the text, whole and streamed, with the finish reason tool_calls", async () => {
    await using rig = await saying(`Let me see.\n${call}`);
    const { choice } = await whole(rig, {});
    const { message } = choice;
    assert.equal(message.content, "Let me see.");
    assert.equal(choice.finish_reason, "tool_calls");
    const [made] = message.tool_calls ?? [];
    assert.match(made?.id ?? "", /^call_/);
    assert.deepEqual(
      { ...made, id: "" },
      { id: "", type: "function", function: { name: "weather", arguments: '{"city": "Paris"}' } },
    );
    assert.deepEqual(assembled(await deltas(rig, {})), {
      content: "Let me see.",
      reasoning: "",
      calls: [["weather", '{"city": "Paris"}']],
      finish: "tool_calls",
    });
  });

  test("alone leave the content null; a malformed one is content", async () => {
    await using rig = await saying([call, "<tool_call>weather</tool_call>"]);
    assert.equal((await whole(rig, {})).choice.message.content, null);
    const { choice } = await whole(rig, {});
    assert.deepEqual(
      [choice.message.content, choice.message.tool_calls],
      ["<tool_call>weather</tool_call>", undefined],
    );
    assert.equal(choice.finish_reason, "stop");
  });

  test("of several choices are each choice's own", async () => {
    await using rig = await saying([call, "No.", call + call]);
    const { answer } = await whole(rig, { n: 3 });
    const counts = answer.choices.map((choice) =>
      "message" in choice ? (choice.message.tool_calls ?? []).length : -1,
    );
    assert.deepEqual(counts, [1, 0, 2]);
    assert.deepEqual(
      answer.choices.map((choice) => choice.finish_reason),
      ["tool_calls", "stop", "tool_calls"],
    );
  });

  test("end the answer after the first where parallel_tool_calls is false", async () => {
    await using rig = await saying(`${call}${call} and more`);
    const { choice } = await whole(rig, { parallel_tool_calls: false });
    assert.equal(choice.message.tool_calls?.length, 1);
    assert.equal(choice.message.content, null);
    assert.equal(rig.engine.sequences.at(-1)?.endings.includes("stop"), true);
  });

  test("are text with tool_choice none, and the model does not see the tools", async () => {
    await using rig = await saying(call);
    assert.equal((await whole(rig, { tool_choice: "none" })).choice.message.content, call);
    assert.ok(!promptOf(rig).includes("weather"));
    await whole(rig, {});
    assert.match(promptOf(rig), /"name": "weather", "description": "The weather of a city\.", "parameters": \{/);
  });

  test("of a set of allowed tools are the only ones that the model sees and may be forced to make", async () => {
    const named = (name: string) => ({ type: "function", function: { name } });
    const other = { ...weather, function: { ...weather.function, name: "other" } };
    const allowing = (mode: string, ...names: string[]) => ({
      tools: [weather, other],
      tool_choice: { type: "allowed_tools", allowed_tools: { mode, tools: names.map(named) } },
    });
    await using rig = await saying(call);
    const { choice } = await whole(rig, allowing("auto", "weather"));
    assert.deepEqual([choice.finish_reason, choice.message.tool_calls?.[0]?.function.name], ["tool_calls", "weather"]);
    assert.match(promptOf(rig), /"name": "weather"/);
    assert.ok(!promptOf(rig).includes('"name": "other"'));
    await whole(rig, allowing("required", "weather", "other"));
    assert.match(promptOf(rig), /"name": "other"/);
    for (const [body, found] of [
      [allowing("auto", "third"), /one of the `tools`/],
      [allowing("none", "weather"), /auto or required as `mode` of its allowed tools; found "none"/],
      [allowing("auto"), /at least one function/],
      [{ ...allowing("auto", "weather"), tools: [] }, /needs `tools`/],
      [{ tool_choice: { type: "allowed_tools" } }, /"allowed_tools" as `type`/],
    ] as const) {
      assert.match((await refusal(whole(rig, body))).message, found);
    }
  });

  test("that a stop string or the length cuts are text", async () => {
    await using rig = await saying(call);
    const { choice } = await whole(rig, { stop: "Paris" });
    assert.deepEqual([choice.message.content, choice.finish_reason], [call.slice(0, call.indexOf("Paris")), "stop"]);
    assert.equal((await whole(rig, { max_tokens: 20 })).choice.finish_reason, "length");
  });

  test("keep their tokens' log-probabilities", async () => {
    await using rig = await saying(call);
    const { choice } = await whole(rig, { logprobs: true });
    assert.equal([...(choice.logprobs?.content ?? [])].length, bytes(call).length);
    const streamed = await deltas(rig, { logprobs: true });
    assert.equal(streamed.flatMap(({ logprobs }) => [...(logprobs?.content ?? [])]).length, bytes(call).length);
  });
});

describe("earlier calls and results", () => {
  const history = [
    ...messages,
    {
      role: "assistant",
      content: null,
      tool_calls: [{ id: "c1", type: "function", function: { name: "weather", arguments: '{"city":"Paris"}' } }],
    },
    { role: "tool", tool_call_id: "c1", content: [{ type: "text", text: "21 degrees" }] },
  ];

  test("go through the chat template, with the arguments as an object", async () => {
    await using rig = await saying("Fine.");
    await whole(rig, { messages: history });
    assert.match(
      promptOf(rig),
      /<tool_call>\n\{"name": "weather", "arguments": \{"city": "Paris"\}\}\n<\/tool_call><\|end\|>\n<\|tool\|>\n21 degrees/,
    );
  });

  test("the function of a result is its name, where the message gives none", async () => {
    await using rig = await saying(
      "Fine.",
      "{{ messages[2].name }}|{{ tools }}{{ messages[1].tool_calls }}<tool_call>",
    );
    await whole(rig, { messages: history });
    assert.match(promptOf(rig), /^weather\|/);
  });

  test("malformed ones are refused with what is wrong and where", async () => {
    await using rig = await saying("x");
    const calls = (tool_calls: unknown) => ({
      messages: [{ role: "assistant", content: null, tool_calls }, ...messages],
    });
    const one = (fields: object) =>
      calls([{ id: "c", type: "function", function: { name: "f", arguments: "{}", ...fields } }]);
    for (const [body, found] of [
      [one({ arguments: "[1]" }), /JSON text of an object.*`arguments` at `tool_calls\[0\]`/],
      [one({ arguments: "{" }), /a string of 1 character as `arguments`/],
      [one({ arguments: { city: "Paris" } }), /an object as `arguments`/],
      [one({ arguments: `${'{"a":'.repeat(80)}1${"}".repeat(80)}` }), /nested at most 64/],
      [one({ name: "" }), /as `name`/],
      [calls([{ id: "", function: {} }]), /as `id`/],
      [calls([{ id: "c", type: "custom" }]), /"custom" as `type`/],
      [calls("x"), /as `tool_calls`/],
      [{ messages: [{ role: "tool", content: "x" }] }, /`tool_call_id`/],
      [{ messages: [{ role: "user", content: "x", tool_call_id: "c" }] }, /`tool_call_id`, which is not supported/],
      [{ messages: [{ role: "assistant", content: null }] }, /null as `content`/],
    ] as const) {
      const error = await refusal(whole(rig, body));
      assert.deepEqual([error.code, error.param], ["invalid_value", "messages[0]"]);
      assert.match(error.message, found);
    }
  });
});

describe("requests for tools", () => {
  test("that are malformed are refused by what is wrong", async () => {
    await using rig = await saying("x");
    const tool = (fields: object) => ({ tools: [{ type: "function", function: { name: "f", ...fields } }] });
    for (const [body, param, found] of [
      [{ tools: {} }, "tools", /a list of up to 128/],
      [{ tools: [{ type: "web_search" }] }, "tools", /"web_search" as `type` at position 0/],
      [tool({ name: "a b" }), "tools", /as `name` at position 0/],
      [tool({ parameters: [] }), "tools", /as `parameters`/],
      [tool({ strict: 1 }), "tools", /1 as `strict`/],
      [tool({ deferred: true }), "tools", /`deferred`, which is not supported/],
      [{ tools: [weather, weather] }, "tools", /two functions of one name.*position 1/],
      [{ tool_choice: "any" }, "tool_choice", /"any"/],
      [{ tool_choice: { type: "function", function: { name: "other" } } }, "tool_choice", /one of the `tools`/],
      [{ tool_choice: { type: "function" } }, "tool_choice", /nothing as `function`/],
      [{ tools: [], tool_choice: "required" }, "tool_choice", /needs `tools`/],
      [{ parallel_tool_calls: "yes" }, "parallel_tool_calls", /true or false/],
      [{ functions: [weather] }, "functions", /empty list/],
    ] as const) {
      const error = await refusal(whole(rig, body));
      assert.equal(error.param, param, error.message);
      assert.match(error.message, found);
    }
  });

  test("are refused where the template drops tools, or writes calls in an unknown way", async () => {
    for (const [chatTemplate, body, param, found] of [
      ["{{ messages[0].content }}", {}, "tools", /does not render `tools`/],
      ["{{ messages[0].content }}{{ tools }}", {}, "tools", /--tool-call-parser/],
      [
        "{{ messages[0].content }}{{ tools }}<tool_call>",
        {
          messages: [
            ...messages,
            { role: "assistant", content: null, tool_calls: [{ id: "c", function: { name: "f" } }] },
          ],
        },
        "messages",
        /`tool_calls`/,
      ],
      [
        "{{ messages[0].content }}",
        { tools: [], messages: [...messages, { role: "tool", tool_call_id: "c", content: "x" }] },
        "messages",
        /`role` tool/,
      ],
    ] as const) {
      await using rig = await saying("x", chatTemplate);
      const error = await refusal(whole(rig, body));
      assert.deepEqual([error.code, error.param], ["unsupported_parameter", param]);
      assert.match(error.message, found);
    }
    await using rig = await saying("plain", "{{ messages[0].content }}");
    assert.equal((await whole(rig, { tool_choice: "none" })).choice.message.content, "plain");
  });

  test("use the format that the operator names", async () => {
    const chatTemplate = "{{ messages[0].content }}{{ tools }}";
    await using rig = await saying('[TOOL_CALLS]weather[ARGS]{"city": "Paris"}', chatTemplate, {
      toolCallParser: "mistral",
    });
    assert.match((await whole(rig, {})).choice.message.tool_calls?.[0]?.id ?? "", /^\w{9}$/);
  });
});

describe("reasoning", () => {
  test("is split from the text, whole and streamed, and counted", async () => {
    await using rig = await saying(`<think>\nHot?\n</think>\n\nIt is. ${call}`, `${template}{# </think> #}`);
    const { choice, answer } = await whole(rig, {});
    assert.equal(choice.message.reasoning_content, "Hot?");
    assert.equal(choice.message.content, "It is.");
    assert.equal(choice.message.tool_calls?.length, 1);
    assert.equal(
      answer.usage.completion_tokens_details?.reasoning_tokens,
      bytes("<think>\nHot?\n</think>").length - "<think".length,
    );
    assert.deepEqual(assembled(await deltas(rig, {})), {
      content: "It is.",
      reasoning: "Hot?",
      calls: [["weather", '{"city": "Paris"}']],
      finish: "tool_calls",
    });
  });

  test("begins where the template opens it, and reasoning_effort and chat_template_kwargs reach the template", async () => {
    await using rig = await saying("Hot.</think>It is.", thinking);
    const asked = { tools: [], reasoning_effort: "low" };
    const { message } = (await whole(rig, asked)).choice;
    assert.deepEqual([message.reasoning_content, message.content], ["Hot.", "It is."]);
    assert.match(promptOf(rig), /low<think>\n$/);
    const quiet = (await whole(rig, { ...asked, chat_template_kwargs: { quiet: true } })).choice.message;
    assert.deepEqual([quiet.reasoning_content, quiet.content], [undefined, "Hot.</think>It is."]);
  });

  test("stays in the text if the operator says so", async () => {
    await using rig = await saying("Hot.</think>It is.", thinking, { reasoningParser: "none" });
    assert.equal((await whole(rig, { tools: [] })).choice.message.content, "Hot.</think>It is.");
  });

  test("of earlier messages reaches the template", async () => {
    await using rig = await saying("x", "{{ messages[0].reasoning_content }}");
    await whole(rig, {
      tools: [],
      messages: [{ role: "assistant", content: "a", reasoning_content: "why" }, ...messages],
    });
    assert.equal(promptOf(rig), "why");
  });
});
