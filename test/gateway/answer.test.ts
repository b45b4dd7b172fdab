/** Answers over a fake engine: text, stop strings, choices, log-probabilities, echo, bounds, endings, and that everything is released. */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { LorikeetError } from "../../src/base/errors.js";
import { adapterObject } from "../../src/gateway/lorikeet/adapters.js";
import type { RequestSummary } from "../../src/gateway/observer.js";
import type { AnswerChunk } from "../../src/gateway/openai/serialize.js";
import { bosId, byteTokenizer, eosId } from "../support/byte-tokenizer.js";
import { type OpenAiAnswer, openRig, type Rig, type RigOptions, until } from "../support/rig.js";

const never = new AbortController().signal;
const bytes = (text: string): number[] => [...Buffer.from(text)];
const saying = (text: string): RigOptions => ({ script: { answer: () => bytes(text) } });

async function chunksOf(answer: OpenAiAnswer): Promise<AnswerChunk[]> {
  const chunks: AnswerChunk[] = [];
  for await (const part of answer.frames()) if (part.type === "chunk") chunks.push(part.data);
  return chunks;
}

function textOf(chunks: readonly AnswerChunk[], index = 0): string {
  return chunks
    .flatMap((chunk) => chunk.choices)
    .filter((choice) => choice.index === index)
    .map((choice) => ("delta" in choice ? (choice.delta.content ?? "") : choice.text))
    .join("");
}

async function complete(rig: Rig, body: object) {
  return (await rig.complete({ model: "base", ...body }, never)).whole();
}

async function refusal(promise: Promise<unknown>): Promise<LorikeetError> {
  const error = await promise.then(
    () => null,
    (fault: unknown) => fault,
  );
  assert.ok(error instanceof LorikeetError, `refused with a LorikeetError, not ${String(error)}`);
  return error;
}

describe("text", () => {
  test("a completion is collected with usage that counts the prompt once for all choices", async () => {
    await using rig = await openRig({ script: { answer: () => bytes("abcdefgh"), cachedTokens: 2 } });
    const data = await complete(rig, { prompt: ["one", "three"], n: 2, max_tokens: 4 });
    assert.deepEqual(
      data.choices.map((choice) => [choice.index, "text" in choice && choice.text, choice.finish_reason]),
      [0, 1, 2, 3].map((index) => [index, "abcd", "length"]),
    );
    assert.deepEqual(data.usage, {
      prompt_tokens: 8,
      completion_tokens: 16,
      total_tokens: 24,
      prompt_tokens_details: { cached_tokens: 4 },
    });
  });

  test("a stream keeps one id, gives the role first, a finish reason last, then usage when asked", async () => {
    await using rig = await openRig(saying("héllo"));
    const body = { model: "base", messages: [{ role: "user", content: "x" }], max_tokens: 6, stream: true };
    const answer = await rig.chat({ ...body, stream_options: { include_usage: true } }, never);
    const chunks = await chunksOf(answer);
    assert.equal(new Set(chunks.map(({ id, created }) => `${id} ${created}`)).size, 1);
    const [first] = chunks;
    assert.deepEqual(first?.choices[0], {
      index: 0,
      delta: { role: "assistant", content: "" },
      logprobs: null,
      finish_reason: null,
    });
    assert.equal(textOf(chunks), "héllo");
    const last = chunks.at(-1);
    assert.deepEqual(last?.choices, []);
    assert.equal(last?.usage?.completion_tokens, 6);
    assert.deepEqual(Object.keys(last?.lorikeet ?? {}), ["adapter", "digest", "queue_ms", "time_to_first_token_ms"]);
    const finishes = chunks.flatMap(({ choices }) => choices.map((choice) => choice.finish_reason));
    assert.deepEqual(finishes.filter(Boolean), ["length"]);
    assert.equal(finishes.at(-1), "length");
    assert.ok(chunks.slice(0, -1).every((chunk) => chunk.usage === null));
  });

  test("no chunk splits a character", async () => {
    await using rig = await openRig(saying("a€😀b"));
    const answer = await rig.complete({ model: "base", prompt: "x", max_tokens: 9, stream: true }, never);
    const texts = (await chunksOf(answer)).map((chunk) => textOf([chunk])).filter(Boolean);
    assert.deepEqual(texts, ["a", "€", "😀", "b"]);
  });

  test("a character that is cut by max_tokens is replaced, once, at the end", async () => {
    await using rig = await openRig(saying("a€"));
    const data = await complete(rig, { prompt: "x", max_tokens: 3 });
    assert.equal(data.choices[0] && "text" in data.choices[0] && data.choices[0].text, "a\ufffd");
  });

  test("stop strings never leak, and end the sequence in the engine", async () => {
    await using rig = await openRig(saying("one STOP two"));
    const answer = await rig.complete(
      { model: "base", prompt: "x", max_tokens: 50, stop: ["STOP"], stream: true, logprobs: 0, return_token_ids: true },
      never,
    );
    const chunks = await chunksOf(answer);
    assert.equal(textOf(chunks), "one ");
    assert.doesNotMatch(JSON.stringify(chunks), /"S"|ST/);
    const ids = chunks.flatMap(({ choices }) => choices.flatMap((choice) => choice.token_ids ?? []));
    assert.deepEqual(ids, bytes("one "));
    assert.deepEqual(rig.engine.sequences[0]?.endings[0], "stop");
    assert.equal(chunks.at(-1)?.choices[0]?.finish_reason, "stop");
  });

  test("a partial stop string is returned at the end, with its tokens", async () => {
    await using rig = await openRig(saying("go ST"));
    const answer = await complete(rig, { prompt: "x", max_tokens: 5, stop: "STOP", return_token_ids: true });
    const [choice] = answer.choices;
    assert.equal(choice && "text" in choice && choice.text, "go ST");
    assert.deepEqual(choice?.token_ids, bytes("go ST"));
    assert.equal(choice?.finish_reason, "length");
  });

  test("a stop id ends it with reason stop; ignore_eos ignores the stop ids", async () => {
    await using rig = await openRig({ script: { answer: () => [...bytes("ab"), eosId, ...bytes("cd")] } });
    const stopped = await complete(rig, { prompt: "x", max_tokens: 9 });
    assert.equal(stopped.choices[0]?.finish_reason, "stop");
    assert.equal(stopped.usage.completion_tokens, 2);
    const ignored = await complete(rig, { prompt: "x", max_tokens: 5, ignore_eos: true });
    const [choice] = ignored.choices;
    assert.equal(choice && "text" in choice && choice.text, "abcd");
    assert.equal(ignored.usage.completion_tokens, 5);
    assert.deepEqual(rig.engine.sequences[1]?.request.stopIds, []);
  });
});

