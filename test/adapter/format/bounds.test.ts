import assert from "node:assert/strict";
import { closeSync, ftruncateSync, openSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { checkAdapter, loadAdapter } from "../../../src/adapter/format.js";
import { bandBytes } from "../../../src/tensor/safetensors-stream.js";
import { writeSafetensors } from "../../../src/tensor/safetensors-write.js";
import { readsOf } from "../../support/reads.js";
import { type Edit, type EditableTensor, edited, modulesOf, oracle, refusalOf } from "./helpers.js";

const llama = await modulesOf(`${oracle}/llama`);
const q = "model.layers.0.self_attn.q_proj";

/** Weights whose header promises these shapes in F32, in a file with holes: it takes no room on the disk. */
async function sparse(shapes: Readonly<Record<string, readonly number[]>>, edit: Edit = {}): Promise<string> {
  const folder = await edited(edit);
  let at = 0;
  const entries = Object.entries(shapes).map(([name, shape]) => {
    const begin = at;
    at += 4 * shape.reduce((product, size) => product * size, 1);
    return [name, { dtype: "F32", shape, data_offsets: [begin, at] }];
  });
  const json = Buffer.from(JSON.stringify(Object.fromEntries(entries)));
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(json.length));
  const path = join(folder, "adapter_model.safetensors");
  writeFileSync(path, Buffer.concat([length, json]));
  const file = openSync(path, "r+");
  ftruncateSync(file, 8 + json.length + at);
  closeSync(file);
  return folder;
}

test("tensors of refused modules are not read, however large they are", async () => {
  const A = `base_model.model.${q}.lora_A.weight`;
  const B = `base_model.model.${q}.lora_B.weight`;
  const gigabytes = 2 ** 19; // rows of 1,024 floats
  for (const shapes of [
    { [A]: [gigabytes, 1024] },
    { [A]: [8, 2 ** 28], [B]: [64, 8] },
    { [A]: [2 ** 22, 64], [B]: [64, 2 ** 22] }, // fits the layer, but for its rank
    { [A]: [8, 64], [B]: [2 ** 26, 8] },
    { [A]: [8, 64], [B]: [64, 8], "other.weight": [gigabytes, 1024] },
    { "base_model.model.model.layers.0.none.lora_A.weight": [gigabytes, 1024] },
    { [`base_model.model.${q}.lora_magnitude_vector`]: [2 ** 29] },
  ]) {
    const folder = await sparse(shapes);
    assert.ok(statSync(join(folder, "adapter_model.safetensors")).size > 2 ** 30);
    for (const run of [checkAdapter, loadAdapter]) {
      const reads = await readsOf(() => refusalOf(run(folder, llama)));
      assert.ok(reads.total < 2 ** 16, `${reads.total} bytes were read`);
    }
  }
});

const wide = [{ path: q, inFeatures: 4096, outFeatures: 3000 }];
const config = { r: 600, target_modules: [q] };
const values = (count: number, seed: number): Float32Array =>
  Float32Array.from({ length: count }, (_, i) => ((i * 2654435761 + seed) % 1000) / 1000 - 0.5);
const large: Readonly<Record<string, { readonly shape: readonly number[]; readonly data: Float32Array }>> = {
  [`base_model.model.${q}.lora_A.weight`]: { shape: [600, 4096], data: values(600 * 4096, 1) }, // 9.4 MiB
  [`base_model.model.${q}.lora_B.weight`]: { shape: [3000, 600], data: values(3000 * 600, 2) },
};

async function folderOf(poisonAt: number | null = null): Promise<string> {
  const folder = await edited({ config });
  const tensors = Object.entries(large).map(([name, { shape, data }]) => {
    const copy = data.slice();
    if (poisonAt !== null && name.includes("lora_A")) copy[poisonAt] = Number.NaN;
    return { name, dtype: "F32" as const, shape, data: copy };
  });
  await writeSafetensors(join(folder, "adapter_model.safetensors"), tensors, {});
  return folder;
}

test("a check reads bands of 4 MiB, and finds the digest that loading finds", async () => {
  const folder = await folderOf();
  let digest = "";
  const reads = await readsOf(async () => {
    digest = (await checkAdapter(folder, wide)).summary.weightsDigest;
  });
  assert.ok(reads.largest <= bandBytes, `${reads.largest}`);
  const { size } = statSync(join(folder, "adapter_model.safetensors"));
  assert.ok(reads.total < 2 * size + 2 ** 16, "once for its numbers, once for the version's digest");
  assert.equal((await loadAdapter(folder, wide, { expectedDigest: digest })).digest, digest);
});

test("a bad value is found in any band", async () => {
  for (const at of [0, 2 ** 20 - 1, 2 ** 20, 600 * 4096 - 1]) {
    const { message } = await refusalOf(checkAdapter(await folderOf(at), wide));
    assert.match(message, /lora_A\.weight" holds NaN or infinity/);
  }
});

test("mlx-lm's matrices, hashed in another order than they lie in, are read in bands too", async () => {
  const peft = (await checkAdapter(await folderOf(), wide)).summary.weightsDigest;
  const turn = (name: string, { shape: [rows = 0, columns = 0], data }: (typeof large)[string]): EditableTensor => {
    const into = new Float32Array(data.length);
    for (let i = 0; i < rows; i++) for (let j = 0; j < columns; j++) into[j * rows + i] = data[i * columns + j] ?? 0;
    const renamed = name
      .replace("base_model.model.", "")
      .replace(/lora_([AB])\.weight/, (_, a) => `lora_${a.toLowerCase()}`);
    return { name: renamed, dtype: "F32", shape: [columns, rows], data: new Uint8Array(into.buffer) };
  };
  const folder = await edited({
    config: JSON.stringify({ lora_parameters: { rank: 600, scale: 16 / 600 } }),
    tensors: () => Object.entries(large).map(([name, tensor]) => turn(name, tensor)),
    weightsName: "adapters.safetensors",
  });
  let digest = "";
  const reads = await readsOf(async () => {
    digest = (await checkAdapter(folder, wide)).summary.weightsDigest;
  });
  assert.ok(reads.largest <= bandBytes, `${reads.largest}`);
  assert.equal((await loadAdapter(folder, wide)).digest, digest);
  assert.equal(digest, peft);
});

test("a header with entries that are not tensors is refused before it is parsed", async () => {
  const many = Array.from({ length: 100_000 }, (_, i) => i);
  const tooMany = /has a header of more than 548192 keys, objects, lists and commas/;
  for (const [json, expected] of [
    [`{${many.map((i) => `"t${i}":{}`).join(",")}}`, /lists 100000 tensors/],
    [`{"t":{"dtype":"F32","shape":[${"0,".repeat(3_900_000)}0],"data_offsets":[0,0]}}`, tooMany],
    [`{"t":[${"{},".repeat(2_000_000)}{}]}`, tooMany],
    [`{"__metadata__":{${many.map((i) => `"t${i}":"","u${i}":"","v${i}":""`).join(",")}}}`, tooMany],
  ] as const) {
    const folder = await edited();
    const length = Buffer.alloc(8);
    length.writeBigUInt64LE(BigInt(json.length));
    writeFileSync(join(folder, "adapter_model.safetensors"), Buffer.concat([length, Buffer.from(json)]));
    const { message } = await refusalOf(checkAdapter(folder, llama));
    assert.match(message, expected);
  }
});
