/** The page's client, against a server as the page meets it. */
import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { test } from "node:test";
import { WebSocket } from "ws";
import { adapterObject, cardObject } from "../../src/gateway/lorikeet/adapters.js";
import { type AnswerPiece, piecesOf } from "../../web/client/chunk.js";
import { ApiClient } from "../../web/client/client.js";
import { ApiError, deletedModel, errorOf } from "../../web/client/errors.js";
import { GenerationSocket, type SocketLike } from "../../web/client/socket.js";
import { packTar } from "../../web/client/tar.js";
import type { AdapterCard, AdapterInfo, Ask, Done } from "../../web/client/types.js";
import { openServerRig, type RigOptions, type ServerRig } from "../support/rig.js";

const key = "sk-1234567890+/";
const bytes = (text: string): number[] => [...Buffer.from(text)];
const clientOf = (rig: ServerRig, given: string | null = null): ApiClient =>
  new ApiClient({ baseUrl: `${rig.url}/`, key: given });

function socketOf(rig: ServerRig, given: string | null = null, onLost: (cutOff: number) => void = () => {}) {
  // A refused handshake is an event of its own in Node.js; browsers only close.
  const open = (url: string, protocols: string[]): SocketLike => new WebSocket(url, protocols).on("error", () => {});
  return new GenerationSocket({ url: `${rig.url.replace("http", "ws")}/v1/ws`, key: given, open, onLost });
}

interface Received {
  readonly text: string;
  readonly pieces: readonly AnswerPiece[];
  readonly finish: string | null;
  readonly done: Done | null;
  readonly error: ApiError | null;
}

/** Runs an answer to its end. `onChunk` gets its cancel. */
function answerOf(socket: GenerationSocket, ask: Ask, onChunk: (cancel: () => void) => void = () => {}) {
  return new Promise<Received>((resolve) => {
    const pieces: AnswerPiece[] = [];
    let finish: string | null = null;
    const end = (done: Done | null, error: ApiError | null): void =>
      resolve({ text: pieces.map(({ text }) => text).join(""), pieces, finish, done, error });
    const cancel = socket.generate(ask, {
      chunk: (more, reason) => {
        pieces.push(...more);
        finish = reason;
        onChunk(cancel);
      },
      done: (done) => end(done, null),
      failed: (error) => end(null, error),
    });
  });
}

const tarOf = (weights: string) =>
  packTar([
    { name: "adapter_config.json", content: new Blob(['{"target_modules":["q_proj"]}']) },
    { name: "adapter_model.safetensors", content: new Blob([weights]) },
    {
      name: "README.md",
      content: new Blob([
        "---\nwidget:\n- text: Once\n  example_title: A start\n  parameters: { temperature: 0 }\n---\n# Plays\n",
      ]),
    },
  ]);

const script: RigOptions["script"] = { answer: () => bytes("abc") };
const sampling = { max_tokens: 3, temperature: 0, top_p: 1 };

test("the client lists, uploads, shows, pins and removes adapters", async () => {
  await using rig = await openServerRig({ script });
  const client = clientOf(rig);
  assert.equal(await client.readiness(), "ready");
  assert.deepEqual((await client.server()).bases, [
    { name: "base", text: true, task: null, tasks: ["text-generation"], trains: [] },
  ]);
  const stored = await client.upload("org/plays", tarOf("one"), { replace: false });
  assert.deepEqual([stored.outcome, stored.name], ["created", "org/plays"]);
  await assert.rejects(client.upload("org/plays", tarOf("two"), { replace: false }), { code: "precondition_failed" });
  assert.equal((await client.upload("org/plays", tarOf("two"), { replace: true })).outcome, "replaced");
  assert.deepEqual(
    (await client.models()).map(({ id, parent }) => [id, parent]),
    [
      ["base", null],
      ["alias", null],
      ["org/plays", "base"],
    ],
  );
  const card = await client.card("org/plays");
  assert.deepEqual([card.readme, card.target_modules], ["# Plays\n", ["q_proj"]]);
  const parameters = { temperature: 0, top_p: null, max_tokens: null };
  assert.deepEqual(card.examples, [{ title: "A start", text: "Once", picture: null, parameters }]);
  assert.deepEqual(await client.modelCard("org/plays"), { ...card, object: "model.card" });
  assert.equal((await client.modelCard("base")).readme, null);
  await assert.rejects(client.modelCard("nobody"), { code: "model_not_found" });
  assert.equal((await client.pin("org/plays", true)).pinned, true);
  assert.equal((await client.adapters()).length, 1);
  assert.ok((await client.download("org/plays")).size > 0);
  assert.match(await client.metrics(), /lorikeet_requests_total/);
  await client.remove("org/plays");
  assert.deepEqual(await client.adapters(), []);
});

