// Reads GGUF files back with an independent reader, written from the format's description. Needs only Node.js.

import assert from "node:assert/strict";
import { cp, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { fileURLToPath } from "node:url";
import { convertAdapter, convertModel } from "./convert.mjs";
import { f32, i32s, text, texts, u32, writeGguf } from "./gguf.mjs";
import { openSafetensors } from "./safetensors.mjs";

const model = fileURLToPath(new URL("../../models/bookworm-7m", import.meta.url));
const adapter = fileURLToPath(new URL("../../adapters/plays", import.meta.url));
const folder = await mkdtemp(join(tmpdir(), "lorikeet-gguf-"));
after(() => rm(folder, { recursive: true, force: true }));

/** Half precision, IEEE 754. */
function fromHalf(bits) {
  const [sign, exponent, fraction] = [bits >> 15 ? -1 : 1, (bits >> 10) & 31, bits & 1023];
  return sign * (exponent === 0 ? fraction * 2 ** -24 : (1024 + fraction) * 2 ** (exponent - 25));
}

const scalars = { 4: ["readUInt32LE", 4], 5: ["readInt32LE", 4], 6: ["readFloatLE", 4] };
const blocks = {
  0: { name: "F32", elements: 1, bytes: 4, decode: (data, at) => [data.readFloatLE(at)] },
  2: {
    name: "Q4_0",
    elements: 32,
    bytes: 18,
    decode: (data, at) =>
      Array.from({ length: 32 }, (_, i) => {
        const pair = data[at + 2 + (i % 16)];
        return fromHalf(data.readUInt16LE(at)) * ((i < 16 ? pair & 15 : pair >> 4) - 8);
      }),
  },
  8: {
    name: "Q8_0",
    elements: 32,
    bytes: 34,
    decode: (data, at) =>
      Array.from({ length: 32 }, (_, i) => fromHalf(data.readUInt16LE(at)) * data.readInt8(at + 2 + i)),
  },
};

/** `{metadata, tensors}`: maps from names to values, and to `{type, dims, values}`. */
async function readGguf(path) {
  const data = await readFile(path);
  let at = 4;
  const scalar = (type) => {
    const [method, bytes] = scalars[type];
    at += bytes;
    return data[method](at - bytes);
  };
  const long = () => {
    at += 8;
    return Number(data.readBigUInt64LE(at - 8));
  };
  const string = () => {
    const bytes = long();
    at += bytes;
    return data.toString("utf8", at - bytes, at);
  };
  const value = (type) => {
    if (type === 8) return string();
    if (type !== 9) return scalar(type);
    const element = scalar(4);
    return Array.from({ length: long() }, () => value(element));
  };
  assert.equal(data.toString("latin1", 0, 4), "GGUF");
  assert.equal(scalar(4), 3);
  const [tensorCount, pairCount] = [long(), long()];
  const metadata = new Map(Array.from({ length: pairCount }, () => [string(), value(scalar(4))]));
  const infos = Array.from({ length: tensorCount }, () => ({
    name: string(),
    dims: Array.from({ length: scalar(4) }, long),
    type: blocks[scalar(4)],
    offset: long(),
  }));
  const start = Math.ceil(at / 32) * 32;
  const tensors = new Map();
  for (const { name, dims, type, offset } of infos) {
    assert.equal(offset % 32, 0, name);
    const count = dims.reduce((product, dim) => product * dim, 1) / type.elements;
    const values = new Float32Array(count * type.elements);
    for (let i = 0; i < count; i++) values.set(type.decode(data, start + offset + i * type.bytes), i * type.elements);
    tensors.set(name, { type: type.name, dims, values });
  }
  return { metadata, tensors };
}

async function roundTrip(type, values) {
  const path = join(folder, `${type}.gguf`);
  await writeGguf(path, [], [{ name: "w", type, dims: [32, values.length / 32], read: async () => values }]);
  return (await readGguf(path)).tensors.get("w").values;
}

/** Roughly normal numbers, deterministic. */
function normal(count) {
  let state = 1;
  const uniform = () => {
    state = (state * 48271) % 2147483647;
    return state / 2147483647;
  };
  return Float32Array.from(
    { length: count },
    () => Math.sqrt(-2 * Math.log(uniform())) * Math.cos(6.2831853 * uniform()),
  );
}

function relativeError(actual, expected) {
  const power = (values) => values.reduce((sum, value) => sum + value * value, 0);
  return Math.sqrt(power(actual.map((value, i) => value - expected[i])) / power(expected));
}

test("metadata and tensors of any length are read back, with tensors aligned to 32 bytes", async () => {
  const path = join(folder, "mixed.gguf");
  const metadata = [
    ["a", u32(7)],
    ["b", f32(0.5)],
    ["c", text("Ġw")],
    ["d", texts(["x", "", "yz"])],
    ["e", i32s([1, -1])],
  ];
  const tensor = (name, values) => ({ name, type: "F32", dims: [values.length], read: async () => values });
  const [odd, more] = [Float32Array.of(1, 2, 3), Float32Array.of(-4)];
  await writeGguf(path, metadata, [tensor("odd", odd), tensor("more", more)]);
  const found = await readGguf(path);
  assert.deepEqual([...found.metadata.values()], [7, 0.5, "Ġw", ["x", "", "yz"], [1, -1]]);
  assert.deepEqual(found.tensors.get("odd"), { type: "F32", dims: [3], values: odd });
  assert.deepEqual(found.tensors.get("more").values, more);
});

test("Q4_0 keeps its sixteen steps exactly, and clips the step that four bits lack", async () => {
  for (const scale of [0.25, -0.25, 2 ** -20]) {
    const values = Float32Array.from({ length: 32 }, (_, i) => scale * ((i % 16) - 8));
    assert.deepEqual(await roundTrip("Q4_0", values), values);
  }
  const clipped = Float32Array.from({ length: 32 }, (_, i) => (i === 0 ? -8 : i === 1 ? 8 : 0));
  assert.deepEqual([...(await roundTrip("Q4_0", clipped))].slice(0, 3), [-8, 7, 0]);
  assert.ok((await roundTrip("Q4_0", new Float32Array(32))).every((value) => value === 0));
});

test("Q8_0 keeps its 255 steps exactly", async () => {
  const values = Float32Array.from({ length: 256 }, (_, i) => (i % 32 === 0 ? 127 : (i % 255) - 127) / 64);
  assert.deepEqual(await roundTrip("Q8_0", values), values);
  assert.ok((await roundTrip("Q8_0", new Float32Array(32))).every((value) => value === 0));
});

test("normal weights have the error of ggml's quantization", async () => {
  const values = normal(32 * 4096);
  for (const [type, expected] of [
    ["Q4_0", 0.0859],
    ["Q8_0", 0.0053],
  ]) {
    const error = relativeError(await roundTrip(type, values), values);
    assert.ok(Math.abs(error / expected - 1) < 0.03, `${type}: ${error}, not ${expected}`);
  }
});

test("a model keeps its shapes, and rows that are rotated together become adjacent", async () => {
  const path = join(folder, "model.gguf");
  await convertModel(model, path, { layers: "F32", embeddings: "F32" });
  const { metadata, tensors } = await readGguf(path);
  const weights = await openSafetensors(join(model, "model.safetensors"));
  const config = JSON.parse(await readFile(join(model, "config.json"), "utf8"));
  assert.equal(metadata.get("llama.block_count"), config.num_hidden_layers);
  assert.equal(metadata.get("tokenizer.ggml.tokens").length, config.vocab_size);
  assert.equal(tensors.size, weights.names.length);

  const [width, size] = [config.hidden_size, config.head_dim];
  const theirs = await weights.read("model.layers.3.self_attn.k_proj.weight");
  const ours = tensors.get("blk.3.attn_k.weight");
  assert.deepEqual(ours.dims, [width, config.num_key_value_heads * size]);
  const row = (values, index) => values.slice(index * width, (index + 1) * width);
  for (const pair of [0, 1, size / 2 - 1]) {
    const head = size; // the second one
    assert.deepEqual(row(ours.values, head + 2 * pair), row(theirs, head + pair));
    assert.deepEqual(row(ours.values, head + 2 * pair + 1), row(theirs, head + pair + size / 2));
  }
  const down = await weights.read("model.layers.7.mlp.down_proj.weight");
  assert.deepEqual(tensors.get("blk.7.ffn_down.weight").values, down);
  await weights.close();
});

test("an adapter's B is reordered like its base, and its alpha gives its method's scale", async () => {
  const { tensors, metadata } = await readGguf(await convertAdapter(adapter, model, join(folder, "adapter.gguf")));
  const weights = await openSafetensors(join(adapter, "adapter_model.safetensors"));
  const config = JSON.parse(await readFile(join(adapter, "adapter_config.json"), "utf8"));
  assert.equal(metadata.get("adapter.lora.alpha"), config.lora_alpha);
  assert.equal(tensors.size, weights.names.length);
  const theirs = await weights.read("base_model.model.model.layers.1.self_attn.q_proj.lora_B.weight");
  const { values } = tensors.get("blk.1.attn_q.weight.lora_b");
  const row = (all, index) => all.slice(index * config.r, (index + 1) * config.r);
  assert.deepEqual(row(values, 3), row(theirs, 1 + 32)); // the second pair of a head of 64
  await weights.close();

  const changed = join(folder, "rslora");
  await cp(adapter, changed, { recursive: true });
  const save = (changes) => writeFile(join(changed, "adapter_config.json"), JSON.stringify({ ...config, ...changes }));
  await save({ use_rslora: true });
  const path = join(folder, "rslora.gguf");
  const root = (await readGguf(await convertAdapter(changed, model, path))).metadata.get("adapter.lora.alpha");
  assert.ok(Math.abs(root / config.r - config.lora_alpha / Math.sqrt(config.r)) < 1e-5);
  await save({ alpha_pattern: { q_proj: 3 } });
  await assert.rejects(convertAdapter(changed, model, join(folder, "pattern.gguf")), /patterns are not supported/);
});
