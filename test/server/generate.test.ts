/** The calls of LoRAX and TGI: bodies, answers, events and errors as their clients know them. */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { eosId } from "../support/byte-tokenizer.js";
import { openServerRig, type RigOptions, type ServerRig } from "../support/rig.js";

const bytes = (text: string): number[] => [...Buffer.from(text)];
const saying = (...ids: number[]): RigOptions => ({ script: { answer: () => ids } });

async function send(
  rig: ServerRig,
  path: string,
  body: object,
): Promise<{ status: number; text: string; headers: Headers }> {
  const headers = { "content-type": "application/json" };
  const response = await fetch(rig.url + path, { method: "POST", headers, body: JSON.stringify(body) });
  return { status: response.status, text: await response.text(), headers: response.headers };
}

async function generate(rig: ServerRig, parameters: object, path = "/generate") {
  const { status, text } = await send(rig, path, { inputs: "ab", parameters });
  assert.equal(status, 200, text);
  return JSON.parse(text);
}

/** The events' data; fails if a line is anything else. */
async function events(rig: ServerRig, parameters: object, path = "/generate_stream", more: object = {}) {
  const { text, headers } = await send(rig, path, { inputs: "ab", parameters, ...more });
  assert.match(headers.get("content-type") ?? "", /^text\/event-stream/);
  const lines = text.split("\n\n").filter((line) => line !== "");
  return lines.map((line) => JSON.parse(/^data: (\{.*\})$/.exec(line)?.[1] ?? assert.fail(line)));
}