describe("log-probabilities", () => {
  test("are bounded for one answer, those of an echoed prompt too; the 400 names both numbers", async () => {
    const script = { limits: { maxContext: 64 }, answer: () => bytes("ab".repeat(40)) };
    await using rig = await openRig({ script, gateway: { maxLogprobEntries: 60 } });
    const refused = (body: object, found: number) =>
      assert.rejects(complete(rig, body), {
        code: "invalid_value",
        status: 400,
        param: "logprobs",
        found,
        allowed: 60,
        message: new RegExp(`up to ${found} log-probabilities .*; at most 60 are allowed`),
      });
    await refused({ prompt: "x", max_tokens: 21, logprobs: 2 }, 63);
    await refused({ prompt: "x", max_tokens: 11, logprobs: 2, n: 2 }, 66);
    await refused({ prompt: ["x", "y"], max_tokens: 31, logprobs: 0 }, 62);
    await refused({ prompt: ["xyz", "uvw"], max_tokens: 0, echo: true, logprobs: 10 }, 66);
    await refused({ prompt: "xyz", max_tokens: 8, echo: true, logprobs: 5 }, 66);
    await complete(rig, { prompt: "x", max_tokens: 20, logprobs: 2 });
    await complete(rig, { prompt: "x", max_tokens: 60 });
    assert.equal(rig.engine.sequences.length, 2, "what is refused reaches no engine");
  });

  test("shorten an answer whose length was left open rather than refuse it", async () => {
    const script = { limits: { maxContext: 64 }, answer: () => bytes("ab".repeat(40)) };
    await using rig = await openRig({ script, gateway: { maxLogprobEntries: 60 } });
    const ask = (top: number) => ({
      model: "base",
      messages: [{ role: "user", content: "x" }],
      logprobs: true,
      top_logprobs: top,
    });
    const data = await (await rig.chat(ask(9), never)).whole();
    assert.deepEqual([data.usage.completion_tokens, data.choices[0]?.finish_reason], [6, "length"]);
    const least = rig.chat({ ...ask(9), min_tokens: 7 }, never);
    await assert.rejects(least, { code: "invalid_value", param: "logprobs" }, "never below min_tokens");
    await assert.rejects(complete(rig, { prompt: "xyz", max_tokens: 1, prompt_logprobs: 20 }), { found: 63 });
    await using tight = await openRig({ script, gateway: { maxLogprobEntries: 9 } });
    await assert.rejects(tight.chat(ask(9), never), { code: "invalid_value", allowed: 9 });
  });

  test("completions: parallel lists with offsets, alternatives and the token itself", async () => {
    await using rig = await openRig(saying("ab"));
    const data = await complete(rig, { prompt: "x", max_tokens: 2, logprobs: 2 });
    const [choice] = data.choices;
    assert.deepEqual(JSON.parse(JSON.stringify(choice?.logprobs)), {
      tokens: ["a", "b"],
      token_logprobs: [-0.25, -0.25],
      top_logprobs: [
        { a: -0.25, b: -0.5 },
        { b: -0.25, c: -0.5 },
      ],
      text_offset: [0, 1],
    });
  });

  test("chat: content entries with bytes; a token that is not a whole character is named by its bytes", async () => {
    await using rig = await openRig(saying("é"));
    const body = {
      model: "base",
      messages: [{ role: "user", content: "x" }],
      max_tokens: 2,
      logprobs: true,
      top_logprobs: 1,
    };
    const data = await (await rig.chat(body, never)).whole();
    const content = { token: "bytes:\\xc3", logprob: -0.25, bytes: [0xc3] };
    const second = { token: "bytes:\\xa9", logprob: -0.25, bytes: [0xa9] };
    assert.deepEqual(data.choices[0]?.logprobs, {
      content: [
        { ...content, top_logprobs: [content] },
        { ...second, top_logprobs: [second] },
      ],
      refusal: null,
    });
  });

  test("echo with logprobs and max_tokens 0 scores the prompt and generates nothing", async () => {
    await using rig = await openRig();
    const data = await complete(rig, { prompt: "hi€", max_tokens: 0, echo: true, logprobs: 1, return_token_ids: true });
    const [choice] = data.choices;
    assert.ok(choice && "text" in choice && choice.logprobs && "tokens" in choice.logprobs);
    assert.equal(choice.text, "hi€");
    assert.deepEqual(choice.logprobs.tokens, ["h", "i", "bytes:\\xe2", "bytes:\\x82", "bytes:\\xac"]);
    assert.deepEqual(choice.logprobs.text_offset, [0, 1, 2, 2, 2]);
    assert.deepEqual(choice.logprobs.token_logprobs, [null, -0.25, -0.25, -0.25, -0.25]);
    assert.equal([...choice.logprobs.top_logprobs][0], null);
    assert.equal(choice.finish_reason, "length");
    assert.deepEqual(choice.token_ids, []);
    assert.deepEqual(choice.prompt_token_ids, bytes("hi€"));
    assert.deepEqual(data.usage.completion_tokens, 0);
    const { maxTokens, promptLogprobs } = rig.engine.sequences[0]?.request ?? {};
    assert.deepEqual([maxTokens, promptLogprobs], [0, 1]);
  });

  test("echo is followed by the completion, and offsets continue", async () => {
    await using rig = await openRig(saying("yz"));
    const data = await complete(rig, { prompt: "ab", max_tokens: 2, echo: true, logprobs: 0 });
    const [choice] = data.choices;
    assert.ok(choice && "text" in choice && choice.logprobs && "tokens" in choice.logprobs);
    assert.equal(choice.text, "abyz");
    assert.deepEqual(choice.logprobs.text_offset, [0, 1, 2, 3]);
    const plain = await complete(rig, { prompt: [97, 98], max_tokens: 1, echo: true });
    assert.equal(plain.choices[0] && "text" in plain.choices[0] && plain.choices[0].text, "aby");
    assert.equal(rig.engine.sequences[1]?.request.promptLogprobs, null);
  });
});