test("a refusal arrives in the server's words, with the faults that these leave out", async () => {
  await using rig = await openServerRig({ script });
  await assert.rejects(clientOf(rig).upload("bad", tarOf("bad"), { replace: true }), (error) => {
    assert.ok(error instanceof ApiError);
    assert.deepEqual([error.status, error.code, error.faults], [422, "adapter_invalid", ["two"]]);
    assert.equal(error.message, "The adapter was refused for 2 faults: one; and 1 more.");
    return true;
  });
  await assert.rejects(clientOf(rig).fineTuning.jobs(), { status: 404, code: "route_not_found" });
  await rig.server.close();
  await assert.rejects(clientOf(rig).adapters(), { status: 0, code: "no_answer" });
});

test("a refusal in the form of Hugging Face's pipelines keeps its words", () => {
  const { status, code, message } = errorOf(415, '{"error":"PNG and JPEG are supported.","code":"image_unsupported"}');
  assert.deepEqual([status, code, message], [415, "image_unsupported", "PNG and JPEG are supported."]);
});

test("the client tells a server that shuts down from one that loads", async () => {
  await using rig = await openServerRig({ script: { answer: () => bytes("x".repeat(50)), tokenMs: 4 } });
  const socket = socketOf(rig);
  const ask: Ask = { type: "completions", body: { prompt: "x", ...sampling, max_tokens: 40 } };
  let draining: Promise<unknown> | null = null;
  const during = await new Promise((resolve) => {
    void answerOf(socket, ask, () => {
      if (draining !== null) return;
      draining = rig.server.drain(5_000);
      resolve(clientOf(rig).readiness());
    });
  });
  await draining;
  assert.equal(during, "draining");
});

test("a key opens the API and the socket; a wrong one is refused", async () => {
  await using rig = await openServerRig({ script, apiKeys: [key] });
  await assert.rejects(clientOf(rig).server(), { status: 401 });
  await assert.rejects(clientOf(rig, "wrong").server(), { status: 401, code: "invalid_api_key" });
  assert.equal((await clientOf(rig, key).server()).name, "lorikeet");
  const ask: Ask = { type: "completions", body: { prompt: "x", ...sampling } };
  const socket = socketOf(rig, key);
  assert.equal((await answerOf(socket, ask)).text, "abc");
  socket.close();
  let cutOff = 0;
  const refused = socketOf(rig, "wrong", (count) => {
    cutOff += count;
  });
  assert.equal((await answerOf(refused, ask)).error?.code, "connection_lost");
  assert.equal(cutOff, 0, "an answer that never began is not cut off");
});

test("answers share a socket: each has its own tokens with their probabilities, and its own end", async () => {
  await using rig = await openServerRig({ script });
  const socket = socketOf(rig);
  const [text, chat, refused] = await Promise.all([
    answerOf(socket, { type: "completions", body: { prompt: "x", logprobs: 2, ...sampling } }),
    answerOf(socket, { type: "completions", body: { model: "base", prompt: "x", ...sampling } }),
    answerOf(socket, { type: "completions", body: { model: "nobody", prompt: "x", ...sampling } }),
  ]);
  assert.deepEqual([text.text, text.finish, text.done?.usage.completion_tokens], ["abc", "length", 3]);
  assert.deepEqual(
    text.pieces.map((piece) => piece.text),
    ["a", "b", "c"],
  );
  assert.equal(text.pieces[0]?.probability, Math.exp(-0.25));
  assert.deepEqual(
    text.pieces[0]?.alternatives.map((each) => each.text),
    ["a", "b"],
  );
  assert.deepEqual([chat.text, chat.pieces[0]?.alternatives], ["abc", []]);
  assert.deepEqual([refused.error?.code, refused.done], ["model_not_found", null]);
  socket.close();
});

