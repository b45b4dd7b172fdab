/** What modules.json does with the vectors of tokens, as nodes of a graph: the output `sentence_embedding`. */

import { readdir } from "node:fs/promises";
import { join } from "node:path";
import { LorikeetError } from "../../base/errors.js";
import { at } from "../../base/list.js";
import { GraphBuilder } from "../../graph/builder.js";
import { Ops } from "../../graph/ops.js";
import { pruneGraph } from "../../graph/prune.js";
import type { Graph, Node, Value } from "../../graph/types.js";
import { SafetensorsFile } from "../../tensor/safetensors.js";
import { transpose } from "../../tensor/transpose.js";
import type { PoolingMode, SentenceModules, VectorLayer } from "./sentence-modules.js";
import { activate } from "./vector-activations.js";

export const vectorOutput = "sentence_embedding";

/** Values that hold a vector for each token of a text. */
export const tokenOutputs: readonly string[] = ["last_hidden_state", "token_embeddings"];

/** How the names of the layers' weights begin. They stay as they are: training and adapters are the transformer's. */
export const vectorWeights = "sentence/";

const maskName = "attention_mask";

/** The weights of one layer by their names in its file; Dense layers have their matrix as [inputs, outputs]. */
type LayerWeights = ReadonlyMap<string, { readonly shape: readonly number[]; readonly data: Float32Array }>;

export interface VectorPlan {
  readonly modules: Pick<SentenceModules, "pooling" | "layers">;
  /** Of each layer. */
  readonly weights: readonly LayerWeights[];
}

/** Reads the weights of the layers. Throws `model_invalid` for files that do not have them, `model_unsupported` for pickles. */
export async function readVectorPlan(folder: string, modules: VectorPlan["modules"]): Promise<VectorPlan> {
  const weights: LayerWeights[] = [];
  for (const layer of modules.layers) weights.push(await readWeights(folder, layer));
  return { modules, weights };
}

export interface VectorGraph {
  readonly graph: Graph;
  /** What it has beyond the file's. */
  readonly added: ReadonlySet<Node>;
}

/** The graph with the vector of each text as another output. `size`: of a token's vector, where the file does not say it. Throws `model_invalid` for layers that do not fit each other. */
export function withVectors(graph: Graph, plan: VectorPlan, size: number | null): VectorGraph {
  const tokens = graph.outputs.find(({ name }) => tokenOutputs.includes(name));
  const mask = graph.inputs.find(({ name }) => name === maskName);
  if (!tokens || !mask) {
    const lacking = tokens ? `input ${maskName}` : `output ${at(tokenOutputs, 0)}`;
    throw invalid(`needs the ${lacking}, which the ONNX file does not have`);
  }
  const builder = GraphBuilder.from(graph);
  const op = new Ops(builder);
  const width = sizeOf(tokens) ?? size;
  if (width === null) throw invalid("has a Pooling without the size of the vectors");
  const known = { ...tokens, shape: ["batch", "sequence", width] };
  const vector = op.scope("sentence", () => {
    const seen = op.unsqueeze(op.cast({ ...mask, shape: ["batch", "sequence"] }, "float32"), 2);
    const pooled = pooledBy(op, op.cast(known, "float32"), seen, plan.modules.pooling);
    return named(op, layersOf(op, pooled, plan));
  });
  const { nodes, initializers } = builder.build();
  const before = new Set(graph.initializers.map(({ value }) => value.name));
  const added = nodes.slice(graph.nodes.length);
  return {
    graph: {
      ...graph,
      outputs: [...graph.outputs, vector],
      nodes,
      initializers: [...graph.initializers, ...initializers.filter(({ value }) => !before.has(value.name))],
    },
    added: new Set(added),
  };
}

/** The graph as the file has it. */
export const withoutVectors = (graph: Graph): Graph =>
  pruneGraph({ ...graph, outputs: graph.outputs.filter(({ name }) => name !== vectorOutput) });

/** The layers alone: from `pooled` [rows, size] to the vectors. */
export function layersGraph(plan: VectorPlan, size: number): Graph {
  const builder = new GraphBuilder("layers of vectors");
  const op = new Ops(builder);
  const vector = layersOf(op, builder.input("pooled", "float32", ["rows", size]), plan);
  builder.output(named(op, vector));
  return builder.build();
}

function named({ builder }: Ops, vector: Value): Value {
  const { type, shape } = vector;
  return at(builder.node("Identity", [vector], [{ type, shape, name: vectorOutput }]), 0);
}

function sizeOf({ shape, unknown }: Value): number | null {
  const size = unknown ? undefined : shape.at(-1);
  return typeof size === "number" ? size : null;
}

