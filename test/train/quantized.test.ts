/** Training over quantized bases: gradients of the forward pass that ran, weights shared with serving, no fp32 copy of a layer. */
import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { exactRowLimit } from "../../src/engine/kernel-probe.js";
import { planServing } from "../../src/engine/start.js";
import { GraphBuilder } from "../../src/graph/builder.js";
import type { CustomGradient } from "../../src/graph/gradient.js";
import { Ops } from "../../src/graph/ops.js";
import { openCheckpoint } from "../../src/model/checkpoint/open.js";
import { layerModules, targetModules } from "../../src/model/modules.js";
import { buildTokenLosses } from "../../src/model/training/head.js";
import { TrainingLinears } from "../../src/model/training/linear.js";
import { moduleInputs, Parameters } from "../../src/model/training/types.js";
import type { Checkpoint, DecoderConfig } from "../../src/model/types.js";
import type { WeightSource } from "../../src/model/weights.js";
import { Tensor } from "../../src/runtime/tensor.js";
import { type BaseWeights, openBase } from "../../src/train/base-weights.js";
import type { TokenBatch } from "../../src/train/data/batch.js";
import { dropoutMasks, type MaskedModule } from "../../src/train/dropout.js";
import { globalNorm } from "../../src/train/optimizer/optimizer.js";
import { openServed } from "../../src/train/served.js";
import { type StepOptions, TrainStep } from "../../src/train/step.js";
import { planBackward } from "../../src/weights/backward.js";
import { readSegment, toFloat32 } from "../../src/weights/convert/task.js";
import { prepareWeights } from "../../src/weights/prepare.js";
import { rowLimits } from "../../src/weights/quantize.js";
import { changedCheckpoint, dequantized, dequantizedCheckpoint, exactBackward } from "../support/dequantized.js";
import { runner, sequence } from "../support/differences.js";
import { onlyWhenLong } from "../support/long.js";

const folder = mkdtempSync(join(tmpdir(), "lorikeet-quantized-"));
after(() => rmSync(folder, { recursive: true }));
const cacheDirectory = join(folder, "cache");

const open = (checkpoint: Checkpoint, dtype: "fp32" | "int8" | "int4"): Promise<BaseWeights> =>
  openBase({ checkpoint, dtype, threads: 1, cacheDirectory });

function stepOver(
  config: DecoderConfig,
  weights: WeightSource,
  options: Partial<StepOptions> = {},
  modules = layerModules(config),
): TrainStep {
  const step = TrainStep.create({
    config,
    weights,
    modules: new Map(modules.map(({ path }) => [path, { rank: 4, scale: 2 }])),
    mode: "lora",
    maxLength: 64,
    chunks: 2,
    threads: 1,
    ...options,
  });
  const random = sequence(3);
  for (let i = 0; i < step.values.length; i++) step.values[i] = 0.2 * (random() - 0.5);
  return step;
}

function randomBatch(rows: number, length: number, vocabulary: number): TokenBatch {
  const random = sequence(2);
  const ids = Int32Array.from({ length: rows * length }, () => 4 + Math.floor(random() ** 3 * (vocabulary - 4)));
  return { rows, length, ids, labels: ids };
}

const dot = (a: Float32Array, b: Float32Array): number => a.reduce((sum, x, i) => sum + x * (b[i] as number), 0);
const cosine = (a: Float32Array, b: Float32Array): number => dot(a, b) / (globalNorm(a) * globalNorm(b));

/** Loss and gradients over a quantized base, over its weights in fp32, and of the same forward pass passed back in fp32. */
async function compare(path: string, dtype: "int8" | "int4") {
  const checkpoint = await openCheckpoint(path);
  const { config } = checkpoint;
  const base = await open(checkpoint, dtype);
  const place = mkdtempSync(join(folder, "whole-"));
  const exactBase = await open(await dequantizedCheckpoint(checkpoint, base.weights, place), "fp32");
  using step = stepOver(config, base.weights);
  using whole = stepOver(config, exactBase.weights);
  using back = stepOver(config, await exactBackward(base.weights, place));
  const batch = randomBatch(2, 48, config.vocabSize);
  const [{ loss }, { loss: expected }] = [await step.run(batch), await whole.run(batch)];
  assert.equal((await back.run(batch)).loss, loss);
  return { step, whole, back, config, loss, expected };
}

