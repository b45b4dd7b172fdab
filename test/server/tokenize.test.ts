/** vLLM's `/tokenize` and `/detokenize`, and paths without `/v1`. */
import assert from "node:assert/strict";
import { once } from "node:events";
import { describe, test } from "node:test";
import { WebSocket } from "ws";
import { bosId, byteTokenizer, eosId } from "../support/byte-tokenizer.js";
import { openServerRig, type RigOptions, type ServerRig } from "../support/rig.js";
import { load } from "../text/families.js";

const bytes = (text: string): number[] => [...Buffer.from(text)];

async function post(rig: ServerRig, path: string, body: unknown): Promise<[number, Record<string, unknown>]> {
  const response = await fetch(`${rig.url}${path}`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify(body),
  });
  return [response.status, JSON.parse(await response.text())];
}

async function refusal(rig: ServerRig, path: string, body: unknown): Promise<unknown[]> {
  const [status, { error }] = await post(rig, path, body);
  assert.ok(typeof error === "object" && error !== null && "code" in error && "param" in error);
  return [status, error.code, error.param];
}

describe("tokenize", () => {
  test("a prompt: its ids as a completion sees them, their count, the context, and their spelling when asked", async () => {
    await using rig = await openServerRig({ tokenizer: byteTokenizer({ addsBos: true }) });
    const ids = [bosId, ...bytes("hé")];
    const plain = { count: 4, max_model_len: 256, tokens: ids, token_strs: null };
    for (const path of ["/tokenize", "/v1/tokenize"]) {
      assert.deepEqual(await post(rig, path, { model: "base", prompt: "hé" }), [200, plain]);
    }
    const spelled = { ...plain, token_strs: ["<s>", "<104>", "<195>", "<169>"] };
    assert.deepEqual(await post(rig, "/tokenize", { prompt: "hé", return_token_strs: true }), [200, spelled]);
    const bare = { ...plain, count: 3, tokens: ids.slice(1) };
    assert.deepEqual(await post(rig, "/tokenize", { prompt: "hé", add_special_tokens: false }), [200, bare]);
    const [, empty] = await post(rig, "/tokenize", { prompt: "", add_special_tokens: false });
    assert.deepEqual([empty.count, empty.tokens], [0, []]);
  });

  test("a chat: through the template, with its fields", async () => {
    await using rig = await openServerRig();
    const messages = [{ role: "user", content: "hi" }];
    const [, whole] = await post(rig, "/tokenize", { messages });
    assert.deepEqual(whole.tokens, bytes("user: hi\nassistant: "));
    const [, bare] = await post(rig, "/tokenize", { messages, add_generation_prompt: false });
    assert.deepEqual(bare.tokens, bytes("user: hi\n"));
    const chat = rig.chat({ messages, max_tokens: 1 }, new AbortController().signal);
    await (await chat).whole();
    assert.deepEqual(rig.engine.sequences[0]?.request.promptIds, whole.tokens);
  });

  test("an adapter's name uses the base's tokenizer, an unknown name is a 404, and errors are those of a completion", async () => {
    await using rig = await openServerRig({ gateway: { maxPromptCharacters: 8 } });
    await rig.adapters.add("plays");
    assert.equal((await post(rig, "/tokenize", { model: "plays", prompt: "x" }))[0], 200);
    assert.deepEqual(await refusal(rig, "/tokenize", { model: "no", prompt: "x" }), [404, "model_not_found", "model"]);
    assert.deepEqual(await refusal(rig, "/detokenize", { model: "no", tokens: [] }), [404, "model_not_found", "model"]);
    assert.deepEqual(await refusal(rig, "/tokenize", { prompt: "123456789" }), [400, "prompt_too_long", "prompt"]);
    assert.deepEqual(await refusal(rig, "/tokenize", { prompt: ["a"] }), [400, "invalid_value", "prompt"]);
    assert.deepEqual(await refusal(rig, "/tokenize", {}), [400, "invalid_value", "prompt"]);
    assert.deepEqual(await refusal(rig, "/tokenize", { messages: [] }), [400, "invalid_value", "messages"]);
    assert.deepEqual(await refusal(rig, "/tokenize", { prompt: "x", n: 1 }), [400, "unsupported_parameter", "n"]);
    assert.deepEqual(await refusal(rig, "/detokenize", { tokens: [258] }), [400, "invalid_value", "tokens"]);
    assert.deepEqual(await refusal(rig, "/detokenize", { tokens: Array(9).fill(1) }), [400, "invalid_value", "tokens"]);
    await using none = await openServerRig({ tokenizer: null });
    assert.deepEqual((await refusal(none, "/tokenize", { prompt: "x" }))[1], "tokenizer_missing");
    assert.deepEqual((await refusal(none, "/detokenize", { tokens: [1] }))[1], "tokenizer_missing");
  });
});

