/** Vercel's AI SDK and LangChain.js against the server, unchanged: text, streams, structured output and tools, by every route that they speak. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { after, before, describe, test } from "node:test";
import { createOpenAI } from "@ai-sdk/openai";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { HumanMessage, ToolMessage } from "@langchain/core/messages";
import { ChatOpenAI, OpenAI as LangChainCompletions } from "@langchain/openai";
import { generateObject, generateText, jsonSchema, type LanguageModel, stepCountIs, streamText, tool } from "ai";
import { byteTokenizer, eosId } from "../support/byte-tokenizer.js";
import { openServerRig, type ServerRig } from "../support/rig.js";

interface Place {
  readonly city: string;
}

const place = {
  title: "place",
  type: "object" as const,
  properties: { city: { type: "string" as const } },
  required: ["city"],
  additionalProperties: false,
};
const paris = '{"city": "Paris"}';
const call = `<tool_call>\n{"name": "weather", "arguments": ${paris}}\n</tool_call>`;

/** A model that calls when it is asked for the weather, reads the result, and else says what its prompt ends with. */
function answer(prompt: string): string {
  if (prompt.includes("rain")) return "It rains.";
  if (prompt.includes("weather?")) return `<think>Which city?</think>${call}`;
  return prompt.includes("place?") ? paris : "hello";
}

let rig: ServerRig;
before(async () => {
  const chatTemplate = `${readFileSync("test/fixtures/tools/hermes.jinja", "utf8")}{# <think> </think> #}`;
  const textOf = (ids: readonly number[]): string => Buffer.from(ids.filter((id) => id < 256)).toString();
  rig = await openServerRig({
    script: {
      answer: ({ promptIds }) => [...Buffer.from(answer(textOf(promptIds))), eosId],
      limits: { maxContext: 4096 },
    },
    tokenizer: byteTokenizer({ chatTemplate }),
  });
});
after(() => rig[Symbol.asyncDispose]());

type Route = "responses" | "chat" | "completion" | "compatible";

function aiModel(route: Route): LanguageModel {
  const baseURL = `${rig.url}/v1`;
  if (route === "compatible") {
    return createOpenAICompatible({ name: "lorikeet", baseURL, supportsStructuredOutputs: true })("base");
  }
  return createOpenAI({ baseURL, apiKey: "none" })[route]("base");
}

const weather = tool({
  description: "The weather of a city.",
  inputSchema: jsonSchema<Place>(place),
  execute: async () => "rain",
});

describe("the AI SDK", () => {
  for (const route of ["responses", "chat", "completion", "compatible"] as const) {
    test(`generates and streams text by ${route}`, async () => {
      const asked = { model: aiModel(route), prompt: "hi", maxRetries: 0 };
      const whole = await generateText(asked);
      assert.deepEqual([whole.text, whole.finishReason, whole.usage.outputTokens], ["hello", "stop", 5]);
      const stream = streamText(asked);
      let text = "";
      for await (const delta of stream.textStream) text += delta;
      assert.deepEqual([text, await stream.finishReason], ["hello", "stop"]);
    });
  }

  for (const route of ["responses", "chat", "compatible"] as const) {
    test(`generates objects by ${route}`, async () => {
      const asked = { model: aiModel(route), prompt: "place?", schema: jsonSchema<Place>(place), maxRetries: 0 };
      assert.deepEqual((await generateObject(asked)).object, { city: "Paris" });
      assert.ok(rig.engine.sequences.at(-1)?.request.sampling.grammar, "the answer is held to the schema");
    });

    test(`calls a tool and goes on with its result by ${route}, whole and streamed`, async () => {
      const asked = { model: aiModel(route), prompt: "weather?", tools: { weather }, stopWhen: stepCountIs(3) };
      const whole = await generateText({ ...asked, maxRetries: 0 });
      assert.deepEqual([whole.text, whole.steps.length], ["It rains.", 2]);
      assert.deepEqual(
        whole.steps[0]?.toolCalls.map(({ toolName, input }) => [toolName, input]),
        [["weather", { city: "Paris" }]],
      );
      const stream = streamText({ ...asked, maxRetries: 0 });
      let text = "";
      for await (const delta of stream.textStream) text += delta;
      assert.deepEqual([text, (await stream.steps).length], ["It rains.", 2]);
    });
  }

  test("shows reasoning by its compatible provider", async () => {
    const { reasoningText } = await generateText({
      model: aiModel("compatible"),
      prompt: "weather?",
      tools: { weather },
    });
    assert.equal(reasoningText, "Which city?");
  });

  test("continues a stored response", async () => {
    const model = createOpenAI({ baseURL: `${rig.url}/v1`, apiKey: "none" }).responses("base");
    const first = await generateText({ model, prompt: "hi", maxRetries: 0 });
    const previousResponseId = first.providerMetadata?.openai?.responseId;
    assert.equal(typeof previousResponseId, "string");
    const openai = { previousResponseId: String(previousResponseId) };
    const second = await generateText({ model, prompt: "place?", providerOptions: { openai }, maxRetries: 0 });
    assert.equal(second.text, paris);
    const ids = rig.engine.sequences.at(-1)?.request.promptIds.filter((id) => id < 256) ?? [];
    assert.match(Buffer.from(ids).toString(), /hi[\s\S]*hello[\s\S]*place\?/);
  });
});

describe("LangChain", () => {
  const configuration = () => ({ baseURL: `${rig.url}/v1` });

  for (const useResponsesApi of [false, true]) {
    describe(`by ${useResponsesApi ? "responses" : "chat"}`, () => {
      const chat = () =>
        new ChatOpenAI({
          model: "base",
          apiKey: "none",
          useResponsesApi,
          maxRetries: 0,
          configuration: configuration(),
        });

      test("invokes and streams", async () => {
        const message = await chat().invoke("hi");
        assert.equal(message.text, "hello");
        let text = "";
        for await (const chunk of await chat().stream("hi")) text += chunk.text;
        assert.equal(text, "hello");
      });

      test("gets structured output", async () => {
        const model = chat().withStructuredOutput<{ city: string }>(place, { method: "jsonSchema" });
        assert.deepEqual(await model.invoke("place?"), { city: "Paris" });
      });

      test("calls a tool and goes on with its result", async () => {
        const definition = { name: "weather", description: "The weather of a city.", parameters: place };
        const model = chat().bindTools([{ type: "function", function: definition }]);
        const first = await model.invoke("weather?");
        assert.deepEqual(
          first.tool_calls?.map(({ name, args }) => [name, args]),
          [["weather", { city: "Paris" }]],
        );
        const result = new ToolMessage({ tool_call_id: first.tool_calls?.[0]?.id ?? "", content: "rain" });
        assert.equal((await model.invoke([new HumanMessage("weather?"), first, result])).text, "It rains.");
      });
    });
  }

  test("completes", async () => {
    const model = new LangChainCompletions({
      model: "base",
      apiKey: "none",
      maxRetries: 0,
      configuration: configuration(),
    });
    assert.equal(await model.invoke("hi"), "hello");
  });
});
