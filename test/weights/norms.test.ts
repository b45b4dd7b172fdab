/** Lengths of adapted weights against sums in float64: every stored type and layout, in bands; and the gains that are computed from them. */
import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { foldMagnitudes } from "../../src/engine/adapters/dora-gains.js";
import type { FeedForward, Linear } from "../../src/model/blueprint.js";
import { attention, linear, sequentialLayer, sublayer } from "../../src/model/families/parts.js";
import type { Sizes } from "../../src/model/types.js";
import { bfloat16ToFloat32, float16ToFloat32, float32ToBfloat16, float32ToFloat16 } from "../../src/tensor/half.js";
import { WeightNorms } from "../../src/weights/norms.js";
import { gaussian, writeCheckpoint } from "../support/synthetic-weights.js";

const folder = mkdtempSync(join(tmpdir(), "lorikeet-norms-"));
after(() => rmSync(folder, { recursive: true }));

const [inputs, outputs, rank] = [24, 37, 3];
const values = gaussian(1, inputs * outputs, 0.3);
const a = gaussian(2, inputs * rank);
const b = gaussian(3, rank * outputs, 0.2);
const rounded = {
  F32: values,
  F64: values,
  F16: float16ToFloat32(float32ToFloat16(values)),
  BF16: bfloat16ToFloat32(float32ToBfloat16(values)),
};

/** |W + s B A| of each output; W [out, in], or [in, out] when it is transposed. */
function expected(weight: Float32Array, scale: number, transposed: boolean): number[] {
  return Array.from({ length: outputs }, (_, o) => {
    let sum = 0;
    for (let i = 0; i < inputs; i++) {
      let value = weight[transposed ? i * outputs + o : o * inputs + i] ?? Number.NaN;
      for (let r = 0; r < rank; r++) value += scale * (b[r * outputs + o] ?? 0) * (a[i * rank + r] ?? 0);
      sum += value ** 2;
    }
    return Math.sqrt(sum);
  });
}

/** A decoder of one layer whose packed queries, keys and values are the layer that is measured. */
function configOf(transposed: boolean) {
  const of = (path: string): Linear => ({ ...linear(path, inputs, outputs, false), transposed });
  const sizes = { headDim: 8 } as Sizes;
  const body = attention(sizes, { input: { kind: "packed", order: "kind", qkv: of("layer") }, output: of("output") });
  const feedForward = { kind: "plain", activation: "gelu", up: of("up"), down: of("down") } as const;
  const head = { path: "head", linear: of("head"), tied: false, bias: false, scale: 1, softcap: null };
  const embedding = { path: "embedding", scale: 1, positions: null };
  const layers = [sequentialLayer("layers.0", sublayer(body, null), sublayer<FeedForward>(feedForward, null))];
  return { layers, head, embedding };
}

for (const dtype of ["F32", "F16", "BF16", "F64"] as const) {
  for (const transposed of [false, true]) {
    test(`${dtype} weights stored ${transposed ? "[in, out]" : "[out, in]"}`, async () => {
      const shape = transposed ? [inputs, outputs] : [outputs, inputs];
      const odd = { dtype: "F16" as const, shape: [1], values: Float32Array.of(1) }; // what follows may lie at an odd place
      const checkpoint = await writeCheckpoint(folder, { odd, "layer.weight": { dtype, shape, values } });
      for (const bandElements of [1, 5 * inputs, 1 << 20]) {
        await using norms = new WeightNorms(
          { ...checkpoint, config: configOf(transposed) },
          { threads: 1, bandElements },
        );
        for (const scale of [2, -0.5, 0]) {
          const found = await norms.of({ path: "layer", rank, scale, a, b });
          const wanted = expected(rounded[dtype], scale, transposed);
          assert.equal(found.length, outputs);
          for (const [i, length] of wanted.entries()) {
            assert.ok(Math.abs((found[i] ?? 0) / length - 1) < 2e-6, `${i}: ${found[i]} for ${length}`);
          }
        }
      }
    });
  }
}

test("gains scale B and are kept beside it; an output without weights is refused by name", async () => {
  const shape = [outputs, inputs];
  const hollow = values.map((value, i) => (Math.floor(i / inputs) === 5 ? 0 : value));
  const tensors = { "layer.weight": { dtype: "F32", shape, values: hollow } } as const;
  const checkpoint = { ...(await writeCheckpoint(folder, tensors)), config: configOf(false) } as const;
  await using norms = new WeightNorms(checkpoint, { threads: 1 });
  const adapterOf = (factors: Float32Array) => {
    const magnitude = gaussian(4, outputs);
    const module = { rank, dtype: "F32", scale: 1, a, b: factors.slice(), magnitude } as const;
    return { digest: "sha256:1", rank, bytes: 1, hasGains: true, modules: new Map([["layer", module]]) };
  };
  const adapter = adapterOf(b);
  const module = (await foldMagnitudes(adapter, norms)).modules.get("layer");
  assert.ok(module?.gain && !module.magnitude);
  const lengths = expected(hollow, 1, false);
  for (let i = 0; i < outputs; i++) {
    const gain = (adapter.modules.get("layer")?.magnitude[i] ?? 0) / (lengths[i] ?? 0);
    assert.ok(Math.abs((module.gain[i] ?? 0) - (gain - 1)) < 1e-5 * (1 + Math.abs(gain)));
    assert.ok(Math.abs((module.b[outputs + i] ?? 0) - (b[outputs + i] ?? 0) * gain) < 1e-5 * (1 + Math.abs(gain)));
  }
  const empty = adapterOf(b.map((value, i) => (i % outputs === 5 ? 0 : value)));
  await assert.rejects(foldMagnitudes(empty, norms, "The adapter x"), {
    code: "adapter_invalid",
    message: /^The adapter x cannot be served: output 5 of layer has the magnitude .* over weights of length 0\.$/,
  });
  const plain = { ...empty, hasGains: false };
  assert.equal(await foldMagnitudes(plain, norms), plain);
});

test("calls that wait when the norms close are refused", async () => {
  const checkpoint = await writeCheckpoint(folder, {
    "layer.weight": { dtype: "F32", shape: [outputs, inputs], values },
  });
  const norms = new WeightNorms({ ...checkpoint, config: configOf(false) }, { threads: 1 });
  const running = norms.of({ path: "layer", rank, scale: 1, a, b });
  const closing = norms[Symbol.asyncDispose]();
  assert.equal((await running).length, outputs, "what runs finishes");
  await closing;
  await assert.rejects(norms.of({ path: "layer", rank, scale: 1, a, b }), { code: "draining" });
});
