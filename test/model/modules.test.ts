import assert from "node:assert/strict";
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, describe, it } from "node:test";
import { canonicalName, isForeign } from "../../src/model/checkpoint/names.js";
import { openCheckpoint } from "../../src/model/checkpoint/open.js";
import { readDecoderConfig } from "../../src/model/config/read.js";
import { expectedTensors, layerModules, targetModules } from "../../src/model/modules.js";
import { writeRandomCheckpoint } from "../../src/model/random.js";
import { isShapeName, modelShapes } from "../../src/model/shapes.js";
import { SafetensorsFile } from "../../src/tensor/safetensors.js";
import { elementCount } from "../../src/tensor/shape.js";

const oracle = "test/fixtures/oracle";
const root = mkdtempSync(join(tmpdir(), "lorikeet-modules-"));
after(() => rmSync(root, { recursive: true, force: true }));

function read(path: string) {
  return JSON.parse(readFileSync(path, "utf8"));
}

describe("names and shapes are those of transformers", () => {
  // tensors.json: parameters and Linear or Conv1D modules of the models that transformers 5.18 builds from configs.json.
  const configs = new Map<string, unknown>();
  for (const { name, config } of read("test/fixtures/model/configs.json")) configs.set(name, config);
  for (const { name, tensors, linears } of read("test/fixtures/model/tensors.json")) {
    it(name, () => {
      const config = readDecoderConfig(configs.get(name));
      const expected = expectedTensors(config);
      const canonical = (name: string): string | null =>
        isForeign(config.family, name) ? null : canonicalName(config.family, name);
      const own = Object.entries(tensors).flatMap(([name, shape]) =>
        canonical(name) ? [[canonical(name), shape]] : [],
      );
      assert.deepEqual(Object.fromEntries(expected.map(({ name, shape }) => [name, shape])), Object.fromEntries(own));
      const paths = targetModules(config).map(({ path }) => path);
      assert.equal(new Set(paths).size, paths.length);
      const named = linears.flatMap((path: string) => canonical(`${path}.weight`)?.replace(/\.weight$/, "") ?? []);
      const adaptable = named.filter((path: string) => !(config.head.tied && path === config.head.path));
      assert.deepEqual([...paths].sort(), adaptable.sort());
    });
  }
});

describe("target modules", () => {
  const configOf = (family: string) => readDecoderConfig(read(`${oracle}/${family}/config.json`));

  it("come in the order of the forward pass, the head last", () => {
    const modules = targetModules(configOf("llama"));
    assert.equal(modules.length, 3 * 7 + 1);
    assert.deepEqual(modules[0], { path: "model.layers.0.self_attn.q_proj", inFeatures: 64, outFeatures: 64 });
    assert.deepEqual(modules[13], { path: "model.layers.1.mlp.down_proj", inFeatures: 128, outFeatures: 64 });
    assert.deepEqual(modules[21], { path: "lm_head", inFeatures: 64, outFeatures: 320 });
  });
  it("exclude a tied head, and exclude the head where PEFT's all-linear does", () => {
    assert.equal(targetModules(configOf("qwen2")).length, 21);
    assert.equal(layerModules(configOf("llama")).length, 21);
  });
  it("keep packed layers whole, and gpt2's inputs and outputs in the right order", () => {
    assert.deepEqual(targetModules(configOf("phi3"))[0], {
      path: "model.layers.0.self_attn.qkv_proj",
      inFeatures: 64,
      outFeatures: 128,
    });
    assert.deepEqual(targetModules(configOf("gpt2"))[2], {
      path: "transformer.h.0.mlp.c_fc",
      inFeatures: 64,
      outFeatures: 256,
    });
  });

  for (const family of readdirSync(oracle)) {
    it(`are those of PEFT's adapters: ${family}`, async () => {
      const modules = new Map(targetModules(configOf(family)).map((module) => [module.path, module]));
      const adapted = new Set<string>();
      for (const adapter of readdirSync(`${oracle}/${family}/adapters`)) {
        const path = `${oracle}/${family}/adapters/${adapter}/adapter_model.safetensors`;
        if (!existsSync(path)) continue;
        await using file = await SafetensorsFile.open(path);
        for (const [name, { shape }] of file.tensors) {
          const match = /^base_model\.model\.(.*)\.lora_(A|B)\.weight$/.exec(name);
          if (!match?.[1]) continue;
          const module = modules.get(match[1]);
          assert(module, name);
          assert.equal(
            match[2] === "A" ? shape[1] : shape[0],
            match[2] === "A" ? module.inFeatures : module.outFeatures,
          );
          adapted.add(module.path);
        }
      }
      // One of each oracle's adapters targets every linear layer.
      const { head } = configOf(family);
      assert.deepEqual([...adapted].sort(), [...modules.keys()].filter((path) => path !== head.path).sort());
    });
  }
});