/** Without VNNI rows of weights take half of int8's range: what they lose doubles. */
const isHalfRange = (await exactRowLimit(1)) < rowLimits.full;
const families = [
  "models/bookworm-7m",
  ...["llama", "gemma2", "gpt2", "phi3", "lfm2", "qwen3_5_text"].map((x) => `test/fixtures/oracle/${x}`),
];

for (const [i, path] of families.entries()) {
  // The first is a real model of 7M parameters, which takes as long as all the others; the next two have much of llama.
  const effort = i === 0 || /gemma2|phi3/.test(path) ? onlyWhenLong : {};
  test(`over int8 and int4, gradients match the quantized forward pass in every tensor: ${path}`, effort, async (t) => {
    for (const dtype of ["int8", "int4"] as const) {
      const { step, back, whole, config, loss, expected } = await compare(path, dtype);
      const likeness = cosine(step.gradients, back.gradients);
      const each = step.parameters.map(({ gradient }, i) =>
        cosine(gradient, back.parameters[i]?.gradient ?? new Float32Array(gradient.length)),
      );
      const overall = cosine(step.gradients, whole.gradients);
      t.diagnostic(`${path} ${dtype}: ${likeness}, at least ${Math.min(...each)}; all in fp32: ${overall}`);
      assert.ok(likeness > (isHalfRange ? 0.999 : 0.9995), `${path} ${dtype}: cosine ${likeness}`);
      assert.ok(Math.min(...each) > (isHalfRange ? 0.995 : 0.998), `${path} ${dtype}: ${Math.min(...each)}`);
      // Activations are rounded too. Random weights exaggerate that, gemma2's norms behind every sublayer most.
      const least = path.startsWith("models") ? 0.999 : 0.98;
      assert.ok(1 - overall < (isHalfRange ? 2 : 1) * (1 - least), `${path} ${dtype}: ${overall}`);
      assert.ok(Math.abs(loss - expected) < 0.005 * expected, `${path} ${dtype}: ${loss}, in fp32 ${expected}`);
      const { nodes } = step.graphs.training;
      const products = nodes.filter(({ op }) => op === "MatMulIntegerToFloat" || op === "MatMulNBits");
      const layers = products.filter(({ name }) => /layers\.\d|\.h\.\d/.test(name));
      const backwards = layers.filter(({ name }) => name.startsWith("gradients."));
      // Joined where checkpoints keep q, k and v, and gate and up, apart: as they are served.
      // Linear attention has two inputs, of values and of gates.
      const inputs = config.layers.map(({ mixer }) => (mixer.body.kind === "delta" ? 2 : 1));
      const expectedProducts = inputs.reduce<number>((sum, count) => sum + count + 3, 0);
      assert.equal(layers.length - backwards.length, expectedProducts, "every layer forwards");
      assert.equal(backwards.length, expectedProducts - (inputs[0] ?? 0), "and all but the lowest backwards");
    }
  });
}

/** What the head passes back to rows x, and the rows' losses. */
async function headOver(
  config: DecoderConfig,
  weights: WeightSource,
  x: Float32Array<ArrayBuffer>,
  labels: readonly number[],
) {
  const options = { config, weights, mode: "lora", modules: new Map(), maxLength: 64, chunks: 1 } as const;
  const builder = new GraphBuilder("head");
  const op = new Ops(builder);
  const parameters = new Parameters(builder, options);
  const custom: CustomGradient[] = [];
  const rows = builder.input("x", "float32", ["labelled", config.hiddenSize]);
  const losses = buildTokenLosses(op, options, config.head, rows, {
    labels: builder.input("labels", "int64", ["labelled"]),
    chunks: builder.input("chunk_sizes", "int64", [1]),
    parameters,
    linears: new TrainingLinears(op, options, parameters, custom),
    custom,
  });
  const [back] = custom[0]?.vjp(op, [builder.input("g", "float32", ["labelled"])], [true], (value) => value) ?? [];
  assert.ok(back);
  builder.output(back);
  builder.output(losses);
  const count = labels.length;
  const run = await runner(builder.build());
  const [gradient, loss] = await run(
    new Map<string, Tensor>([
      ["x", Tensor.from("float32", [count, config.hiddenSize], x)],
      ["labels", Tensor.from("int64", [count], BigInt64Array.from(labels, BigInt))],
      ["chunk_sizes", Tensor.from("int64", [1], BigInt64Array.of(BigInt(count)))],
      ["g", Tensor.from("float32", [count], new Float32Array(count).fill(1))],
    ]),
  );
  assert.ok(gradient?.data instanceof Float32Array && loss?.data instanceof Float32Array);
  return { gradient: gradient.data, loss: loss.data };
}

