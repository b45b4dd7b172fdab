/** Tokenizing in turns: what waits is bounded, every ending of a request stops its share of the work, and no client waits for another's backlog. */
import assert from "node:assert/strict";
import { getEventListeners } from "node:events";
import { describe, test } from "node:test";
import { WebSocket } from "ws";
import { type Deferred, deferred } from "../../src/base/async.js";
import type { LorikeetError } from "../../src/base/errors.js";
import { EncodeBudget } from "../../src/gateway/encode-budget.js";
import type { EncodeOptions, Tokenizer } from "../../src/text/types.js";
import { byteTokenizer } from "../support/byte-tokenizer.js";
import { openRig, openServerRig, until } from "../support/rig.js";

const never = new AbortController().signal;

interface Work {
  readonly text: string;
  readonly connection: object | undefined;
  readonly done: Deferred<void>;
}

/** A tokenizer that encodes a text when the test lets it, and gives it up with its signal. */
function heldTokenizer(): Tokenizer & { readonly works: Work[] } {
  const works: Work[] = [];
  const bytes = byteTokenizer();
  const encode = async (text: string, options: EncodeOptions): Promise<number[]> => {
    const done = deferred<void>();
    works.push({ text, connection: options.connection, done });
    options.signal?.addEventListener("abort", () => done.reject(new Error("given up")), { once: true });
    await done.promise;
    return bytes.encode(text, options);
  };
  return { ...bytes, encode, works };
}

const body = (prompt: string | string[], more: object = {}) => ({ model: "base", prompt, max_tokens: 1, ...more });
const codeOf = (promise: Promise<unknown>): Promise<string> =>
  promise.then(
    () => "answered",
    (error: LorikeetError) => error.code,
  );

describe("a request's prompts", () => {
  test("are not encoded further once the client has disconnected", async () => {
    const tokenizer = heldTokenizer();
    await using rig = await openRig({ tokenizer });
    const client = new AbortController();
    const answer = codeOf(rig.complete(body(["one", "two", "three"]), client.signal));
    await until(() => tokenizer.works.length === 1);
    tokenizer.works[0]?.done.resolve();
    await until(() => tokenizer.works.length === 2);
    client.abort();
    assert.equal(await answer, "cancelled");
    assert.deepEqual([tokenizer.works.length, rig.gateway.stats().queuedCharacters], [2, 0]);
    assert.equal(rig.engine.sequences.length, 0);
    assert.equal(getEventListeners(client.signal, "abort").length, 0);
  });

  test("are not encoded further past the first that is too long", async () => {
    const tokenizer = byteTokenizer();
    await using rig = await openRig({ tokenizer, script: { limits: { maxContext: 32 } } });
    const fault = { code: "context_length_exceeded", found: 41, allowed: 32 };
    await assert.rejects(rig.complete(body(["ab", "x".repeat(40), "cd", "ef"]), never), fault);
    assert.equal(tokenizer.encoded, 2);
  });

  test("count towards the queue's and the request's time limits", async () => {
    for (const [gateway, code] of [
      [{ queueTimeoutMs: 20 }, "queue_timeout"],
      [{ requestTimeoutMs: 20 }, "timeout"],
    ] as const) {
      const tokenizer = heldTokenizer();
      await using rig = await openRig({ tokenizer, gateway });
      assert.equal(await codeOf(rig.complete(body(["one", "two"]), never)), code);
      assert.deepEqual([tokenizer.works.length, rig.gateway.stats().queuedCharacters], [1, 0]);
    }
  });

  test("yield to the event loop between two of them", async () => {
    const script = { limits: { maxContext: 4096, maxQueue: 64, maxAdapterQueue: 64 } };
    await using rig = await openRig({ gateway: { maxPromptCharacters: 4096 }, script });
    const order: string[] = [];
    const prompts = Array.from({ length: 20 }, () => "x".repeat(2048));
    const answer = rig.complete(body(prompts), never).then((whole) => {
      order.push("prompts");
      return whole.whole();
    });
    for (let turn = 0; turn < 10; turn++) await new Promise((resolve) => setImmediate(resolve));
    order.push("ten turns");
    await answer;
    assert.deepEqual(order, ["ten turns", "prompts"]);
  });
});

