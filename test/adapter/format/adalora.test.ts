/** AdaLoRA as PEFT saves it after pruning: what is read, reported and refused. The oracle's test compares its logits with PyTorch's. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { checkAdapter, describeAdapter, loadAdapter } from "../../../src/adapter/format.js";
import { float32ToBfloat16 } from "../../../src/tensor/half.js";
import { type EditableTensor, edited, modulesOf, oracle, refusalOf } from "./helpers.js";

const llama = await modulesOf(`${oracle}/llama`);
const source = "test/fixtures/adapter-format/adalora";
const v = "model.layers.0.self_attn.v_proj";

const float32 = (tensor: EditableTensor | undefined): Float32Array => {
  assert.ok(tensor);
  return new Float32Array(tensor.data.slice().buffer);
};
const named = (all: readonly EditableTensor[], part: string): EditableTensor | undefined =>
  all.find(({ name }) => name === `base_model.model.${v}.${part}`);
const drop = (part: string) => (all: EditableTensor[]) => all.filter(({ name }) => !name.endsWith(`${v}.${part}`));

test("singular values are folded into A, and the scale uses the initial rank", async () => {
  let tensors: EditableTensor[] = [];
  const folder = await edited({ source, tensors: (all) => (tensors = all) });
  const { modules } = await loadAdapter(folder, llama);
  const module = modules.get(v);
  assert.ok(module);
  assert.deepEqual([module.rank, module.dtype, module.scale], [6, "F32", 1]);
  const [a, b, e] = ["lora_A", "lora_B", "lora_E"].map((part) => float32(named(tensors, part)));
  assert.ok(a && b && e);
  const inputs = a.length / 6;
  for (const [row, column] of [
    [0, 0],
    [5, 3],
    [2, inputs - 1],
  ] as const) {
    const folded = Math.fround((a[row * inputs + column] ?? Number.NaN) * (e[row] ?? Number.NaN));
    assert.equal(module.a[column * 6 + row], folded);
  }
  const scale = 12 / Math.fround(6 + Math.fround(1e-5));
  assert.equal(module.b[0], Math.fround((b[0] ?? Number.NaN) * scale));
});

test("the summary shows what pruning left: ranks, scales, modules of rank 0", async () => {
  const { summary, modules, config } = await describeAdapter(source, llama);
  assert.equal(config.peft_type, "ADALORA");
  assert.equal(summary.modules, 8);
  assert.equal(summary.rank, 6);
  assert.deepEqual(summary.warnings, ["1 module was pruned to rank 0, which changes nothing."]);
  assert.ok(Math.abs(summary.scales.min - 2) < 1e-5 && summary.scales.min === summary.scales.max);
  assert.ok(!modules.some(({ path }) => path === "model.layers.1.self_attn.q_proj"));
});

test("the digest follows the singular values and the first rank", async () => {
  const digest = async (folder: string): Promise<string> => (await checkAdapter(folder, llama)).summary.weightsDigest;
  const original = await digest(source);
  assert.equal(await digest(await edited({ source, config: { total_step: 99, beta1: 0.5 } })), original);
  assert.notEqual(await digest(await edited({ source, config: { init_r: 7 } })), original);
  const other = await edited({
    source,
    tensors: (all) =>
      all.map((tensor) =>
        tensor === named(all, "lora_E") ? { ...tensor, data: new Uint8Array(float32(tensor).fill(2).buffer) } : tensor,
      ),
  });
  assert.notEqual(await digest(other), original);
});

test("16-bit AdaLoRA is folded in float32, and its bytes are counted as such", async () => {
  const folder = await edited({
    source,
    tensors: (all) =>
      all.map(({ name, shape, data }) => ({
        name,
        shape,
        dtype: "BF16" as const,
        data: new Uint8Array(float32ToBfloat16(new Float32Array(data.slice().buffer)).buffer),
      })),
  });
  const adapter = await loadAdapter(folder, llama);
  const { summary } = await checkAdapter(folder, llama);
  assert.equal(adapter.modules.get(v)?.dtype, "F32");
  assert.equal(summary.bytes, adapter.bytes);
});

test("adapters saved before pruning ended, and those named by another adapter's name, are read too", async () => {
  const plain = await edited({ source, config: { rank_pattern: null } });
  assert.equal((await checkAdapter(plain, llama)).summary.modules, 8);
  const infixed = await edited({
    source,
    tensors: (all) => all.map((tensor) => ({ ...tensor, name: `${tensor.name}.default` })),
  });
  const { weightsDigest } = (await checkAdapter(source, llama)).summary;
  assert.equal((await checkAdapter(infixed, llama)).summary.weightsDigest, weightsDigest);
});

const key = `${v}.lora_E`;
for (const [what, edit, fault] of [
  ["no singular values", { tensors: drop("lora_E") }, /v_proj has lora_A but no lora_E/],
  ["no B", { tensors: drop("lora_B") }, /v_proj has lora_A but no lora_B/],
  [
    "singular values of another rank",
    {
      tensors: (all: EditableTensor[]) =>
        all.map((tensor) =>
          tensor === named(all, "lora_E") ? { ...tensor, shape: [3, 1], data: new Uint8Array(12) } : tensor,
        ),
    },
    /shape \[3, 1\] in lora_E; \[6, 1\] is allowed/,
  ],
  [
    "a mask that keeps another rank",
    { config: { rank_pattern: { [key]: [true, false] } } },
    /rank 6 in lora_A, but rank_pattern keeps 1/,
  ],
  ["a mask that is none", { config: { rank_pattern: { [key]: 6 } } }, /rank_pattern\[.*is 6; a list of up to 4096/],
  ["a mask of no module", { config: { rank_pattern: { [v]: [true] } } }, /which is not the lora_E of a module/],
  ["DoRA", { config: { use_dora: true } }, /^AdaLoRA with use_dora/],
] as const) {
  test(`refuses AdaLoRA with ${what}`, async () => {
    const error = await refusalOf(checkAdapter(await edited({ source, ...edit }), llama));
    assert.equal(error.faults.length, 1, error.faults.join("\n"));
    assert.match(error.faults[0] ?? "", fault);
  });
}
