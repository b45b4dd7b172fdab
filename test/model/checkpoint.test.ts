import assert from "node:assert/strict";
import { cpSync, mkdirSync, mkdtempSync, readdirSync, renameSync, rmSync, symlinkSync } from "node:fs";
import { readFile, truncate, utimes, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { after, describe, it } from "node:test";
import { LorikeetError } from "../../src/base/errors.js";
import { describeCheckpoint } from "../../src/model/checkpoint/describe.js";
import { openCheckpoint } from "../../src/model/checkpoint/open.js";
import type { TensorLocation } from "../../src/model/types.js";
import { SafetensorsFile } from "../../src/tensor/safetensors.js";
import { type TensorToWrite, writeSafetensors } from "../../src/tensor/safetensors-write.js";
import { hasOldSpelling, readObject, writeOldCheckpoint } from "../support/old-spelling.js";

const oracle = "test/fixtures/oracle";
const root = mkdtempSync(join(tmpdir(), "lorikeet-model-"));
after(() => rmSync(root, { recursive: true, force: true }));

let folders = 0;

/** A copy of an oracle checkpoint, without its adapters, to spoil. */
function copyOf(family: string): string {
  const target = join(root, `${family}-${folders++}`);
  mkdirSync(target);
  for (const name of ["config.json", "generation_config.json", "model.safetensors"]) {
    cpSync(join(oracle, family, name), join(target, name));
  }
  return target;
}

async function refusal(directory: string): Promise<LorikeetError> {
  try {
    await openCheckpoint(directory);
  } catch (error) {
    assert(error instanceof LorikeetError, String(error));
    return error;
  }
  assert.fail(`${directory} was opened`);
}

async function readTensors(path: string): Promise<TensorToWrite[]> {
  await using file = await SafetensorsFile.open(path);
  const entries = [...file.tensors];
  return await Promise.all(
    entries.map(async ([name, { dtype, shape }]) => ({ name, dtype, shape, data: await file.read(name) })),
  );
}

/** Rewrites the weights of a folder, each tensor replaced by what `change` makes of it. */
async function rewrite(directory: string, change: (tensor: TensorToWrite) => TensorToWrite[]): Promise<void> {
  const path = join(directory, "model.safetensors");
  await writeSafetensors(path, (await readTensors(path)).flatMap(change));
}

async function setConfig(directory: string, more: Record<string, unknown>): Promise<void> {
  const config = await readObject(join(directory, "config.json"));
  await writeFile(join(directory, "config.json"), JSON.stringify({ ...config, ...more }));
}

/** Splits a folder's weights into shards with an index. */
async function shard(directory: string, count: number): Promise<void> {
  const tensors = await readTensors(join(directory, "model.safetensors"));
  rmSync(join(directory, "model.safetensors"));
  const weight_map: Record<string, string> = {};
  for (let part = 0; part < count; part++) {
    const file = `model-0000${part + 1}-of-0000${count}.safetensors`;
    const own = tensors.filter((_, i) => i % count === part);
    for (const { name } of own) weight_map[name] = file;
    await writeSafetensors(join(directory, file), own, { format: "pt" });
  }
  await writeFile(join(directory, "model.safetensors.index.json"), JSON.stringify({ metadata: {}, weight_map }));
}

async function bytesOf({ file, offset, byteLength }: TensorLocation): Promise<Buffer> {
  return (await readFile(file)).subarray(offset, offset + byteLength);
}

describe("a checkpoint", () => {
  for (const family of readdirSync(oracle).filter(hasOldSpelling)) {
    it(`opens, and equals its old spelling: ${family}`, async () => {
      const target = join(root, `old-${family}`);
      await writeOldCheckpoint(join(oracle, family), target);
      const [now, old] = await Promise.all([openCheckpoint(join(oracle, family)), openCheckpoint(target)]);
      assert.deepEqual(old.config, now.config);
      assert.deepEqual([...old.tensors.keys()], [...now.tensors.keys()]);
      assert.equal(old.parameterCount, now.parameterCount);
      for (const [name, tensor] of now.tensors) {
        const other = old.tensors.get(name);
        assert(other);
        assert.deepEqual(await bytesOf(other), await bytesOf(tensor), name);
      }
      await using file = await SafetensorsFile.open(join(oracle, family, "model.safetensors"));
      const own = [...file.tensors.keys()].filter((name) => !/^(vision_tower|multi_modal_projector)\./.test(name));
      assert.equal(now.tensors.size, own.length);
    });
  }

  it("locates each tensor's bytes", async () => {
    const { tensors } = await openCheckpoint(join(oracle, "llama"));
    await using file = await SafetensorsFile.open(join(oracle, "llama/model.safetensors"));
    for (const [name, tensor] of tensors) {
      assert.equal(tensor.file, resolve(oracle, "llama/model.safetensors"));
      assert.deepEqual(await bytesOf(tensor), Buffer.from(await file.read(name)), name);
    }
  });

  it("may lack the prefix of its names", async () => {
    const directory = copyOf("qwen2");
    await rewrite(directory, (tensor) => [{ ...tensor, name: tensor.name.replace(/^model\./, "") }]);
    const [bare, whole] = await Promise.all([openCheckpoint(directory), openCheckpoint(join(oracle, "qwen2"))]);
    assert.deepEqual([...bare.tensors.keys()], [...whole.tensors.keys()]);
  });

  it("may be sharded", async () => {
    const directory = copyOf("phi3");
    const whole = await openCheckpoint(directory);
    await shard(directory, 3);
    const { tensors, parameterCount } = await openCheckpoint(directory);
    assert.deepEqual([...tensors.keys()], [...whole.tensors.keys()]);
    assert.equal(parameterCount, whole.parameterCount);
    assert.equal(new Set([...tensors.values()].map(({ file }) => file)).size, 3);
  });

  it("may consist of links into a cache: locations are real files", async () => {
    const blobs = copyOf("llama");
    renameSync(join(blobs, "model.safetensors"), join(blobs, "0a1b2c"));
    const snapshot = join(root, "snapshot");
    mkdirSync(snapshot);
    symlinkSync(join(blobs, "config.json"), join(snapshot, "config.json"));
    symlinkSync(join(blobs, "0a1b2c"), join(snapshot, "model.safetensors"));
    const link = join(root, "link-to-snapshot");
    symlinkSync(snapshot, link);
    const { tensors } = await openCheckpoint(link);
    assert.equal(tensors.get("lm_head.weight")?.file, join(blobs, "0a1b2c"));
  });

  it("keeps the sampling defaults that its authors set", async () => {
    const directory = copyOf("llama");
    const generation = { temperature: 0.6, top_p: 0.9, do_sample: true, eos_token_id: [2, 9], max_length: 20 };
    await writeFile(join(directory, "generation_config.json"), JSON.stringify(generation));
    const { generationDefaults, config } = await openCheckpoint(directory);
    assert.deepEqual(generationDefaults, { do_sample: true, temperature: 0.6, top_p: 0.9 });
    assert.deepEqual(config.stopIds, [2, 9]);
  });

  it("has a fingerprint that follows the config and the weights", async () => {
    const directory = copyOf("llama");
    const prints = [(await openCheckpoint(directory)).fingerprint];
    assert.equal((await openCheckpoint(directory)).fingerprint, prints[0]);
    await utimes(join(directory, "model.safetensors"), 1e9, 1e9);
    prints.push((await openCheckpoint(directory)).fingerprint);
    await setConfig(directory, { rms_norm_eps: 1e-5 });
    prints.push((await openCheckpoint(directory)).fingerprint);
    assert.equal(new Set(prints).size, 3);
    assert.match(prints[0] ?? "", /^[0-9a-f]{64}$/);
  });
});

describe("weights that do not fit the config", () => {
  it("are refused with every fault in one error", async () => {
    const directory = copyOf("llama");
    await rewrite(directory, (tensor) => {
      if (tensor.name === "model.norm.weight") return [];
      if (tensor.name === "model.layers.0.self_attn.q_proj.weight") return [{ ...tensor, shape: [32, 128] }];
      if (tensor.name !== "model.layers.1.input_layernorm.weight") return [tensor];
      return [
        { ...tensor, dtype: "I32" },
        { ...tensor, name: "model.layers.1.self_attn.sinks" },
      ];
    });
    const error = await refusal(directory);
    assert.equal(error.code, "model_unsupported");
    assert.deepEqual(error.faults, [
      "model.layers.0.self_attn.q_proj.weight has the shape [32, 128], but must have [64, 64]",
      "model.layers.1.input_layernorm.weight is I32, but weights must be F32, F16 or BF16",
      "model.norm.weight [64] is missing",
      '"model.layers.1.self_attn.sinks" is not a tensor of a llama decoder with this config',
    ]);
    for (const fault of error.faults) assert(error.message.includes(fault), fault);
  });

  it("are refused in a message of bounded length when nothing fits", async () => {
    const directory = copyOf("llama");
    await setConfig(directory, { num_hidden_layers: 400 });
    const error = await refusal(directory);
    assert.equal(error.code, "model_invalid");
    assert.equal(error.faults.length, 397 * 9);
    assert(error.message.length < 2000, error.message);
    assert.match(error.message, /and 3565 more/);
  });

  it("are refused without a head, with a hint how to tie it", async () => {
    const directory = copyOf("llama");
    await rewrite(directory, (tensor) => (tensor.name === "lm_head.weight" ? [] : [tensor]));
    assert.match((await refusal(directory)).message, /lm_head.weight .* is missing \(set "tie_word_embeddings"/);
  });

  it("are refused with a different head although it is tied", async () => {
    const directory = copyOf("llama");
    await setConfig(directory, { tie_word_embeddings: true });
    assert.match((await refusal(directory)).message, /lm_head.weight differs from model.embed_tokens.weight/);
  });

  it("are refused with a tensor twice, with and without its prefix", async () => {
    const directory = copyOf("gpt2");
    await rewrite(directory, (tensor) =>
      tensor.name === "transformer.ln_f.bias" ? [tensor, { ...tensor, name: "ln_f.bias" }] : [tensor],
    );
    assert.match((await refusal(directory)).message, /is the same tensor as/);
  });
});

describe("incomplete files", () => {
  it("a missing shard is named", async () => {
    const directory = copyOf("llama");
    await shard(directory, 3);
    rmSync(join(directory, "model-00002-of-00003.safetensors"));
    const error = await refusal(directory);
    assert.equal(error.code, "model_invalid");
    assert.match(error.message, /lacks model-00002-of-00003.safetensors: its index names 3 shards, 2 are there/);
  });

  it("shards without an index are not guessed at", async () => {
    const directory = copyOf("llama");
    await shard(directory, 2);
    rmSync(join(directory, "model.safetensors.index.json"));
    assert.match(
      (await refusal(directory)).message,
      /neither model.safetensors nor the shards' model.safetensors.index/,
    );
  });

  it("an index that names tensors missing from a shard, or points elsewhere, is refused", async () => {
    const directory = copyOf("llama");
    await shard(directory, 2);
    const path = join(directory, "model.safetensors.index.json");
    const index = await readObject(path);
    const shardName = "model-00001-of-00002.safetensors";
    const map = Object(index.weight_map);
    await writeFile(path, JSON.stringify({ weight_map: { ...map, "model.norm.extra": shardName } }));
    assert.match((await refusal(directory)).message, /"model.norm.extra" is not in model-00001-of-00002/);
    await writeFile(path, JSON.stringify({ weight_map: { ...map, "model.norm.weight": "../other.safetensors" } }));
    assert.match(
      (await refusal(directory)).message,
      /to "..\/other.safetensors", which is not a .safetensors file beside/,
    );
  });

  it("a truncated file gives one clear error", async () => {
    const directory = copyOf("llama");
    for (const [bytes, message] of [
      [
        400_000,
        /^The file model\.safetensors describes tensor .* outside the 396920 bytes that .*\(was it cut short\?\)/,
      ],
      [1000, /^The file model\.safetensors claims a header of \d+ bytes, but is 1000 bytes long/],
      [4, /^The file model\.safetensors is 4 bytes long; a safetensors file has at least 10/],
    ] as const) {
      await truncate(join(directory, "model.safetensors"), bytes);
      const error = await refusal(directory);
      assert.equal(error.code, "model_invalid");
      assert.match(error.message, message);
    }
  });

  it("a config that is not JSON is named", async () => {
    const directory = copyOf("llama");
    await writeFile(join(directory, "config.json"), "{");
    assert.match((await refusal(directory)).message, /config.json cannot be read as JSON/);
  });

  it("a broken link is named", async () => {
    const directory = copyOf("llama");
    rmSync(join(directory, "model.safetensors"));
    symlinkSync(join(root, "nowhere"), join(directory, "model.safetensors"));
    assert.match((await refusal(directory)).message, /is it a broken link/);
  });
});

describe("a folder that is not a checkpoint", () => {
  const empty = (name: string, ...files: string[]): string => {
    const directory = join(root, name);
    mkdirSync(directory);
    for (const file of files) cpSync(join(oracle, "llama/config.json"), join(directory, file));
    return directory;
  };
  const cases: [string, () => string, RegExp][] = [
    ["is not there", () => join(root, "missing"), /cannot be opened \(ENOENT\); give a folder/],
    ["is a file", () => join(oracle, "llama/config.json"), /is not a directory; give the folder/],
    ["is empty", () => empty("empty"), /holds no config.json; give a folder/],
    ["is an adapter", () => join(oracle, "llama/adapters/attn-r8"), /it is an adapter: give the folder of its base/],
    ["is a cache", () => empty("cache", "snapshots"), /give the folder snapshots\/<revision>/],
    ["is GGUF", () => empty("gguf", "m.gguf"), /m.gguf is a GGUF file/],
    ["has no weights", () => empty("bare", "config.json"), /holds no \*.safetensors file\.$/],
    [
      "has only pickles",
      () => empty("pickle", "config.json", "pytorch_model.bin"),
      /pytorch_model.bin is a Python pickle, which is never opened: convert it with transformers/,
    ],
  ];
  for (const [name, make, message] of cases) {
    it(name, async () => {
      const error = await refusal(make());
      assert.equal(error.code, "model_invalid");
      assert.match(error.message, message);
    });
  }
});

it("a description has the right counts", async () => {
  const description = describeCheckpoint(await openCheckpoint(join(oracle, "gemma2")));
  assert.equal(description.parameters, 131904);
  assert.equal(description.slidingLayers, 2);
  assert.deepEqual(description.weights.dtypes, { F32: 35 });
  assert.equal(description.weights.bytes, 131904 * 4);
  assert.equal(description.kvBytesPerToken, 2 * 4 * 3 * 2 * 16);
  assert.deepEqual([description.targetModules.total, description.targetModules.allLinear], [22, 21]);
  assert.equal(description.targetModules.names[0], "self_attn.q_proj");
  assert.equal(description.targetModules.names.at(-1), "lm_head");
  assert.doesNotThrow(() => JSON.stringify(description));
});