test("one answer is cancelled while others go on, and a lost connection ends the rest", async () => {
  const endless: RigOptions["script"] = { answer: () => Array(200).fill(97), tokenMs: 1 };
  await using rig = await openServerRig({ script: endless });
  let lost = 0;
  const socket = socketOf(rig, null, (cutOff) => {
    lost += cutOff;
  });
  const body = { prompt: "x", max_tokens: 200, temperature: 0, top_p: 1 };
  const cancelled = await answerOf(socket, { type: "completions", body }, (cancel) => cancel());
  assert.equal(cancelled.error?.code, "cancelled");
  const cut = await answerOf(socket, { type: "completions", body }, () => socket.close());
  assert.deepEqual([cut.error?.code, lost], ["connection_lost", 1]);
  const large = await answerOf(socket, { type: "completions", body: { ...body, prompt: "x".repeat(2 ** 22) } });
  assert.deepEqual(
    [large.error?.code, large.error?.message],
    ["too_large", "The text is larger than the server takes."],
  );
  const again = await answerOf(socket, { type: "completions", body: { ...body, max_tokens: 2 } });
  assert.equal(again.text, "aa");
  socket.close();
});

test("a server that hangs, or breaks off in the middle of an answer, has not answered", async () => {
  const server = createServer((req, res) => {
    if (req.url !== "/v1/adapters") return;
    res.writeHead(200, { "content-length": 100 }).write('{"data":[');
    setTimeout(() => res.destroy(), 20);
  }).listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  const client = new ApiClient({ baseUrl: `http://127.0.0.1:${port}/` });
  const noAnswer = { name: "ApiError", code: "no_answer" };
  await assert.rejects(client.adapters(), noAnswer);
  await assert.rejects(client.server(AbortSignal.timeout(20)), noAnswer);
  await assert.rejects(client.readiness(AbortSignal.timeout(20)), noAnswer);
  const upload = client.upload("bard", tarOf("weights"), { replace: false, signal: AbortSignal.timeout(20) });
  await assert.rejects(upload, noAnswer);
  server.close();
  server.closeAllConnections();
});

test("a chat's chunks give the same pieces, reasoning apart", () => {
  const token = (text: string) => ({ token: text, logprob: 0, top_logprobs: [{ token: text, logprob: 0 }] });
  const chunk = (delta: object, tokens: readonly string[]) => ({
    choices: [{ delta, logprobs: { content: tokens.map(token) }, finish_reason: null }],
  });
  const [first, second] = piecesOf(chunk({ content: "ab" }, ["a", "b"])).pieces;
  assert.deepEqual([first?.text, second?.text, first?.probability], ["a", "b", 1]);
  // A character of two tokens cannot be split between them.
  const [whole] = piecesOf(chunk({ content: "ö" }, ["bytes:\\xc3", "bytes:\\xb6"])).pieces;
  assert.deepEqual([whole?.text, whole?.tokens, whole?.probability], ["ö", 2, null]);
  const [reasoning] = piecesOf(chunk({ reasoning_content: "why" }, ["why"])).pieces;
  assert.deepEqual([reasoning?.text, reasoning?.isReasoning], ["why", true]);
  assert.deepEqual(piecesOf({ choices: [] }), { pieces: [], finish: null });
});

test("the client's types are the server's", () => {
  const info: (...of: Parameters<typeof adapterObject>) => AdapterInfo = adapterObject;
  const card: (...of: Parameters<typeof cardObject>) => AdapterCard = cardObject;
  assert.deepEqual([typeof info, typeof card], ["function", "function"]);
});

test("a model that was listed and does not exist any more was deleted", () => {
  const known = new Set(["bard", "base"]);
  const refused = (code: string, name: string) => new ApiError(404, code, `The model \`${name}\` does not exist.`);
  assert.equal(deletedModel(refused("model_not_found", "bard"), known), "bard");
  assert.equal(deletedModel(refused("adapter_not_found", "bard"), known), "bard");
  assert.equal(deletedModel(refused("model_not_found", "typo"), known), null);
  assert.equal(deletedModel(refused("conflict", "bard"), known), null);
});
