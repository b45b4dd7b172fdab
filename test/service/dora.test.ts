/** DoRA as a user has it: uploaded to a running server, pinned, streamed together with LoRA and the base, in every mode of the base. */
import assert from "node:assert/strict";
import { cp } from "node:fs/promises";
import { basename, join } from "node:path";
import { test } from "node:test";
import { openLocalStore } from "../../src/cli/adapters/local-store.js";
import { openCheckBaseAt } from "../../src/cli/check-base.js";
import { GainCheck } from "../../src/cli/serve/gain-check.js";
import { openCheckpoint } from "../../src/model/checkpoint/open.js";
import { targetModules } from "../../src/model/modules.js";
import { writeSafetensors } from "../../src/tensor/safetensors-write.js";
import { type EditableTensor, edited, readTensors } from "../adapter/format/helpers.js";
import {
  complete,
  formOf,
  frameTokens,
  only,
  put,
  remove,
  SocketClient,
  scrape,
  stream,
  tokensOf,
} from "../support/client.js";
import { adapterFolder, oracleRoot, readExpected } from "../support/oracle.js";
import { runHere } from "../support/program.js";
import { adaptersFolder, openService, untilVersions } from "../support/service.js";
import { taskRoot } from "../support/task-models.js";

const peft = "test/fixtures/dora";

for (const family of ["llama", "qwen2", "gpt2"]) {
  test(`${family}: an uploaded DoRA adapter answers with PEFT's tokens beside LoRA and the base, and is counted`, async () => {
    await using folder = await adaptersFolder({ lora: adapterFolder(family, "patterns") });
    const model = join(oracleRoot, family);
    await using service = await openService({ model, adapters: folder.path, servedModelName: "base" });
    const { url, stack } = service;
    using socket = await SocketClient.open(url);
    await put(url, "dora", join(peft, family));
    const card = stack.gateway.adapters.get("dora");
    assert.equal(card.dora, true);
    const headers = { "content-type": "application/json" };
    const body = JSON.stringify({ pinned: true });
    const pinned = await fetch(`${url}/v1/adapters/dora`, { method: "PATCH", headers, body });
    assert.equal(pinned.status, 200, await pinned.text());
    assert.equal((await scrape(url)).get("lorikeet_adapter_cache_bytes"), card.bytes);

    const folders = { dora: join(peft, family), lora: adapterFolder(family, "patterns"), base: model };
    const check = async (name: string, path: string): Promise<void> => {
      const { inputIds, greedyIds } = await readExpected(path);
      const answer = greedyIds.slice(inputIds.length);
      const ask = { model: name, prompt: inputIds, return_token_ids: true, max_tokens: answer.length };
      const greedy = { ...ask, temperature: 0, ignore_eos: true };
      const [whole, streamed, frames] = await Promise.all([
        complete(url, greedy),
        tokensOf(stream(url, greedy)),
        socket.ask(name, greedy),
      ]);
      for (const ids of [only(whole).token_ids, streamed, frameTokens(frames)]) assert.deepEqual(ids, answer, name);
    };
    await check("dora", folders.dora); // the first of its kind, alone
    const active = (await scrape(url)).get("lorikeet_active_adapter_bytes");
    assert.equal(active, card.activeBytes);
    await Promise.all(Object.entries(folders).map(([name, path]) => check(name, path)));
    await service.assertIdle();
    await remove(url, "dora");
    await untilVersions(service, 0);
  });
}

for (const dtype of ["int8", "int4"]) {
  test(`${dtype}: DoRA rows and their neighbours get the same tokens alone and in a mixed batch`, async () => {
    await using folder = await adaptersFolder({ lora: adapterFolder("qwen2", "patterns"), dora: join(peft, "qwen2") });
    const model = join(oracleRoot, "qwen2");
    const flags = { model, adapters: folder.path, servedModelName: "base", dtype, exact: "true" };
    await using service = await openService(flags);
    const ask = (name: string) => ({
      model: name,
      prompt: [5, 6, 7, 8],
      max_tokens: 24,
      temperature: 0,
      ignore_eos: true,
      return_token_ids: true,
    });
    const names = ["base", "lora", "dora"];
    const alone: (readonly number[] | undefined)[] = [];
    for (const name of names) alone.push(only(await complete(service.url, ask(name))).token_ids);
    assert.equal(new Set(alone.map(String)).size, 3);
    const together = await Promise.all(names.map((name) => tokensOf(stream(service.url, ask(name)))));
    assert.deepEqual(together, alone);
  });
}

test("a DoRA adapter with a module that lacks its magnitude is refused, and nothing is stored", async () => {
  await using folder = await adaptersFolder({});
  await using service = await openService({ model: join(oracleRoot, "llama"), adapters: folder.path });
  const broken = await edited({
    source: join(peft, "llama"),
    tensors: (all) => all.filter(({ name }) => !name.endsWith("lm_head.lora_magnitude_vector")),
  });
  const body = await formOf(broken);
  const response = await fetch(`${service.url}/v1/adapters/broken`, { method: "PUT", body });
  assert.equal(response.status, 422);
  assert.match(await response.text(), /lm_head has no lora_magnitude_vector/);
  assert.deepEqual(service.stack.gateway.adapters.list(), []);
});

