/** Modules of sentence-transformers over HTTP: PyTorch's vectors, of the base and of an adapter in one batch. */

import assert from "node:assert/strict";
import { cp, lstat, mkdtemp, rename, rm, symlink } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, describe, test } from "node:test";
import { type Progress, silent } from "../../src/base/log.js";
import { engineOptions } from "../../src/cli/options/engine-options.js";
import { resolveSettings } from "../../src/cli/options/settings.js";
import { openStack, planStack } from "../../src/cli/stack.js";
import { openCheckpoint } from "../../src/model/checkpoint/open.js";
import { readSentenceModules } from "../../src/model/task/sentence-modules.js";
import { readVectorPlan } from "../../src/model/task/vector-graph.js";
import { mergeAdapter } from "../../src/train/files/merge.js";
import { post } from "../support/client.js";
import { oracleRoot, readExpected } from "../support/oracle.js";
import { relativeDistance } from "../support/relative-distance.js";
import { moduleRoot, readModuleVectors, withModules } from "../support/sentence-modules.js";
import { adaptersFolder, openService } from "../support/service.js";
import { readExpectedTensors, taskRoot } from "../support/task-models.js";

describe("modules of sentence-transformers", async () => {
  const folder = await mkdtemp(join(tmpdir(), "lorikeet-modules-"));
  after(() => rm(folder, { recursive: true }));
  const llama = join(folder, "llama");
  await cp(join(oracleRoot, "llama"), llama, { recursive: true, filter: (path) => !path.includes("train") });
  await cp(join(moduleRoot, "llama"), llama, { recursive: true });

  test("an encoder's vectors pass them, with an adapter in the same batch and alone", async () => {
    const model = await withModules(join(folder, "bert"));
    const own = join(taskRoot, "bert-embeddings", "adapters", "attn-r8");
    await using adapters = await adaptersFolder({ "attn-r8": own });
    await using service = await openService({ model, adapters: adapters.path });
    const { input_ids: ids, attention_mask: mask } = Object.fromEntries(await readExpectedTensors("bert-embeddings"));
    assert.ok(ids && mask);
    const texts = [0, 1, 2, 3].map((row) =>
      [...ids.data].slice(16 * row, 16 * (row + 1)).flatMap((id, at) => (mask.data[16 * row + at] ? [Number(id)] : [])),
    );
    const embed = async (name: string, input: readonly (readonly number[])[]): Promise<Float32Array> => {
      const response = await post(service.url, "/v1/embeddings", { model: name, input });
      const { data } = JSON.parse(await response.text());
      return Float32Array.from(data.flatMap(({ embedding }: { embedding: number[] }) => embedding));
    };
    const names = ["bert", "attn-r8"];
    const found = await Promise.all(names.map((name) => embed(name, texts)));
    for (const [i, vectors] of found.entries()) {
      const expected = await readModuleVectors(i === 0 ? "base" : "attn-r8");
      assert.ok(relativeDistance(vectors, expected) <= 2e-6, names[i]);
      assert.deepEqual(await embed(names[i] ?? "", texts.slice(1, 2)), vectors.slice(24, 48), "the same bits alone");
    }
    const info = JSON.parse(await (await fetch(`${service.url}/info`)).text());
    assert.deepEqual(info.model_type, { embedding: { pooling: "weightedmean+max" } });
    await service.assertIdle();
  });

  test("so do a decoder's", async () => {
    await using service = await openService({ model: llama });
    const { inputIds: input } = await readExpected(join(oracleRoot, "llama"));
    const response = await post(service.url, "/v1/embeddings", { input });
    const { data } = JSON.parse(await response.text());
    const bound = process.env.LORIKEET_TEST_DEVICE === undefined ? 2e-5 : 2e-2;
    assert.ok(relativeDistance(Float32Array.from(data[0].embedding), await readModuleVectors("llama")) <= bound);
    await service.assertIdle();
  });

  test("a merged decoder has the modules of its base", async () => {
    const base = join(folder, "linked");
    await cp(llama, base, { recursive: true });
    // As the Hugging Face cache keeps files.
    await rename(join(base, "2_Dense", "model.safetensors"), join(folder, "blob"));
    await symlink(join(folder, "blob"), join(base, "2_Dense", "model.safetensors"));
    const out = join(folder, "merged");
    const checkpoint = await openCheckpoint(base);
    await mergeAdapter({
      checkpoint,
      adapter: join(base, "adapters", "attn-r8"),
      out,
      dtype: "same",
      overwrite: false,
    });
    const vectors = async (model: string) => {
      const modules = await readSentenceModules(model);
      return "refusal" in modules ? modules : await readVectorPlan(model, modules);
    };
    assert.deepEqual(await vectors(out), await vectors(base));
    assert.ok((await lstat(join(out, "2_Dense", "model.safetensors"))).isFile(), "nothing of the base is linked");
  });

  test("a decoder whose modules lack their weights is refused before its own are loaded", async () => {
    const model = join(folder, "lacking");
    await cp(llama, model, { recursive: true });
    await rm(join(model, "2_Dense", "model.safetensors"));
    const flags = { model, device: "cpu", threads: "1", maxContext: "40" };
    const settings = resolveSettings(engineOptions, { flags, environment: {}, file: {} });
    const loads: string[] = [];
    const progress: Progress = (phase) => void loads.push(phase);
    const options = { settings, servedName: null, adapters: null, gateway: {}, logger: silent, progress };
    const message = /2_Dense without model\.safetensors/;
    await assert.rejects(openStack(options, await planStack(options)), { code: "model_invalid", message });
    assert.deepEqual(loads, []);
  });
});