test("a quantized head's gradient matches fp32, for unlikely and nearly certain labels", async (t) => {
  const checkpoint = await openCheckpoint("models/bookworm-7m");
  const { config } = checkpoint;
  const { hiddenSize } = config;
  const base = await open(checkpoint, "int8");
  const place = mkdtempSync(join(folder, "whole-"));
  const whole = await open(await dequantizedCheckpoint(checkpoint, base.weights, place), "fp32");
  const w = dequantized(base.weights, "model.embed_tokens.weight");
  const labels = [3, 500, 1000, 2047];
  const random = sequence(5);
  const x = Float32Array.from({ length: labels.length * hiddenSize }, () => 10 * (random() - 0.5));
  const mean = Float32Array.from({ length: hiddenSize }, (_, j) => {
    let sum = 0;
    for (let i = j; i < w.length; i += hiddenSize) sum += w[i] ?? 0;
    return sum / config.vocabSize;
  });
  for (const [row, label] of labels.entries()) {
    const own = w.slice(label * hiddenSize, (label + 1) * hiddenSize).map((value, j) => value - (mean[j] ?? 0));
    const share = (10 * row) / globalNorm(own) ** 2; // by which the label's logit rises above the others' by 10 a row
    for (let j = 0; j < hiddenSize; j++)
      x[row * hiddenSize + j] = (x[row * hiddenSize + j] ?? 0) + share * (own[j] ?? 0);
  }
  const expected = await headOver(config, whole.weights, x, labels);
  assert.ok((expected.loss[0] ?? 0) > 5 && (expected.loss.at(-1) ?? 1) < 1e-3, `${expected.loss}`);
  const plan = planBackward(base.weights, 127);
  const inBlocks = [...plan].map(
    ([name, { form: _, maxRowError: __, ...rest }]) => [name, { ...rest, form: "int8" }] as const,
  );
  for (const copies of [plan, new Map(inBlocks)]) {
    const copy = await prepareWeights(checkpoint, copies, { cacheDirectory });
    const found = await headOver(config, new Map([...base.weights, ...copy.weights]), x, labels);
    const form = copy.weights.get("model.embed_tokens.backward.weight")?.form;
    for (const row of labels.keys()) {
      const part = (all: Float32Array): Float32Array => all.subarray(row * hiddenSize, (row + 1) * hiddenSize);
      const likeness = cosine(part(found.gradient), part(expected.gradient));
      t.diagnostic(`${form}, loss ${expected.loss[row]}: ${likeness}`);
      // One int8 matrix of blocks has 0.99993. Near certainty fp32 itself has few digits of 1 - p.
      const bound = (expected.loss[row] ?? 0) > 1e-3 ? 0.99996 : 0.999;
      assert.ok(likeness > bound, `${form}, loss ${expected.loss[row]}: ${likeness}`);
    }
    await copy.close();
  }
  await base.close();
  await whole.close();
});