describe("bounds", () => {
  test("characters are bounded before anything is tokenized, with both numbers", async () => {
    const tokenizer = byteTokenizer();
    await using rig = await openRig({ tokenizer, gateway: { maxPromptCharacters: 5 } });
    const fault = await refusal(complete(rig, { prompt: "123456" }));
    assert.equal(fault.code, "prompt_too_long");
    assert.match(fault.message, /6 characters; at most 5/);
    assert.equal(tokenizer.encoded, 0);
    const chat = rig.chat({ model: "base", messages: [{ role: "user", content: "123456" }] }, never);
    assert.equal((await refusal(chat)).code, "prompt_too_long");
  });

  test("tokens are bounded afterwards, with both numbers; without max_tokens an answer may fill the context", async () => {
    await using rig = await openRig({ script: { limits: { maxContext: 20 } } });
    const fault = await refusal(complete(rig, { prompt: "x".repeat(15), max_tokens: 6 }));
    assert.equal(fault.code, "context_length_exceeded");
    assert.match(fault.message, /context is 20 tokens, but 21.*15 in the prompt and 6/);
    assert.equal((await refusal(complete(rig, { prompt: "x".repeat(20) }))).code, "context_length_exceeded");
    await complete(rig, { prompt: "x".repeat(15) });
    await complete(rig, { prompt: "x" });
    await (
      await rig.chat({ model: "base", messages: [{ role: "user", content: "x" }] }, never).catch(() => null)
    )?.whole();
    assert.deepEqual(rig.engine.sequences.map(({ request }) => request.maxTokens).slice(0, 2), [5, 16]);
    await complete(rig, { prompt: "x".repeat(20), max_tokens: 0, echo: true, logprobs: 0 });
  });

  test("a chat's default is the rest of the context", async () => {
    await using rig = await openRig({ script: { limits: { maxContext: 40 } } });
    const data = await (await rig.chat({ model: "base", messages: [{ role: "user", content: "x" }] }, never)).whole();
    assert.equal(data.usage.total_tokens, 40);
  });

  test("prompts times choices are bounded together", async () => {
    await using rig = await openRig({ gateway: { maxSequences: 4 } });
    assert.match((await refusal(complete(rig, { prompt: ["a", "b", "c"], n: 2 }))).message, /6 sequences.*at most 4/);
  });

  test("an empty prompt begins with the model's first token, or is refused", async () => {
    await using rig = await openRig(saying("a"));
    await complete(rig, { prompt: "", max_tokens: 1 });
    assert.deepEqual(rig.engine.sequences[0]?.request.promptIds, [bosId]);
    await using bare = await openRig({ model: { bosId: null } });
    assert.equal((await refusal(complete(bare, { prompt: "" }))).code, "invalid_value");
  });

  test("without a tokenizer: token ids only, empty text, no stop strings, no chat", async () => {
    await using rig = await openRig({ ...saying("ab"), tokenizer: null });
    assert.equal((await refusal(complete(rig, { prompt: "x" }))).code, "tokenizer_missing");
    assert.equal((await refusal(complete(rig, { prompt: [1], stop: "x" }))).code, "tokenizer_missing");
    const chat = rig.chat({ model: "base", messages: [{ role: "user", content: "x" }] }, never);
    assert.equal((await refusal(chat)).code, "tokenizer_missing");
    const data = await complete(rig, { prompt: [1, 2], max_tokens: 2, return_token_ids: true, logprobs: 0 });
    const [choice] = data.choices;
    assert.ok(choice && "text" in choice && choice.logprobs && "tokens" in choice.logprobs);
    assert.equal(choice.text, "");
    assert.deepEqual(choice.token_ids, bytes("ab"));
    assert.deepEqual(choice.logprobs.tokens, ["token_id:97", "token_id:98"]);
  });

  test("without a template a chat is a 400 that names the flag", async () => {
    await using rig = await openRig({ tokenizer: byteTokenizer({ chatTemplate: null }) });
    const fault = await refusal(rig.chat({ model: "base", messages: [{ role: "user", content: "x" }] }, never));
    assert.equal(fault.status, 400);
    assert.match(fault.message, /--chat-template <file>/);
  });

  test("special tokens are added to a prompt and not to a rendered chat", async () => {
    await using rig = await openRig({ ...saying("a"), tokenizer: byteTokenizer({ addsBos: true }) });
    await complete(rig, { prompt: "x", max_tokens: 1 });
    await (await rig.chat({ model: "base", messages: [{ role: "user", content: "x" }], max_tokens: 1 }, never)).whole();
    assert.equal(rig.engine.sequences[0]?.request.promptIds[0], bosId);
    assert.deepEqual(rig.engine.sequences[1]?.request.promptIds, bytes("user: x\nassistant: "));
    await complete(rig, { prompt: "x", max_tokens: 1, add_special_tokens: false });
    const ask = { messages: [{ role: "user", content: "x" }], max_tokens: 1, add_special_tokens: true };
    await (await rig.chat(ask, never)).whole();
    assert.deepEqual(rig.engine.sequences[2]?.request.promptIds, bytes("x"));
    assert.equal(rig.engine.sequences[3]?.request.promptIds[0], bosId);
  });
});