describe("generate", () => {
  test("answers with the text alone, or with details", async () => {
    await using rig = await openServerRig(saying(...bytes("hé"), eosId));
    assert.deepEqual(await generate(rig, {}), { generated_text: "hé" });
    const request = rig.engine.sequences[0]?.request;
    assert.deepEqual([request?.maxTokens, request?.sampling.temperature, request?.sampling.logprobs], [100, 0, null]);
    const { generated_text, details } = await generate(rig, { details: true, decoder_input_details: true });
    assert.equal(generated_text, "hé");
    const token = (id: number, text: string, special = false) => ({ id, text, logprob: -0.25, special });
    assert.deepEqual(details, {
      finish_reason: "eos_token",
      generated_tokens: 4,
      seed: null,
      prompt_tokens: 2,
      input_length: 2,
      adapter: null,
      digest: null,
      prefill: [
        { id: 97, text: "a", logprob: null },
        { id: 98, text: "b", logprob: -0.25 },
      ],
      tokens: [token(104, "h"), token(0xc3, ""), token(0xa9, "é"), token(eosId, "</s>", true)],
    });
  });

  test("streams an event for each token; the last has the text and the details", async () => {
    await using rig = await openServerRig(saying(...bytes("hé"), eosId));
    const all = await events(rig, { details: true, top_n_tokens: 1 });
    assert.deepEqual(
      all.map(({ index, token, generated_text }) => [index, token.text, token.special, generated_text]),
      [
        [1, "h", false, null],
        [2, "", false, null],
        [3, "é", false, null],
        [4, "</s>", true, "hé"],
      ],
    );
    assert.deepEqual(all[0].top_tokens, [{ id: 104, text: "h", logprob: -0.25, special: false }]);
    assert.deepEqual(all[0].details, null);
    assert.equal(all[3].details.finish_reason, "eos_token");
    assert.equal((await events(rig, {})).at(-1).details, null);
  });

  test("ends with its stop string, whose held text belongs to its tokens", async () => {
    await using rig = await openServerRig(saying(...bytes("so long, so far")));
    const parameters = { details: true, stop: ["so f"], seed: 5, do_sample: true };
    const { generated_text, details } = await generate(rig, parameters);
    assert.equal(generated_text, "so long, so f");
    assert.deepEqual([details.finish_reason, details.seed], ["stop_sequence", 5]);
    const all = await events(rig, parameters);
    assert.equal(all.map(({ token }) => token.text).join(""), "so long, so f");
    assert.equal(all.at(-1).generated_text, "so long, so f");
    assert.equal((await events(rig, { max_new_tokens: 3, details: true })).at(-1).details.finish_reason, "length");
  });

  test("samples only if asked to, and returns the prompt if asked to", async () => {
    await using rig = await openServerRig();
    const temperature = async (parameters: object) => {
      await generate(rig, { max_new_tokens: 1, ...parameters });
      return rig.engine.sequences.at(-1)?.request.sampling.temperature;
    };
    assert.equal(await temperature({ temperature: 1 }), 0);
    assert.equal(await temperature({ do_sample: true }), 1);
    assert.equal(await temperature({ top_k: 5 }), 1);
    assert.equal(await temperature({ temperature: 0.5 }), 0.5);
    assert.equal(await temperature({ temperature: 0, do_sample: true }), 0);
    const full = await generate(rig, { max_new_tokens: 2, return_full_text: true, truncate: 1 });
    assert.equal(full.generated_text, "abbb");
    assert.deepEqual(rig.engine.sequences.at(-1)?.request.promptIds, bytes("b"));
  });

  test("answers with a named adapter, and with none in place of an unknown one", async () => {
    await using rig = await openServerRig();
    const digest = await rig.adapters.add("org/plays");
    const parameters = { adapter_id: "org/plays", adapter_source: "hub", details: true, max_new_tokens: 1 };
    const { details } = await generate(rig, parameters);
    assert.deepEqual([details.adapter, details.digest], ["org/plays", digest]);
    const { status, text } = await send(rig, "/generate", { inputs: "x", parameters: { adapter_id: "gone" } });
    assert.equal(status, 404);
    assert.deepEqual(JSON.parse(text), {
      error: "The model `gone` does not exist. This server has `base`, `alias`, `org/plays`.",
      error_type: "model_not_found",
      code: "model_not_found",
      param: "adapter_id",
    });
    assert.equal(rig.engine.sequences.length, 1);
  });

  test("mixes adapters as LoRAX names them, and refuses what is not exact", async () => {
    await using rig = await openServerRig();
    for (const name of ["a", "b"]) await rig.adapters.add(name);
    const mixed = async (parameters: object) => {
      const { status, text } = await send(rig, "/generate", {
        inputs: "x",
        parameters: { max_new_tokens: 1, details: true, ...parameters },
      });
      const { details, param, error } = JSON.parse(text);
      return status === 200 ? { adapter: details.adapter, digest: details.digest } : { status, param, error };
    };
    const lorax = { weights: [0.5, 2], merge_strategy: "linear", density: 0, majority_sign_method: "total" };
    const named = await mixed({
      adapters: [
        { name: "a", weight: 0.5 },
        { name: "b", weight: 2 },
      ],
    });
    assert.equal(named.adapter, "a+b");
    assert.deepEqual(await mixed({ merged_adapters: { ids: ["a", "b"], ...lorax } }), named);
    assert.deepEqual(await mixed({ adapter_parameters: { adapter_ids: ["b", "a"], weights: [2, 0.5] } }), named);
    const ones = await mixed({ merged_adapters: { ids: ["a", "b"] } });
    assert.deepEqual(ones, await mixed({ adapters: [{ name: "b" }, { name: "a", weight: 1 }] }));
    assert.notEqual(ones.digest, named.digest);
    for (const merge_strategy of ["ties", "dare_linear", "dare_ties"]) {
      const refused = await mixed({ merged_adapters: { ids: ["a", "b"], merge_strategy } });
      assert.deepEqual([refused.status, refused.param], [422, "merged_adapters"]);
      assert.match(refused.error, new RegExp(`found "${merge_strategy}"`));
    }
    const faults: readonly (readonly [object, string])[] = [
      [{ merged_adapters: { ids: ["a"], weights: [1, 2] } }, "merged_adapters"],
      [{ merged_adapters: { ids: ["a", "a"] } }, "merged_adapters"],
      [{ merged_adapters: { ids: [] } }, "merged_adapters"],
      [{ merged_adapters: { ids: ["a"], extra: 1 } }, "merged_adapters"],
      [{ adapter_id: "a", adapters: [{ name: "b" }] }, "adapter_id"],
      [{ adapters: "a" }, "adapters"],
    ];
    for (const [parameters, param] of faults) assert.equal((await mixed(parameters)).param, param);
    const gone = await mixed({ merged_adapters: { ids: ["a", "gone"] } });
    assert.deepEqual([gone.status, gone.param], [404, "ids"]);
  });

  test("the root answers as TGI's: a list of one, or events", async () => {
    await using rig = await openServerRig(saying(...bytes("hey")));
    assert.deepEqual(await generate(rig, { max_new_tokens: 2 }, "/"), [{ generated_text: "he" }]);
    assert.equal((await events(rig, { max_new_tokens: 2 }, "/", { stream: true })).at(-1).generated_text, "he");
    const refused = await fetch(rig.url, { method: "PUT" });
    assert.deepEqual([refused.status, refused.headers.get("allow")], [405, "GET, POST"]);
  });

  test("refuses by name what it does not support, in TGI's form", async () => {
    await using rig = await openServerRig();
    const refusal = async (body: object) => {
      const { status, text } = await send(rig, "/generate", body);
      const { error, error_type, param } = JSON.parse(text);
      assert.deepEqual([status, error_type], [422, "validation"], error);
      return param;
    };
    const within = (parameters: object) => refusal({ inputs: "x", parameters });
    assert.equal(await refusal({}), "inputs");
    assert.equal(await refusal({ inputs: "x", parameters: 5 }), "parameters");
    assert.equal(await refusal({ inputs: "x", temperature: 1 }), "temperature");
    assert.equal(await within({ inputs: "y" }), "inputs");
    assert.equal(await within({ best_of: 2 }), "best_of");
    assert.equal(await within({ watermark: true }), "watermark");
    assert.equal(await within({ typical_p: 0.5 }), "typical_p");
    assert.equal(await within({ adapter_source: "ftp" }), "adapter_source");
    assert.equal(await within({ max_new_tokens: 0 }), "max_new_tokens");
    assert.equal(await within({ grammar: { type: "xml" } }), "grammar");
    const both = await send(rig, "/generate", { inputs: 1, parameters: { watermark: true } });
    assert.match(both.text, /`watermark`.*`inputs`/);
  });

  test("reports a fault in mid-stream as an event, and a missing key in the same form", async () => {
    const error = new Error("broken");
    await using rig = await openServerRig({ script: { failAfter: { tokens: 2, error } }, apiKeys: ["k"] });
    const missing = await send(rig, "/generate", { inputs: "ab" });
    assert.deepEqual([missing.status, JSON.parse(missing.text).error_type], [401, "invalid_api_key"]);
    const response = await fetch(`${rig.url}/generate_stream`, {
      method: "POST",
      headers: { "content-type": "application/json", authorization: "Bearer k" },
      body: JSON.stringify({ inputs: "ab" }),
    });
    const lines = (await response.text()).trim().split("\n\n");
    assert.match(lines.at(-1) ?? "", /^data: \{"error":"[^"]+","error_type":"generation"/);
  });
});