test("weights are the server's own, and no fp32 copy of a quantized layer is among them", async () => {
  const checkpoint = await openCheckpoint("models/bookworm-7m");
  const { config, parameterCount } = checkpoint;
  const matrices = new Set([...targetModules(config).map(({ path }) => `${path}.weight`), "model.embed_tokens.weight"]);
  for (const [dtype, mostBytes] of [
    ["int8", 2.2],
    ["int4", 1.9],
  ] as const) {
    const base = await open(checkpoint, dtype);
    const served = await prepareWeights(checkpoint, await planServing(checkpoint, { dtype, threads: 1 }), {
      cacheDirectory,
    });
    assert.ok(served.cached, `${dtype}: a server finds what training converted`);
    for (const [name, weight] of served.weights) assert.deepEqual(base.weights.get(name), weight, name);
    using step = stepOver(config, base.weights);
    for (const graph of [step.graphs.training, step.graphs.evaluation]) {
      const places = new Map(
        graph.initializers.flatMap(({ value, data }) =>
          data.kind === "external"
            ? [[`${data.file}:${data.offset}`, { name: value.name, bytes: data.byteLength, type: value.type }]]
            : [],
        ),
      );
      const bytes = [...places.values()].reduce((sum, place) => sum + place.bytes, 0);
      assert.ok(bytes < mostBytes * parameterCount, `${dtype}: ${bytes} bytes for ${parameterCount} weights`);
      const floats = [...places.values()].filter(({ type, name }) => type === "float32" && !name.endsWith("scales"));
      assert.ok(
        floats.every(({ name }) => !matrices.has(name)),
        "no matrix is there in fp32",
      );
      const floatBytes = floats.reduce((sum, place) => sum + place.bytes, 0);
      assert.ok(
        floatBytes <= 4 * config.hiddenSize * (2 * config.layerCount + 1),
        `${floatBytes} bytes: the norms alone`,
      );
    }
    await served.close();
    await base.close();
  }
});

test("the copy for gradients holds the rounded weights", async () => {
  const checkpoint = await openCheckpoint("test/fixtures/oracle/gpt2");
  const base = await open(checkpoint, "int4");
  let compared = 0;
  for (const name of [...base.weights.keys()].filter((name) => base.weights.get(name)?.form === "int4")) {
    const copy = name.replace(/\.weight$/, ".backward.weight");
    const [forwards, backwards] = [dequantized(base.weights, name), dequantized(base.weights, copy)];
    const { shape = [] } = base.weights.get(name) ?? {};
    const [inputs = 0, outputs = 0] = shape; // gpt2's order
    let [error, norm] = [0, 0];
    for (let o = 0; o < outputs; o++) {
      for (let i = 0; i < inputs; i++) {
        const x = forwards[o * inputs + i] ?? 0;
        error += (x - (backwards[i * outputs + o] ?? 0)) ** 2;
        norm += x ** 2;
      }
    }
    assert.ok(Math.sqrt(error / norm) < (isHalfRange ? 0.024 : 0.012), `${name}: ${Math.sqrt(error / norm)}`);
    compared++;
  }
  assert.equal(compared, 4 * checkpoint.config.layerCount);
  await base.close();
});

test("a layer with an outlier is quantized in blocks if its rows' measured error is too large", async () => {
  const fixture = await openCheckpoint("test/fixtures/oracle/llama");
  const name = "model.layers.1.mlp.down_proj.weight";
  const location = fixture.tensors.get(name);
  assert.ok(location);
  const values = toFloat32(location.dtype, readSegment(location));
  const [rows = 0, columns = 0] = location.shape;
  // One input that every output weighs heavily: rows lose all else, while of the copy only one row is large.
  for (let row = 0; row < rows; row++) values[row * columns + 5] = 20 + row / 100;
  const changed = await changedCheckpoint(fixture, new Map([[name, values]]), mkdtempSync(join(folder, "outlier-")));
  const base = await open(changed, "int8");
  assert.deepEqual(base.blocks, [name]);
  const { form, rowError = 0, error } = base.weights.get(name) ?? {};
  assert.ok(form === "int8" && rowError > 0.02 && (error ?? 1) < rowError, `${rowError} in rows, ${error} in blocks`);
  using step = stepOver(changed.config, base.weights);
  const forwards = step.graphs.training.nodes.filter(
    ({ op, inputs }) => op === "MatMulNBits" && inputs[1]?.name === name,
  );
  assert.equal(forwards.length, 1);
  assert.ok(Number.isFinite((await step.run(randomBatch(1, 8, 320))).loss));
});

