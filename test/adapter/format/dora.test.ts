/** DoRA in PEFT's and mlx-lm's spelling: read whole, in any dtype, and refused with every fault that it has. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { targetModulesOf } from "../../../src/adapter/format/target-modules.js";
import { checkAdapter, describeAdapter, loadAdapter, writeAdapter } from "../../../src/adapter/format.js";
import { viewAs } from "../../../src/tensor/dtype.js";
import { float16ToFloat32, float32ToFloat16 } from "../../../src/tensor/half.js";
import { transpose } from "../../../src/tensor/transpose.js";
import {
  type EditableTensor,
  edited,
  halves,
  modulesOf,
  narrowed,
  oracle,
  readTensors,
  refusalOf,
  renamed,
} from "./helpers.js";

const source = "test/fixtures/dora/llama";
const llama = await modulesOf(`${oracle}/llama`);
const plain = await checkAdapter(source, llama);
const q = "base_model.model.model.layers.0.self_attn.q_proj";
const magnitude = `${q}.lora_magnitude_vector`;

const digestOf = async (edit: Parameters<typeof edited>[0]): Promise<string> =>
  (await checkAdapter(await edited({ source, ...edit }), llama)).summary.weightsDigest;
const changed = (name: string, change: (tensor: EditableTensor) => EditableTensor) => (all: EditableTensor[]) =>
  all.map((tensor) => (tensor.name === name ? change(tensor) : tensor));
const floats = (values: readonly number[]): Uint8Array => new Uint8Array(Float32Array.from(values).buffer);

test("ranks, scales and magnitudes are PEFT's; what the engine will hold is counted with them", async () => {
  const { summary, modules } = plain;
  assert.equal(summary.dora, true);
  assert.deepEqual(summary.warnings, []);
  const of = (end: string) => modules.find(({ path }) => path.endsWith(end));
  assert.deepEqual([of("0.self_attn.q_proj")?.rank, of("0.self_attn.q_proj")?.scale], [4, 3]);
  assert.deepEqual([of("lm_head")?.rank, of("lm_head")?.scale], [2, 2]);
  const loaded = await loadAdapter(source, llama);
  assert.deepEqual([loaded.hasGains, loaded.bytes], [true, summary.bytes]);
  const stored = new Map(
    (await readTensors(`${source}/adapter_model.safetensors`)).map((tensor) => [tensor.name, tensor]),
  );
  for (const [path, { magnitude: values }] of loaded.modules) {
    const tensor = stored.get(`base_model.model.${path}.lora_magnitude_vector`);
    assert.deepEqual(values, viewAs("F32", tensor?.data ?? new Uint8Array()), path);
  }
  const outputs = targetModulesOf(llama).reduce((sum, { outFeatures }) => sum + outFeatures, 0);
  const width = targetModulesOf(llama).reduce((sum, { inFeatures, outFeatures }) => sum + inFeatures + outFeatures, 0);
  assert.equal(summary.activeBytes, 4 * (8 * width + outputs));
  assert.equal((await describeAdapter(source, null)).summary.weightsDigest, summary.weightsDigest);
});

test("every spelling of a magnitude is the same adapter, another value is a different one", async () => {
  for (const end of [".weight", ".default", ".default.weight"]) {
    const tensors = renamed((name) => name.replace(/lora_magnitude_vector$/, `lora_magnitude_vector${end}`));
    assert.equal(await digestOf({ tensors }), plain.summary.weightsDigest, end);
  }
  const tensors = renamed((name) => name.replace("base_model.model.", "_orig_mod.base_model.model."));
  assert.equal(await digestOf({ tensors }), plain.summary.weightsDigest);
  const other = changed(magnitude, (tensor) => ({ ...tensor, data: floats(Array(64).fill(1)) }));
  assert.notEqual(await digestOf({ tensors: other }), plain.summary.weightsDigest);
});

test("16-bit magnitudes are widened, and the matrices with them", async () => {
  for (const half of halves) {
    const tensors = narrowed(half);
    const folder = await edited({ source, tensors });
    const loaded = await loadAdapter(folder, llama);
    assert.equal(loaded.bytes, (await checkAdapter(folder, llama)).summary.bytes);
    for (const [path, module] of loaded.modules) {
      assert.ok(module.dtype === "F32" && module.scale === 1 && module.magnitude, path);
      if (half[0] !== "F16") continue;
      const full = (await loadAdapter(source, llama)).modules.get(path)?.magnitude ?? new Float32Array();
      assert.deepEqual(module.magnitude, float16ToFloat32(float32ToFloat16(full)));
    }
  }
});

test("mlx-lm's DoRA is PEFT's of the same numbers", async () => {
  const only = (all: EditableTensor[]) => all.filter(({ name }) => name.includes("down_proj"));
  const peft = await edited({ source, tensors: only });
  const folder = await edited({
    source,
    config: JSON.stringify({ fine_tune_type: "dora", lora_parameters: { rank: 2, scale: 2, dropout: 0 } }),
    weightsName: "adapters.safetensors",
    tensors: (all) =>
      only(all).map((tensor) => {
        const name = tensor.name
          .replace("base_model.model.", "")
          .replace("lora_A.weight", "lora_a")
          .replace("lora_B.weight", "lora_b")
          .replace("lora_magnitude_vector", "m");
        const [rows = 0, columns] = tensor.shape;
        if (columns === undefined) return { ...tensor, name };
        const turned = transpose(viewAs("F32", tensor.data), rows, columns);
        return { ...tensor, name, shape: [columns, rows], data: new Uint8Array(turned.buffer) };
      }),
  });
  const [one, other] = [await loadAdapter(peft, llama), await loadAdapter(folder, llama)];
  assert.ok(one.modules.size === 3 && one.hasGains && other.hasGains);
  assert.deepEqual(other.modules, one.modules);
});

const targetsOf = (modules: readonly { readonly path: string }[]): string[] => [
  ...new Set(modules.map(({ path }) => path.split(".").at(-1) ?? path)),
];

test("writeAdapter writes DoRA as PEFT does, byte for byte", async () => {
  const data = new Map(
    (await readTensors(`${source}/adapter_model.safetensors`)).map((tensor) => [tensor.name, tensor.data]),
  );
  const of = (name: string | null) => viewAs("F32", data.get(name ?? "") ?? new Uint8Array());
  const tensors = plain.modules.map((module) => ({
    ...module,
    a: of(module.aName),
    b: of(module.bName),
    magnitude: of(module.extraName),
  }));
  const { r, lora_alpha: loraAlpha, rank_pattern, alpha_pattern } = plain.config;
  const patterns = { rankPattern: Object.fromEntries(rank_pattern), alphaPattern: Object.fromEntries(alpha_pattern) };
  const folder = await edited();
  await writeAdapter(folder, {
    config: {
      r,
      loraAlpha,
      useDora: true,
      baseModelName: "llama",
      targetModules: targetsOf(plain.modules),
      ...patterns,
    },
    tensors,
  });
  assert.equal((await checkAdapter(folder, llama)).summary.weightsDigest, plain.summary.weightsDigest);
  assert.deepEqual(
    await readTensors(`${folder}/adapter_model.safetensors`),
    await readTensors(`${source}/adapter_model.safetensors`),
  );
});

for (const [what, edit, code, fault] of [
  [
    "a module without its magnitude",
    { tensors: (all: EditableTensor[]) => all.filter(({ name }) => name !== magnitude) },
    "adapter_invalid",
    /^module model\.layers\.0\.self_attn\.q_proj has no lora_magnitude_vector, though use_dora is set$/,
  ],
  [
    "a magnitude without its module",
    { tensors: (all: EditableTensor[]) => all.filter(({ name }) => !name.startsWith(`${q}.lora_A`)) },
    "adapter_invalid",
    /q_proj has lora_B but no lora_A$/,
  ],
  [
    "magnitudes alone",
    { tensors: (all: EditableTensor[]) => all.filter(({ name }) => !name.startsWith(q) || name === magnitude) },
    "adapter_invalid",
    /q_proj has a magnitude but no lora_/,
  ],
  [
    "magnitudes of another number",
    { tensors: changed(magnitude, (tensor) => ({ ...tensor, shape: [63], data: floats(Array(63).fill(1)) })) },
    "adapter_invalid",
    /q_proj has 63 magnitudes; one for each of its 64 outputs is allowed$/,
  ],
  [
    "magnitudes with two axes",
    { tensors: changed(magnitude, (tensor) => ({ ...tensor, shape: [1, 64] })) },
    "adapter_invalid",
    /has shape \[1, 64\]; one axis is allowed$/,
  ],
  [
    "magnitudes of another dtype",
    { tensors: changed(magnitude, (tensor) => ({ ...tensor, dtype: "I32" })) },
    "adapter_invalid",
    /is I32; F32, F16 and BF16 are allowed$/,
  ],
  [
    "a magnitude that is no number",
    { tensors: changed(magnitude, (tensor) => ({ ...tensor, data: floats(Array(64).fill(Number.NaN)) })) },
    "adapter_invalid",
    /lora_magnitude_vector" holds NaN or infinity$/,
  ],
  [
    "two magnitudes of a module",
    {
      tensors: (all: EditableTensor[]) => [
        ...all,
        ...renamed((name) => `${name}.other`)(all.filter(({ name }) => name === magnitude)),
      ],
    },
    "adapter_invalid",
    /are both the magnitude of model\.layers\.0\.self_attn\.q_proj$/,
  ],
  [
    "magnitudes that the config does not speak of",
    { config: { use_dora: false } },
    "adapter_unsupported",
    /^DoRA's magnitudes .*set it to true \(7 tensors use it: /,
  ],
] as const) {
  test(`refuses DoRA with ${what}`, async () => {
    const folder = await edited({ source, ...edit });
    for (const run of [checkAdapter, loadAdapter]) {
      const error = await refusalOf(run(folder, llama));
      assert.equal(error.code, code);
      assert.ok(
        error.faults.some((each) => fault.test(each)),
        error.faults.join("\n"),
      );
    }
  });
}