describe("adapters", () => {
  test("a name is leased, prefetched and run by its digest; an unknown one never falls back to the base", async () => {
    await using rig = await openRig(saying("a"));
    const digest = await rig.adapters.add("org/plays");
    const answer = await rig.complete({ model: "org/plays", prompt: "x", max_tokens: 1 }, never);
    assert.deepEqual([answer.adapter, answer.digest], ["org/plays", digest]);
    assert.equal((await answer.whole()).model, "org/plays");
    assert.equal(rig.engine.sequences[0]?.request.adapter, digest);
    assert.deepEqual(rig.adapters.cache.prefetched, [digest]);
    const fault = await refusal(complete(rig, { model: "Org/plays", prompt: "x" }));
    assert.deepEqual(
      [fault.code, fault.param, fault.message],
      [
        "model_not_found",
        "model",
        "The model `Org/plays` does not exist. This server has `base`, `alias`, `org/plays`.",
      ],
    );
    await complete(rig, { model: "alias", prompt: "x", max_tokens: 1 });
    assert.equal(rig.engine.sequences[1]?.request.adapter, null);
    assert.equal(rig.engine.sequences.length, 2);
  });

  test("a request keeps the version that it started with, and counts are booked by name", async () => {
    await using rig = await openRig({ script: { answer: () => bytes("abcd"), tokenMs: 5 } });
    const old = await rig.adapters.add("a", "old");
    const answer = await rig.complete({ model: "a", prompt: "x", max_tokens: 4 }, never);
    assert.equal(rig.gateway.adapters.get("a").activity.running, 1);
    assert.deepEqual(rig.gateway.stats().runningAdapters, ["a"]);
    answer.pause();
    await rig.adapters.add("a", "new");
    assert.ok(await rig.adapters.store.folder(old), "the held version is still there");
    answer.resume();
    assert.equal((await answer.whole()).choices.length, 1);
    await answer.ended;
    const { in_flight, counts } = adapterObject(rig.gateway.adapters.get("a"));
    assert.equal(in_flight, 0);
    assert.deepEqual(counts, { requests: 1, prompt_tokens: 1, completion_tokens: 4 });
    await assert.rejects(async () => {
      for (let tries = 0; tries < 50; tries++) {
        await rig.adapters.store.folder(old);
        await new Promise((resolve) => setTimeout(resolve, 10));
      }
    }, "the version goes once nobody holds it");
  });
});