test("the forward pass is the server's, except for activations that a last bit rounds the other way", async () => {
  const checkpoint = await openCheckpoint("models/bookworm-7m");
  const batch = randomBatch(24, 4, 4096);
  for (const dtype of ["int8", "int4"] as const) {
    const base = await open(checkpoint, dtype);
    using step = stepOver(checkpoint.config, base.weights);
    const { tokenLosses } = await step.evaluate(batch, { weights: "base" });
    const options = { checkpoint, dtype, threads: 1, maxContext: 64, maxBatch: 2, adapter: null, cacheDirectory };
    await using served = await openServed(options);
    const rows = Array.from({ length: 24 }, (_, row) => [...batch.ids.subarray(4 * row, 4 * row + 4)]);
    const scores = (await Promise.all(rows.map((ids) => served.score(ids)))).flatMap((row) => [...row.slice(1)]);
    const apart = scores.map((score, i) => Math.abs(score + (tokenLosses[i] ?? 0)));
    const equal = apart.filter((difference) => difference < 1e-4).length;
    assert.ok(apart.length === 72 && equal > 40, `${dtype}: ${equal} of ${apart.length} tokens have the server's loss`);
    assert.ok(Math.max(...apart) < 0.5, `${dtype}: ${Math.max(...apart)}`);
    await base.close();
  }
});

for (const dtype of ["int8", "int4"] as const) {
  test(
    `${dtype}: neither gradient checkpointing nor a second thread changes a bit, and layer inputs are recomputed`,
    onlyWhenLong,
    async () => {
      const checkpoint = await openCheckpoint("models/bookworm-7m");
      const { config } = checkpoint;
      const batch = randomBatch(2, 64, config.vocabSize);
      const base = await open(checkpoint, dtype);
      using plain = stepOver(config, base.weights);
      using frugal = stepOver(config, base.weights, { gradientCheckpointing: true });
      using threaded = stepOver(config, base.weights, { threads: 2 });
      const { loss } = await plain.run(batch);
      assert.equal((await frugal.run(batch)).loss, loss);
      assert.deepEqual(frugal.gradients, plain.gradients, dtype);
      assert.equal((await threaded.run(batch)).loss, loss);
      assert.deepEqual(threaded.gradients, plain.gradients, dtype);
      const forwards = ({ graphs }: TrainStep): number =>
        graphs.training.nodes.filter(({ op, attributes }) => op === "QuickGelu" && attributes.alpha !== undefined)
          .length;
      assert.equal(forwards(frugal), 2 * forwards(plain));
      await base.close();
    },
  );
}

test("layers with adapters of their own ranks and scales, beside layers without, have the gradients of fp32", async () => {
  const checkpoint = await openCheckpoint("models/bookworm-7m");
  const { config } = checkpoint;
  const base = await open(checkpoint, "int8");
  const whole = await dequantizedCheckpoint(checkpoint, base.weights, mkdtempSync(join(folder, "whole-")));
  const exactBase = await open(whole, "fp32");
  const chosen = targetModules(config).filter(
    ({ path }) => /(q|v|up|o)_proj$/.test(path) && !path.includes("layers.3."),
  );
  const modules = new Map(chosen.map(({ path }, i) => [path, { rank: 2 + (i % 3), scale: 1 + (i % 2) }]));
  const batch = randomBatch(2, 48, config.vocabSize);
  for (const dropout of [0, 0.5]) {
    const rig = { modules, dropout };
    using step = stepOver(config, base.weights, rig);
    using exact = stepOver(config, exactBase.weights, rig);
    const masks = chosen.map(
      ({ path, inFeatures }): MaskedModule => ({ name: moduleInputs(path).mask, width: inFeatures, rows: "tokens" }),
    );
    const inputs =
      dropout > 0 ? dropoutMasks(masks, dropout, { tokens: 96, labels: 94 }, { seed: 1, step: 0, run: 0 }) : new Map();
    await step.run(batch, { inputs });
    await exact.run(batch, { inputs });
    for (const [i, parameter] of step.parameters.entries()) {
      const likeness = cosine(parameter.gradient, exact.parameters[i]?.gradient ?? parameter.gradient);
      assert.ok(likeness > 0.99, `${parameter.name}, dropout ${dropout}: ${likeness}`);
    }
  }
  await base.close();
});