test("detokenize gives the text of ids, special tokens too", async () => {
  await using rig = await openServerRig();
  for (const path of ["/detokenize", "/v1/detokenize"]) {
    const tokens = [bosId, ...bytes("é€"), eosId];
    assert.deepEqual(await post(rig, path, { tokens }), [200, { prompt: "<s>é€</s>" }]);
  }
  assert.deepEqual(await post(rig, "/detokenize", { tokens: [] }), [200, { prompt: "" }]);
});

test("real tokenizers round-trip, and tokens are spelled as in the vocabulary", async () => {
  const cases = { bookworm: "Ġdark", llama2: "▁dark", qwen2: "Ġdark" } as const;
  for (const family of ["bookworm", "llama2", "qwen2"] as const) {
    const tokenizer = await load(family);
    const { vocabSize } = tokenizer;
    const model: RigOptions["model"] = { vocabSize };
    await using rig = await openServerRig({ tokenizer, model });
    const prompt = "A naïve dark 日本 😀 night.\n".repeat(300).slice(0, 4000);
    const [, { tokens, token_strs }] = await post(rig, "/tokenize", { prompt, return_token_strs: true });
    assert.ok(Array.isArray(tokens) && Array.isArray(token_strs) && tokens.length > 2048 / 4);
    assert.deepEqual(tokens, await tokenizer.encode(prompt, { addSpecialTokens: true }));
    const spelled = token_strs.join("");
    assert.ok(spelled.includes(cases[family].charAt(0)), family);
    const [, { prompt: back }] = await post(rig, "/detokenize", { tokens });
    assert.equal(back, tokenizer.decode(tokens, { keepSpecialTokens: true }));
    await tokenizer.close();
  }
});

test("every path of the API also works without /v1", async () => {
  await using rig = await openServerRig({ script: { answer: () => bytes("ab") } });
  await rig.adapters.add("plays");
  const body = { prompt: "x", max_tokens: 2 };
  const [, { choices }] = await post(rig, "/completions", body);
  assert.deepEqual(JSON.parse(JSON.stringify(choices))[0].text, "ab");
  const messages = [{ role: "user", content: "x" }];
  assert.equal((await post(rig, "/chat/completions", { messages, max_tokens: 2 }))[0], 200);
  for (const path of ["/models", "/models/plays", "/adapters", "/adapters/plays", "/adapters/plays/download"]) {
    const [plain, versioned] = [await fetch(rig.url + path), await fetch(`${rig.url}/v1${path}`)];
    assert.deepEqual([plain.status, plain.headers.get("content-type")], [200, versioned.headers.get("content-type")]);
    assert.deepEqual(Buffer.from(await plain.arrayBuffer()), Buffer.from(await versioned.arrayBuffer()));
  }
  assert.equal((await fetch(`${rig.url}/completions`)).headers.get("allow"), "POST");
  assert.equal((await fetch(`${rig.url}/adapters/plays`, { method: "DELETE" })).status, 200);
  assert.equal((await post(rig, "/unload_lora_adapter", { lora_name: "plays" }))[0], 404);
  const socket = new WebSocket(`${rig.url.replace("http", "ws")}/ws`);
  await once(socket, "open");
  socket.terminate();
  await rig.gateway.drain(0);
});
