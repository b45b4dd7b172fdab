/** Gradient checkpointing: the same bits for a fraction of the memory. */
import assert from "node:assert/strict";
import { join } from "node:path";
import { test } from "node:test";
import type { Graph, Node } from "../../src/graph/types.js";
import { openCheckpoint } from "../../src/model/checkpoint/open.js";
import { readDecoderConfig } from "../../src/model/config/read.js";
import { expectedTensors, targetModules } from "../../src/model/modules.js";
import { modelShapes } from "../../src/model/shapes.js";
import type { DecoderConfig, TensorLocation } from "../../src/model/types.js";
import { elementCount } from "../../src/tensor/shape.js";
import { TrainStep } from "../../src/train/step.js";
import { planWeights } from "../../src/weights/plan.js";
import { prepareWeights } from "../../src/weights/prepare.js";
import { sequence } from "../support/differences.js";
import { keptBytes } from "../support/kept-bytes.js";

interface Shape {
  readonly rank: number;
  readonly maxLength: number;
  readonly chunks: number;
}

async function stepOf(
  config: DecoderConfig,
  tensors: ReadonlyMap<string, TensorLocation>,
  { rank, ...shape }: Shape,
  gradientCheckpointing: boolean,
): Promise<TrainStep> {
  const { weights } = await prepareWeights({ tensors }, planWeights(config, tensors, { dtype: "fp32" }));
  const modules = new Map(targetModules(config).map(({ path }) => [path, { rank, scale: 2 }] as const));
  return TrainStep.create({ config, weights, modules, mode: "lora", threads: 1, gradientCheckpointing, ...shape });
}

const backwards = ({ name }: Node): boolean => name.startsWith("gradients.");

test("gradient checkpointing recomputes each layer's activations and gives the same bits", async () => {
  const random = sequence(11);
  const ids = Int32Array.from({ length: 40 }, () => Math.floor(random() * 320));
  const batch = { rows: 2, length: 20, ids, labels: ids };
  const shape = { rank: 3, maxLength: 64, chunks: 2 };
  for (const family of ["llama", "gemma2", "gpt2", "phi3"]) {
    const { config, tensors } = await openCheckpoint(join("test/fixtures/oracle", family));
    using plain = await stepOf(config, tensors, shape, false);
    using frugal = await stepOf(config, tensors, shape, true);
    const values = Float32Array.from(plain.values, () => 0.2 * (random() - 0.5));
    for (const { values: into } of [plain, frugal]) into.set(values);
    const { loss } = await plain.run(batch);
    assert.equal((await frugal.run(batch)).loss, loss);
    assert.deepEqual(frugal.gradients, plain.gradients, family);
    assert.ok(plain.gradients.some((gradient) => gradient !== 0));
    const again = frugal.graphs.training.nodes.filter((node) => backwards(node) && node.op === "Softmax");
    assert.equal(again.length, config.layerCount, "every layer's attention runs twice");
    assert.ok(!plain.graphs.training.nodes.some((node) => backwards(node) && node.op === "Softmax"));
  }
});

/** A model's tensors as they would lie in a file that nothing opens. */
const tensorsOf = (config: DecoderConfig): Map<string, TensorLocation> =>
  new Map(
    expectedTensors(config).map(({ name, shape }) => {
      const byteLength = 4 * elementCount(shape);
      return [name, { name, file: "/nowhere", dtype: "F32", shape, offset: 0, byteLength }];
    }),
  );

/** Of 4 rows of 256 tokens in two blocks of queries, 3 to a key head, all tokens but the first of each row labelled. */
const sizes = {
  ...{ rows: 4, length: 256, labelled: 1020 },
  ...{ "queries.0": 3 * 128, "queries.1": 3 * 128, "keys.0": 128, "block.1": 128 },
  ...{ "labelled.0": 255, "labelled.1": 255, "labelled.2": 255, "labelled.3": 255 },
};

test("at 135M, 4 x 256, at most a fifth of the activations is kept, including the recomputed layer", async () => {
  const config = readDecoderConfig(modelShapes["135M"]);
  const shape = { rank: 16, maxLength: 256, chunks: 4 };
  using plain = await stepOf(config, tensorsOf(config), shape, false);
  using frugal = await stepOf(config, tensorsOf(config), shape, true);
  const [all, kept] = [plain, frugal].map(({ graphs }) => keptBytes(graphs.training, sizes));
  assert.ok(all && kept);
  const sum = (bytes: Map<string, number>): number => [...bytes.values()].reduce((a, b) => a + b, 0);
  const again = [...all].map(([layer, bytes]) => bytes - (kept.get(layer) ?? 0));
  assert.ok(sum(all) > 1.2e9 && again.filter((bytes) => bytes > 3e7).length === config.layerCount);
  const held = sum(kept) + Math.max(...again);
  assert.ok(held <= sum(all) / 5, `${held} of ${sum(all)} bytes`);
});

/** All nodes that a value is made from. */
function makersOf({ nodes }: Graph, names: Iterable<string>): Set<Node> {
  const needed = new Set(names);
  const makers = new Set<Node>();
  for (const node of nodes.toReversed()) {
    if (!node.outputs.some(({ name }) => needed.has(name))) continue;
    makers.add(node);
    for (const input of node.inputs) if (input) needed.add(input.name);
  }
  return makers;
}

test("nothing is computed early and kept: a chunk's logits are freed with it, and a norm's backward pass waits for its gradient", async () => {
  for (const family of ["llama", "gemma2", "gpt2", "qwen3"]) {
    const { config, tensors } = await openCheckpoint(join("test/fixtures/oracle", family));
    using step = await stepOf(config, tensors, { rank: 3, maxLength: 64, chunks: 2 }, false);
    const graph = step.graphs.training;
    const gradients = graph.outputs.map(({ name }) => name).filter((name) => name.startsWith("gradient."));
    const needed = makersOf(graph, gradients);
    const readers = graph.nodes.filter(({ inputs }) =>
      inputs.some((input) => input?.shape.includes(config.vocabSize) && /^labelled\.\d$/.test(`${input.shape[0]}`)),
    );
    assert.ok(
      readers.length > 6 && readers.every((node) => needed.has(node)),
      `${family}: losses come before gradients`,
    );
    const norms = graph.nodes.filter(({ name }) => /^gradients\..*LayerNormalization(\.\d+)?\.\w+(\.\d+)?$/.test(name));
    const wide = norms.filter(({ outputs }) => outputs.some(({ shape }) => shape.at(-1) === config.hiddenSize));
    const arrived = (node: Node): boolean =>
      [
        ...makersOf(
          graph,
          node.outputs.map(({ name }) => name),
        ),
      ].some(({ inputs }) => inputs.some((input) => input?.name === "label_weights"));
    assert.ok(wide.length > 5 && wide.every(arrived), family);
  }
});