/** `seen`: 1 for each token and 0 for padding, [rows, tokens, 1]. */
function pooledBy(op: Ops, tokens: Value, seen: Value, modes: readonly PoolingMode[]): Value {
  // As a product: a sum over an axis adds up in another order for a single row.
  const over = (weights: Value): Value => op.squeeze(op.matMul(op.transpose(weights, [0, 2, 1]), tokens), 1);
  const one = op.like(seen, 1);
  // At least 1: a text may have no token.
  const least = (sum: Value): Value => op.binary("Max", sum, one);
  const count = op.sum(seen, [1], false);
  /** Counted from 1 among the tokens of the text. */
  const place = op.one("CumSum", [seen, op.builder.scalar("int64", 1)], "float32", seen.shape);
  const only = (places: Value): Value => op.mul(seen, op.cast(op.compare("Equal", place, places), "float32"));
  const by: Readonly<Record<PoolingMode, () => Value>> = {
    cls: () => over(only(one)),
    last: () => over(only(op.unsqueeze(count, 1))),
    max: () => op.reduce("ReduceMax", op.add(tokens, op.scale(op.sub(seen, one), hidden)), [1], false),
    mean: () => op.div(over(seen), least(count)),
    mean_sqrt_len_tokens: () => op.div(over(seen), op.sqrt(least(count))),
    weightedmean: () => {
      const weights = op.mul(seen, place);
      return op.div(over(weights), least(op.sum(weights, [1], false)));
    },
  };
  const parts = modes.map((mode) => by[mode]());
  return parts.length === 1 ? at(parts, 0) : op.concat(parts, 1);
}

/** Subtracted from what is padding. */
const hidden = 1e9;

function layersOf(op: Ops, vector: Value, { modules, weights }: VectorPlan): Value {
  return modules.layers.reduce((x, layer, index) => layerOf(op, x, layer, at(weights, index)), vector);
}

function layerOf(op: Ops, x: Value, layer: VectorLayer, weights: LayerWeights): Value {
  if (layer.kind === "unit") {
    const rows = op.unsqueeze(x, 1);
    const length = op.sqrt(op.squeeze(op.matMul(rows, op.transpose(rows, [0, 2, 1])), 1));
    return op.div(x, op.binary("Max", length, op.like(x, shortest)));
  }
  const expected = layer.kind === "dense" ? layer.inFeatures : layer.size;
  if (x.shape[1] !== expected) {
    throw invalid(`has a layer ${layer.folder} for vectors of ${expected} values, and they have ${x.shape[1]}`);
  }
  const weight = (name: string): Value => {
    const { shape, data } = weights.get(name) ?? { shape: [0], data: new Float32Array(0) };
    const bytes = new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
    return op.builder.initializer(`${vectorWeights}${layer.folder}.${name}`, "float32", shape, {
      kind: "inline",
      bytes,
    });
  };
  if (layer.kind === "norm") {
    return op.one("LayerNormalization", [x, weight("norm.weight"), weight("norm.bias")], "float32", x.shape);
  }
  const product = productOf(op, x, weight("linear.weight"));
  const y = activate(op, layer.hasBias ? op.add(product, weight("linear.bias")) : product, layer.activation);
  if (!layer.hasResidual) return y;
  return op.add(y, hasProjection(layer) ? productOf(op, x, weight("residual.weight")) : x);
}

/** Each row twice: kernels treat a single row differently, and a text's bits do not depend on its neighbours. */
function productOf(op: Ops, x: Value, weight: Value): Value {
  const rows = op.unsqueeze(x, 1);
  return op.squeeze(op.slice(op.matMul(op.concat([rows, rows], 1), weight), 1, 0, 1), 1);
}

/** As PyTorch's `normalize` has it. */
const shortest = 1e-12;

type Dense = Extract<VectorLayer, { kind: "dense" }>;

const hasProjection = ({ hasResidual, inFeatures, outFeatures }: Dense): boolean =>
  hasResidual && inFeatures !== outFeatures;

const weightsName = "model.safetensors";
const pickleName = "pytorch_model.bin";

/** What a layer's file must hold: shapes as PyTorch has them. */
function weightsOf(layer: VectorLayer): Readonly<Record<string, readonly number[]>> {
  if (layer.kind === "unit") return {};
  if (layer.kind === "norm") return { "norm.weight": [layer.size], "norm.bias": [layer.size] };
  const matrix = [layer.outFeatures, layer.inFeatures];
  return {
    "linear.weight": matrix,
    ...(layer.hasBias && { "linear.bias": [layer.outFeatures] }),
    ...(hasProjection(layer) && { "residual.weight": matrix }),
  };
}

async function readWeights(folder: string, layer: VectorLayer): Promise<LayerWeights> {
  const found = new Map<string, { shape: readonly number[]; data: Float32Array }>();
  if (layer.kind === "unit") return found;
  const names = await readdir(join(folder, layer.folder));
  if (!names.includes(weightsName)) {
    if (!names.includes(pickleName)) throw invalid(`has a layer ${layer.folder} without ${weightsName}`);
    const message = `The layer ${layer.folder} has ${pickleName}, a Python pickle, which is never opened; save the model with sentence-transformers, which writes ${weightsName}.`;
    throw new LorikeetError("model_unsupported", message, { param: layer.folder });
  }
  await using file = await SafetensorsFile.open(join(folder, layer.folder, weightsName));
  for (const [name, shape] of Object.entries(weightsOf(layer))) {
    const stored = file.tensors.get(name);
    if (stored?.shape.join() !== shape.join()) {
      const state = stored ? `has the sizes [${stored.shape.join(", ")}]` : "is missing";
      throw invalid(`has a layer ${layer.folder} whose ${name} ${state}; [${shape.join(", ")}] is expected`);
    }
    const data = await file.readFloat32(name);
    const [rows = 0, columns] = shape;
    if (columns === undefined) found.set(name, { shape, data });
    else found.set(name, { shape: [columns, rows], data: transpose(data, rows, columns) });
  }
  return found;
}

const invalid = (clause: string): LorikeetError =>
  new LorikeetError("model_invalid", `modules.json ${clause}.`, { param: "modules.json" });