describe("the characters that wait", () => {
  test("are bounded; the connection that holds most gives way to one that holds less", async () => {
    const tokenizer = heldTokenizer();
    await using rig = await openRig({ tokenizer, gateway: { maxQueuedCharacters: 100 } });
    const [crowd, victim, other] = [{}, {}, {}];
    const first = codeOf(rig.complete(body(["x".repeat(20), "y".repeat(20)]), never, crowd));
    const second = codeOf(rig.complete(body("z".repeat(40)), never, crowd));
    await until(() => tokenizer.works.length === 2);
    assert.equal(rig.gateway.stats().queuedCharacters, 80);
    const full = { code: "encode_queue_full", status: 429, found: 80, allowed: 100 };
    await assert.rejects(rig.complete(body("w".repeat(30)), never, crowd), full);
    const small = rig.complete(body("v".repeat(30)), never, victim);
    assert.equal(await second, "encode_queue_full", "the newest of the largest");
    assert.equal(rig.gateway.stats().queuedCharacters, 70);
    await assert.rejects(rig.complete(body("u".repeat(45)), never, other), { code: "encode_queue_full" });
    for (let i = 0; i < 4; i++) {
      for (const { done } of tokenizer.works) done.resolve();
      await new Promise((resolve) => setImmediate(resolve));
    }
    await (await small).whole();
    assert.equal(await first, "answered");
    assert.equal(rig.gateway.stats().queuedCharacters, 0);
  });

  test("a request larger than the bound is admitted when no other waits", () => {
    const budget = new EncodeBudget(10);
    const faults: LorikeetError[] = [];
    const [one, two] = [{}, {}];
    const release = budget.reserve(one, 25, (fault) => faults.push(fault));
    assert.throws(() => budget.reserve(one, 1, () => {}), { code: "encode_queue_full" });
    const small = budget.reserve(two, 4, () => {});
    assert.deepEqual([budget.characters, budget.connections, faults.length], [4, 1, 1]);
    release();
    small();
    small();
    assert.deepEqual([budget.characters, budget.connections], [0, 0]);
    assert.doesNotThrow(() => budget.reserve(one, 0, () => {}));
    assert.equal(budget.connections, 0);
  });

  test("no request gives way if that would not free enough room", () => {
    const budget = new EncodeBudget(100);
    const [a, b, c] = [{}, {}, {}];
    let gone = 0;
    budget.reserve(a, 60, () => gone++);
    budget.reserve(b, 40, () => gone++);
    assert.throws(() => budget.reserve(c, 80, () => {}), { code: "encode_queue_full" });
    assert.deepEqual([gone, budget.characters], [0, 100]);
  });

  test("a gauge shows their number, and a counter the rejected requests", async () => {
    const tokenizer = heldTokenizer();
    await using rig = await openServerRig({ tokenizer, gateway: { maxQueuedCharacters: 10 } });
    const ask = (prompt: string) =>
      fetch(`${rig.url}/v1/completions`, {
        method: "POST",
        headers: { "content-type": "application/json" },
        body: JSON.stringify(body(prompt)),
      });
    const first = ask("12345678");
    await until(() => tokenizer.works.length === 1);
    const refused = await ask("1234567890");
    assert.deepEqual([refused.status, refused.headers.get("retry-after")], [429, "1"]);
    const text = await (await fetch(`${rig.url}/metrics`)).text();
    assert.match(text, /^lorikeet_queued_characters 8$/m);
    assert.match(text, /^lorikeet_rejections_total\{code="encode_queue_full"\} 1$/m);
    assert.match(text, /^lorikeet_waiting_requests\{adapter="base"\} 0$/m);
    assert.match(text, /^lorikeet_queue_oldest_seconds 0$/m);
    tokenizer.works[0]?.done.resolve();
    assert.equal((await first).status, 200);
  });

  test("requests of one connection count together, those of different connections apart", async () => {
    const tokenizer = heldTokenizer();
    await using rig = await openServerRig({ tokenizer });
    const socket = new WebSocket(`${rig.url.replace("http", "ws")}/v1/ws`);
    await new Promise((resolve) => socket.once("open", resolve));
    for (const id of ["a", "b"]) socket.send(JSON.stringify({ type: "completions", id, body: body(id) }));
    const headers = { "content-type": "application/json" };
    const sent = fetch(`${rig.url}/v1/completions`, { method: "POST", headers, body: JSON.stringify(body("c")) });
    await until(() => tokenizer.works.length === 3);
    const of = (text: string) => tokenizer.works.find((work) => work.text === text)?.connection;
    assert.ok(of("a") !== undefined && of("c") !== undefined);
    assert.equal(of("a"), of("b"));
    assert.notEqual(of("a"), of("c"));
    for (const { done } of tokenizer.works) done.resolve();
    await (await sent).text();
    socket.close();
  });
});
