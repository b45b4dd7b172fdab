/** DoRA combined with other options of a run: dropout as in PEFT, quantized bases, recomputed layers; and served afterwards. */
import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { openCheckpoint } from "../../src/model/checkpoint/open.js";
import { moduleInputs } from "../../src/model/training/types.js";
import type { Checkpoint } from "../../src/model/types.js";
import { Tensor } from "../../src/runtime/tensor.js";
import { openBase } from "../../src/train/base-weights.js";
import { openAdapter } from "../../src/train/files/adapter-files.js";
import { globalNorm } from "../../src/train/optimizer/optimizer.js";
import { openServed } from "../../src/train/served.js";
import { type StepOptions, TrainStep } from "../../src/train/step.js";
import { WeightNorms } from "../../src/weights/norms.js";
import { dequantizedCheckpoint } from "../support/dequantized.js";
import { fromPeft, oracleRoot, readTensors, relativeDifference } from "../support/train-oracle.js";

const folder = mkdtempSync(join(tmpdir(), "lorikeet-dora-"));
after(() => rmSync(folder, { recursive: true }));
const cacheDirectory = join(folder, "cache");

const ids = Int32Array.from({ length: 40 }, (_, i) => (i * 53) % 320);
const labels = ids.map((id, i) => (i % 20 === 0 ? -100 : id));
const batch = { rows: 2, length: 20, ids, labels };

/** A step over PEFT's adapter of a family. `lengthsOf`: whose weights the norms are of, where they are not the base's own. */
async function stepOf(
  checkpoint: Checkpoint,
  family: string,
  { dtype = "fp32", lengthsOf = checkpoint, ...options }: StepCase = {},
): Promise<TrainStep> {
  const adapter = await openAdapter(join("test/fixtures/dora", family), checkpoint.config);
  const base = await openBase({ checkpoint, dtype, threads: 1, cacheDirectory });
  const step = TrainStep.create({
    config: checkpoint.config,
    weights: base.weights,
    mode: "lora",
    modules: new Map(adapter.modules.map(({ path, rank, scale }) => [path, { rank, scale }])),
    dora: true,
    norms: new WeightNorms(lengthsOf, { threads: 1 }),
    maxLength: 64,
    chunks: 2,
    threads: 1,
    ...options,
  });
  await adapter.readInto(step.parameters);
  return step;
}

type StepCase = Partial<StepOptions> & {
  readonly dtype?: "fp32" | "int8" | "int4";
  readonly lengthsOf?: Checkpoint;
};

/** The masks that PEFT was given: of the k-th layer, where (31 row + 7 column + 13 k) is no multiple of ten. */
function masksOf(step: TrainStep): Map<string, Tensor> {
  const paths = step.parameters.filter(({ name }) => name.endsWith("lora_A")).map(({ name }) => name.slice(0, -7));
  const masks = new Map<string, Tensor>();
  for (const input of step.graphs.training.inputs.filter(({ type }) => type === "bool")) {
    const k = paths.findIndex((path) => moduleInputs(path).mask === input.name);
    const width = Number(input.shape[1]);
    const data = Uint8Array.from({ length: 40 * width }, (_, at) =>
      (31 * Math.floor(at / width) + 7 * (at % width) + 13 * k) % 10 === 0 ? 0 : 1,
    );
    masks.set(input.name, Tensor.from("bool", [40, width], data));
  }
  return masks;
}

test("with dropout, loss and gradients are PEFT's: the base gets the full input, the magnitudes the dropped one", async () => {
  const checkpoint = await openCheckpoint(join(oracleRoot, "qwen2"));
  for (const gradientCheckpointing of [false, true]) {
    using step = await stepOf(checkpoint, "qwen2", { dropout: 0.25, gradientCheckpointing });
    const inputs = masksOf(step);
    assert.equal(inputs.size, 12);
    const { loss } = await step.run(batch, { inputs });
    const expected = await readTensors("test/fixtures/dora/qwen2/dropout-gradients.safetensors");
    const theirs = expected.get("loss")?.data[0] ?? Number.NaN;
    assert.ok(Math.abs(loss - theirs) <= 2e-5, `loss ${loss}, PEFT's ${theirs}`);
    assert.equal(step.parameters.length, expected.size - 1);
    for (const { name, gradient } of step.parameters) {
      const error = relativeDifference(gradient, fromPeft(expected, name));
      assert.ok(error <= 5e-5, `gradient of ${name}: ${error}`);
    }
  }
});

const cosine = (a: Float32Array, b: Float32Array): number =>
  a.reduce((sum, x, i) => sum + x * (b[i] ?? 0), 0) / (globalNorm(a) * globalNorm(b));

for (const family of ["qwen2", "gpt2"]) {
  for (const dtype of ["int8", "int4"] as const) {
    test(`${family} over ${dtype}: gradients are those of the rounded weights, log-probabilities the server's`, async () => {
      const checkpoint = await openCheckpoint(join(oracleRoot, family));
      for (const dropout of [0, 0.25]) {
        using step = await stepOf(checkpoint, family, { dtype, dropout });
        const base = await openBase({ checkpoint, dtype, threads: 1, cacheDirectory });
        const whole = await dequantizedCheckpoint(checkpoint, base.weights, mkdtempSync(join(folder, "whole-")));
        using exact = await stepOf(whole, family, { dropout, lengthsOf: checkpoint });
        const inputs = masksOf(step);
        const [found, expected] = [await step.run(batch, { inputs }), await exact.run(batch, { inputs })];
        const difference = Math.abs(found.loss - expected.loss);
        assert.ok(difference < 0.02 * expected.loss, `${found.loss}, in fp32 ${expected.loss}`);
        const likeness = cosine(step.gradients, exact.gradients);
        assert.ok(likeness > 0.997, `dropout ${dropout}: cosine ${likeness}`);
        if (dropout > 0) continue;
        await using served = await openServed({
          ...{ checkpoint, dtype, threads: 1, maxContext: 64, maxBatch: 2, cacheDirectory },
          adapter: join("test/fixtures/dora", family),
        });
        const { tokenLosses } = await step.evaluate(batch);
        const scored = [0, 1].map((row) => served.score([...ids.subarray(20 * row, 20 * (row + 1))]));
        const logprobs = (await Promise.all(scored)).flatMap((row) => [...row.slice(1)]);
        const apart = logprobs.map((logprob, i) => Math.abs(logprob + (tokenLosses[i] ?? 0)));
        const equal = apart.filter((far) => far < 1e-4).length; // elsewhere a last bit rounds an activation to its other side
        assert.ok(apart.length === 38 && equal > 19, `${equal} of ${apart.length} tokens have the server's loss`);
        assert.ok(Math.max(...apart) < 0.5, `${Math.max(...apart)}`);
      }
    });
  }
}