/** A fixture as it was before training: B is zero, and the magnitudes are the lengths of the base's weights. */
async function untrained(source: string, model: string): Promise<string> {
  const weights = new Map((await readTensors(join(model, "model.safetensors"))).map((tensor) => [tensor.name, tensor]));
  return await edited({
    source,
    tensors: (all) =>
      all.map((tensor) => {
        const [, path = "", what] = /^base_model\.model\.(.+)\.lora_(B|magnitude_vector)/.exec(tensor.name) ?? [];
        if (what === "B") return { ...tensor, data: new Uint8Array(tensor.data.length) };
        const weight = weights.get(`${path}.weight`);
        if (what === undefined || !weight) return tensor;
        const values = new Float32Array(Uint8Array.from(weight.data).buffer);
        const inputs = weight.shape[1] ?? 1;
        const lengths = Float32Array.from({ length: values.length / inputs }, (_, output) =>
          Math.hypot(...values.subarray(output * inputs, (output + 1) * inputs)),
        );
        return { ...tensor, data: new Uint8Array(lengths.buffer) };
      }),
  });
}

test("a DoRA adapter that was never trained is stored with a warning that it changes nothing, as LoRA is", async () => {
  const bases = [
    { model: join(oracleRoot, "llama"), adapter: join(peft, "llama") },
    { model: join(taskRoot, "policy-mlp"), adapter: join(taskRoot, "policy-mlp", "adapters", "dora") },
  ];
  await using folder = await adaptersFolder({});
  await using service = await openService({ model: bases.map(({ model }) => model), adapters: folder.path });
  for (const [i, { model, adapter }] of bases.entries()) {
    const fresh = await untrained(adapter, model);
    const warningsOf = async (name: string, from: string) => {
      const asked = `${service.url}/v1/adapters/${name}?base=${basename(model)}`;
      const response = await fetch(asked, { method: "PUT", body: await formOf(from) });
      const text = await response.text();
      assert.ok(response.ok, text);
      return JSON.parse(text).warnings;
    };
    const warning =
      "The adapter changes nothing: its modules' products are zero, and their magnitudes are the norms of the base's weights.";
    assert.deepEqual(await warningsOf(`fresh-${i}`, fresh), [warning]);
    assert.deepEqual(await warningsOf(`trained-${i}`, adapter), []);
    if (i === 0) assert.ok((await runHere(["inspect", fresh, "--model", model])).out.includes(warning));
  }
});

/** With the first row of a matrix as zeros. */
function withZeroRow(tensors: readonly EditableTensor[], name: string): EditableTensor[] {
  return tensors.map((tensor) => {
    if (tensor.name !== name) return tensor;
    const data = tensor.data.slice();
    data.fill(0, 0, data.length / (tensor.shape[0] ?? 1));
    return { ...tensor, data };
  });
}

test("a DoRA adapter over an output of length zero is refused as an upload and as an operator's folder", async () => {
  const source = join(peft, "llama");
  const lora = "base_model.model.lm_head.lora_B.weight";
  const adapter = await edited({ source, tensors: (all) => withZeroRow(all, lora) });
  await using folder = await adaptersFolder({ mine: adapter });
  await using home = await adaptersFolder({});
  const model = join(home.path, "base");
  // Without the adapters of its own, which would be listed too.
  await cp(join(oracleRoot, "llama"), model, { recursive: true, filter: (path) => basename(path) !== "adapters" });
  const weights = join(model, "model.safetensors");
  await writeSafetensors(weights, withZeroRow(await readTensors(weights), "lm_head.weight"), { format: "pt" });
  const inspected = await runHere(["inspect", adapter, "--model", model]);
  assert.equal(inspected.code, 5);
  assert.match(inspected.err, /output 0 of lm_head has the magnitude/);
  await using service = await openService({ model, adapters: folder.path });
  const response = await fetch(`${service.url}/v1/adapters/sent`, { method: "PUT", body: await formOf(adapter) });
  assert.equal(response.status, 422);
  assert.match(await response.text(), /output 0 of lm_head has the magnitude [0-9.]+ over weights of length 0/);
  assert.deepEqual(service.stack.gateway.adapters.list(), []);
  await using local = await openLocalStore(folder.path, await openCheckBaseAt(model));
  await local.store.scan();
  assert.deepEqual(local.store.list(), []);
});

test("checking a DoRA adapter's magnitudes ends at its deadline", async () => {
  const model = join(oracleRoot, "llama");
  const { config } = await openCheckpoint(model);
  const norms = { of: () => assert.fail("a norm was computed") };
  const check = new GainCheck(targetModules(config), norms, { timeoutMs: 0 });
  await assert.rejects(check.check(join(peft, "llama"), { dora: true }), { code: "validation_timeout" });
  await check.close();
});

test("loading an adapter to check its magnitudes ends at the deadline too", { timeout: 60_000 }, async () => {
  const model = join(oracleRoot, "llama");
  const { config } = await openCheckpoint(model);
  // Matching this takes far longer than the deadline, were its budget not there: so the limits are lifted.
  const pattern = `(?:${"a?".repeat(400)}){40}`;
  const patterns = Object.fromEntries(Array.from({ length: 200 }, (_, i) => [`${pattern}|x${i}`, 8]));
  const slow = await edited({ source: join(peft, "llama"), config: { rank_pattern: patterns } });
  const norms = { of: () => assert.fail("a norm was computed") };
  const check = new GainCheck(targetModules(config), norms, { timeoutMs: 1_000, limits: { maxPatternSize: 2 ** 40 } });
  const message = /^Checking the adapter took longer than 1000 ms/;
  await assert.rejects(check.check(slow, { dora: true }), { code: "validation_timeout", message });
  await check.close();
});