describe("random checkpoints", () => {
  const gemma = () => read(`${oracle}/gemma2/config.json`);
  const llama = () => read(`${oracle}/llama/config.json`);

  for (const family of readdirSync(oracle)) {
    it(`open as checkpoints: ${family}`, async () => {
      const json = read(`${oracle}/${family}/config.json`);
      const directory = join(root, `random-${family}`);
      const config = await writeRandomCheckpoint(directory, json);
      const checkpoint = await openCheckpoint(directory);
      assert.deepEqual(checkpoint.config, config);
      assert([...checkpoint.tensors.values()].every(({ dtype }) => dtype === "BF16"));
    });
  }

  it("have the same bytes for the same seed, and different ones for another", async () => {
    const bytes: Buffer[] = [];
    for (const [i, seed] of [7, 7, 8].entries()) {
      await writeRandomCheckpoint(join(root, `seed-${i}`), llama(), { seed, dtype: "F32" });
      bytes.push(await readFile(join(root, `seed-${i}`, "model.safetensors")));
    }
    const [first, again, other] = bytes;
    assert(first && again && other);
    assert(first.equals(again));
    assert(!first.equals(other));
  });

  for (const dtype of ["F32", "F16", "BF16"] as const) {
    it(`have normal matrices and norms of one in ${dtype}`, async () => {
      const directory = join(root, `normal-${dtype}`);
      await writeRandomCheckpoint(directory, llama(), { dtype });
      await using file = await SafetensorsFile.open(join(directory, "model.safetensors"));
      assert.deepEqual(await file.readFloat32("model.norm.weight"), new Float32Array(64).fill(1));
      const values = await file.readFloat32("lm_head.weight");
      const moment = (power: number) => values.reduce((sum, value) => sum + value ** power, 0) / values.length;
      assert(Math.abs(moment(1)) < 5e-4, `mean ${moment(1)}`);
      assert(Math.abs(Math.sqrt(moment(2)) - 0.02) < 5e-4, `deviation ${Math.sqrt(moment(2))}`);
      assert(Math.abs(moment(4) / moment(2) ** 2 - 3) < 0.2, `kurtosis ${moment(4) / moment(2) ** 2}`);
      const others = await file.readFloat32("model.embed_tokens.weight");
      const correlation = values.reduce((sum, value, i) => sum + value * (others[i] ?? 0), 0) / values.length / 4e-4;
      assert(Math.abs(correlation) < 0.03, `two tensors correlate by ${correlation}`);
    });
  }

  it("have zero norms in gemma, which adds 1, and zero biases", async () => {
    await writeRandomCheckpoint(join(root, "gemma-norms"), gemma(), { dtype: "F32" });
    await using file = await SafetensorsFile.open(join(root, "gemma-norms/model.safetensors"));
    assert.deepEqual(await file.readFloat32("model.norm.weight"), new Float32Array(64));
    await writeRandomCheckpoint(join(root, "qwen-biases"), read(`${oracle}/qwen2/config.json`), { dtype: "F32" });
    await using qwen = await SafetensorsFile.open(join(root, "qwen-biases/model.safetensors"));
    assert.deepEqual(await qwen.readFloat32("model.layers.0.self_attn.q_proj.bias"), new Float32Array(64));
  });

  it("refuse a config that cannot be served before anything is written", async () => {
    const directory = join(root, "refused");
    await assert.rejects(writeRandomCheckpoint(directory, { model_type: "mamba" }), { code: "model_unsupported" });
    assert(!existsSync(directory));
  });
});

describe("named shapes", () => {
  const parameters = { "135M": 134_515_008, "360M": 361_821_120, "1B": 1_235_814_400 };
  for (const [name, count] of Object.entries(parameters)) {
    it(`${name} has the published number of parameters`, () => {
      assert(isShapeName(name));
      const config = readDecoderConfig(modelShapes[name]);
      const total = expectedTensors(config).reduce((sum, { shape }) => sum + elementCount(shape), 0);
      assert.equal(total, count);
    });
  }
  it("include no other name", () => assert(!isShapeName("7B") && !isShapeName("toString")));
});