describe("endings", () => {
  const slow: RigOptions = { script: { tokenMs: 5, answer: () => bytes("x".repeat(100)) } };

  function watch(rig: Rig): RequestSummary[] {
    const summaries: RequestSummary[] = [];
    rig.gateway.observe({ ended: (summary) => summaries.push(summary) });
    return summaries;
  }

  test("an abort in mid-stream ends every sequence as cancelled and frees all", async () => {
    await using rig = await openRig(slow);
    const summaries = watch(rig);
    const controller = new AbortController();
    const answer = await rig.complete(
      { model: "base", prompt: "x", n: 3, max_tokens: 100, stream: true },
      controller.signal,
    );
    const reading = chunksOf(answer);
    await until(() => (rig.engine.sequences[0]?.tokens ?? 0) > 1);
    controller.abort();
    assert.equal((await refusal(reading)).code, "cancelled");
    await answer.ended;
    assert.ok(
      rig.engine.sequences.every(({ endings, finished }) => endings.includes("cancelled") && finished === "cancelled"),
    );
    assert.equal(rig.engine.running, 0);
    assert.equal(summaries.length, 1);
    assert.equal(summaries[0]?.outcome, "cancelled");
    assert.ok((summaries[0]?.usage?.completionTokens ?? 0) > 1);
  });

  test("an abort in the queue rejects and frees", async () => {
    await using rig = await openRig({ script: { admission: () => new Promise(() => {}) } });
    const controller = new AbortController();
    const asking = rig.complete({ model: "base", prompt: "x" }, controller.signal);
    await until(() => rig.engine.running === 1);
    controller.abort();
    assert.equal((await refusal(asking)).code, "cancelled");
    await until(() => rig.engine.running === 0);
  });

  test("a reader that leaves early cancels; pause and resume reach the engine", async () => {
    await using rig = await openRig(slow);
    const answer = await rig.complete({ model: "base", prompt: "x", max_tokens: 100, stream: true }, never);
    for await (const _part of answer.frames()) {
      answer.pause();
      assert.equal(rig.engine.sequences[0]?.isPaused, true);
      answer.resume();
      assert.equal(rig.engine.sequences[0]?.isPaused, false);
      break;
    }
    await answer.ended;
    assert.equal(rig.engine.sequences[0]?.finished, "cancelled");
  });

  test("a failed load is an error before any part; one choice's error ends the others", async () => {
    const error = new LorikeetError("adapter_invalid", "It is broken.");
    await using rig = await openRig({
      script: {
        admission: async ({ sampling }) => {
          if (sampling.seed !== 0) throw error;
          await new Promise((resolve) => setTimeout(resolve, 20));
        },
      },
    });
    assert.equal(await refusal(complete(rig, { prompt: "x", n: 2, seed: 0 })), error);
    await until(() => rig.engine.running === 0);
    assert.equal(rig.engine.sequences[0]?.finished, "cancelled");
  });

  test("an error in mid-stream comes after the parts before it, and is logged if it is internal", async () => {
    const error = new Error("disk on fire");
    await using rig = await openRig({ script: { answer: () => bytes("abcdef"), failAfter: { tokens: 3, error } } });
    const summaries = watch(rig);
    const answer = await rig.complete({ model: "base", prompt: "x", stream: true }, never);
    let text = "";
    const fault = await refusal(
      (async () => {
        for await (const part of answer.frames()) if (part.type === "chunk") text += textOf([part.data]);
      })(),
    );
    assert.equal(text, "abc");
    assert.equal(fault.code, "internal");
    assert.doesNotMatch(fault.message, /fire/);
    assert.equal((await answer.ended).outcome, "failed");
    assert.equal(rig.lines.filter(({ level }) => level === "error").length, 1);
    assert.equal(summaries.length, 1);
  });

  test("a full queue ends the choices that were taken and is a 429", async () => {
    await using rig = await openRig({ script: { limits: { maxQueue: 2 } } });
    const fault = await refusal(complete(rig, { prompt: "x", n: 3 }));
    assert.deepEqual([fault.code, fault.status], ["queue_full", 429]);
    await until(() => rig.engine.running === 0);
    assert.deepEqual(
      rig.engine.sequences.map(({ finished }) => finished),
      ["cancelled", "cancelled"],
    );
  });

  test("more choices than can ever run and wait at once are a 400, not a 429 for ever", async () => {
    await using rig = await openRig({ script: { limits: { maxBatch: 1, maxQueue: 4, maxAdapterQueue: 1 } } });
    const fault = await refusal(complete(rig, { prompt: "x", n: 3 }));
    assert.deepEqual([fault.code, fault.status], ["invalid_value", 400]);
    assert.match(fault.message, /asks for 3 sequences .*; at most 2 are allowed/);
  });

  test("waiting too long is a 503, running too long a 408", async () => {
    await using queue = await openRig({
      script: { admission: () => new Promise(() => {}) },
      gateway: { queueTimeoutMs: 20 },
    });
    const waited = await refusal(complete(queue, { prompt: "x" }));
    assert.deepEqual([waited.code, waited.status], ["queue_timeout", 503]);
    await until(() => queue.engine.running === 0);
    await using rig = await openRig({ ...slow, gateway: { requestTimeoutMs: 30 } });
    const ran = await refusal(complete(rig, { prompt: "x", max_tokens: 100 }));
    assert.deepEqual([ran.code, ran.status], ["timeout", 408]);
    await until(() => rig.engine.running === 0);
  });

  test("shutdown ends a running answer as draining; every refusal is counted once", async () => {
    await using rig = await openRig(slow);
    const summaries = watch(rig);
    const asking = refusal(complete(rig, { prompt: "x", max_tokens: 100 }));
    await until(() => rig.engine.running === 1);
    await rig.gateway.drain(10);
    assert.equal((await asking).code, "draining");
    assert.equal((await refusal(complete(rig, { prompt: "x" }))).code, "draining");
    await refusal(complete(rig, { prompt: 5 }));
    await until(() => summaries.length === 3);
    assert.deepEqual(
      summaries.map(({ outcome }) => outcome),
      ["rejected", "rejected", "refused"],
    );
  });
});
