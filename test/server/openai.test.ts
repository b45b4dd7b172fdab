/** The official `openai` package against the server, unchanged: streams, whole answers, models, errors, cancellation. */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import OpenAI, { APIError, NotFoundError } from "openai";
import { openServerRig, type RigOptions, type ServerRig, until } from "../support/rig.js";

const bytes = (text: string): number[] => [...Buffer.from(text)];
const saying = (text: string, tokenMs = 0): RigOptions => ({ script: { answer: () => bytes(text), tokenMs } });
const clientOf = (rig: ServerRig): OpenAI => new OpenAI({ baseURL: `${rig.url}/v1`, apiKey: "none", maxRetries: 0 });

describe("the openai package", () => {
  test("chats, whole and streamed", async () => {
    await using rig = await openServerRig(saying("Hello, wörld"));
    const client = clientOf(rig);
    const messages = [{ role: "user" as const, content: "hi" }];
    const whole = await client.chat.completions.create({ model: "base", messages, max_tokens: 13 });
    assert.equal(whole.choices[0]?.message.content, "Hello, wörld");
    assert.equal(whole.usage?.completion_tokens, 13);
    const stream = await client.chat.completions.create({
      model: "base",
      messages,
      max_tokens: 13,
      stream: true,
      stream_options: { include_usage: true },
    });
    let text = "";
    let usage: OpenAI.CompletionUsage | null | undefined;
    for await (const chunk of stream) {
      text += chunk.choices[0]?.delta.content ?? "";
      usage = chunk.usage ?? usage;
    }
    assert.equal(text, "Hello, wörld");
    assert.equal(usage?.prompt_tokens_details?.cached_tokens, 0);
    const helped = client.chat.completions.stream({ model: "base", messages, max_tokens: 13 });
    assert.equal((await helped.finalMessage()).content, "Hello, wörld");
  });

  test("completes, with choices, log-probabilities and the house's extras", async () => {
    await using rig = await openServerRig(saying("abc"));
    const extras = { return_token_ids: true, top_k: 3 };
    const body = { model: "base", prompt: ["x", "y"], max_tokens: 3, n: 2, logprobs: 1, ...extras };
    const answer = await clientOf(rig).completions.create(body);
    assert.deepEqual(
      answer.choices.map(({ index, text }) => [index, text]),
      [0, 1, 2, 3].map((index) => [index, "abc"]),
    );
    assert.deepEqual(answer.choices[3]?.logprobs?.tokens, ["a", "b", "c"]);
    assert.equal(rig.engine.sequences[0]?.request.sampling.topK, 3);
  });

  test("lists and retrieves models with their lineage, names with a slash too", async () => {
    await using rig = await openServerRig();
    const digest = await rig.adapters.add("org/plays");
    const client = clientOf(rig);
    const { data } = await client.models.list();
    assert.deepEqual(
      data.map(({ id }) => id),
      ["base", "alias", "org/plays"],
    );
    const card = await client.models.retrieve("org/plays");
    assert.deepEqual(
      { ...card, created: 0, _request_id: null },
      {
        id: "org/plays",
        object: "model",
        created: 0,
        owned_by: "lorikeet",
        root: digest,
        parent: "base",
        max_model_len: 256,
        max_output_tokens: null,
        tasks: ["text-generation"],
        _request_id: null,
      },
    );
    await assert.rejects(client.models.retrieve("nothing"), NotFoundError);
  });

  test("tells a name that ends in /card from the card of the model before it", async () => {
    await using rig = await openServerRig();
    await rig.adapters.add("org/card");
    const of = async (path: string): Promise<unknown> => {
      const { id, object, name } = Object(await (await fetch(`${rig.url}/v1/models/${path}`)).json());
      return [object, id ?? name];
    };
    assert.deepEqual(await of("org/card"), ["model", "org/card"]);
    assert.deepEqual(await of("org/card/card"), ["model.card", "org/card"]);
    await rig.adapters.add("org");
    assert.deepEqual(await of("org/card"), ["model.card", "org"]);
    assert.deepEqual(await of("org%2Fcard"), ["model", "org/card"]);
    assert.deepEqual(await of("org%2Fcard/card"), ["model.card", "org/card"]);
    const deleted = await fetch(`${rig.url}/v1/models/org%2Fcard`, { method: "DELETE" });
    assert.deepEqual([deleted.status, Object(await deleted.json()).id], [200, "org/card"]);
  });

  test("meets errors as the package's own classes, in OpenAI's form", async () => {
    await using rig = await openServerRig();
    const asking = clientOf(rig).completions.create({ model: "gone", prompt: "x" });
    await assert.rejects(asking, (error) => {
      assert.ok(error instanceof NotFoundError);
      assert.deepEqual(error.error, {
        message: "The model `gone` does not exist. This server has `base`, `alias`.",
        type: "invalid_request_error",
        param: "model",
        code: "model_not_found",
      });
      assert.ok(error.requestID);
      return true;
    });
  });

  test("an error in mid-stream is thrown by the iterator, after the text before it", async () => {
    await using rig = await openServerRig({
      script: { answer: () => bytes("abcdef"), failAfter: { tokens: 3, error: new Error("secret") } },
    });
    const stream = await clientOf(rig).completions.create({ model: "base", prompt: "x", stream: true });
    let text = "";
    const reading = (async () => {
      for await (const chunk of stream) text += chunk.choices[0]?.text ?? "";
    })();
    await assert.rejects(reading, (error) => {
      assert.ok(error instanceof APIError);
      assert.equal(error.code, "internal");
      assert.doesNotMatch(error.message, /secret/);
      return true;
    });
    assert.equal(text, "abc");
  });

  test("a client that disconnects frees its sequence, in mid-stream or while it waits for a complete answer", async () => {
    await using rig = await openServerRig(saying("x".repeat(200), 5));
    const client = clientOf(rig);
    const stream = await client.completions.create({ model: "base", prompt: "x", max_tokens: 200, stream: true });
    for await (const _chunk of stream) break;
    await until(() => rig.engine.sequences[0]?.finished === "cancelled", "the first sequence's end");
    const controller = new AbortController();
    const asking = client.completions.create(
      { model: "base", prompt: "x", max_tokens: 200 },
      { signal: controller.signal },
    );
    await until(() => rig.engine.sequences[1] !== undefined);
    controller.abort();
    await assert.rejects(asking);
    await until(() => rig.engine.sequences[1]?.finished === "cancelled", "the second sequence's end");
    assert.ok(rig.engine.sequences.every(({ endings }) => endings.includes("cancelled")));
  });

  test("many clients at once get each their own text", async () => {
    await using rig = await openServerRig({ script: { limits: { maxQueue: 64 }, tokenMs: 1 } });
    const client = clientOf(rig);
    const texts = await Promise.all(
      Array.from({ length: 24 }, async (_, index) => {
        const prompt = `<${index}>`;
        const stream = await client.completions.create({ model: "base", prompt, max_tokens: 20, stream: true });
        let text = "";
        for await (const chunk of stream) text += chunk.choices[0]?.text ?? "";
        return text;
      }),
    );
    const expected = texts.map((_, index) => `<${index}>`.repeat(20).slice(0, 20));
    assert.deepEqual(texts, expected);
    assert.equal(rig.engine.running, 0);
  });
});
