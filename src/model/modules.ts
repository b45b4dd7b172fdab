/**
 * The modules of a decoder by name: the linear layers that adapters may target, and every tensor that its checkpoint must hold.
 * Names are those of transformers and PEFT.
 */

import { assert } from "../base/errors.js";
import type {
  Attention,
  BaseModule,
  Blueprint,
  CausalFilter,
  FeedForward,
  HeadNorm,
  Linear,
  Mixer,
  Norm,
  QueryKeyValue,
  StoredWeight,
  TargetModule,
} from "./blueprint.js";
import { kernelRotates } from "./rope.js";
import type { Checkpoint, DecoderConfig, TensorLocation } from "./types.js";

export interface ExpectedTensor {
  readonly name: string;
  readonly shape: readonly number[];
  /**
   * `embedding` is a table of token embeddings and `positions` one of learned positions, which are only gathered from. `head` is
   * the matrix of logits, `score` that of a classifier's labels. A `filter` is what a convolution multiplies by.
   */
  readonly role: "embedding" | "positions" | "matrix" | "head" | "score" | "norm" | "bias" | "filter";
  /** A matrix that is never quantized. */
  readonly precise?: boolean;
  /** A matrix that is stored [in, out]. */
  readonly transposed?: boolean;
  /** The initial value of a norm's weight in a new model. */
  readonly initial?: number;
}

/**
 * Every linear layer that an adapter may target, in the order of the forward pass; the head comes last, and only when it is
 * not tied to the embeddings. A packed layer is one module.
 */
export function targetModules(config: Blueprint): TargetModule[] {
  const { head } = config;
  return [...layerModules(config), ...(head.tied ? [] : [asModule(head.linear)])];
}

/**
 * A head that is tied to the embeddings, as the target module of adapters that change the logits and leave the embeddings alone; null if
 * the head has weights of its own.
 */
export function tiedHead({ head, classifier }: Pick<DecoderConfig, "head" | "classifier">): TargetModule | null {
  return head.tied && !classifier ? { ...asModule(head.linear), path: head.path } : null;
}

/** The target modules with the head, tied or not. */
export function targetModulesWithHead(config: DecoderConfig): TargetModule[] {
  const tied = tiedHead(config);
  return [...targetModules(config), ...(tied ? [tied] : [])];
}

/** The path that a target module's weight is stored under: a tied head's is the embeddings'. */
export const storedPath = ({ head, embedding }: Pick<Blueprint, "head" | "embedding">, path: string): string =>
  head.tied && path === head.path ? embedding.path : path;

/** The layer that classifies a text by its last token, whatever the family. */
export const scorePath = "score";

/** The target modules, then a tied head, the embeddings and the classification head: every module that an adapter may name. A classifier has no other head. */
export function baseModules(config: DecoderConfig): BaseModule[] {
  const { head, embedding, vocabSize, hiddenSize, classifier } = config;
  const table = (path: string, count: number, tableRole: "embedding" | "positions"): BaseModule => ({
    ...{ path, inFeatures: count, outFeatures: hiddenSize, role: tableRole },
  });
  const { positions } = embedding;
  const role = head.tied ? ("tied_head" as const) : ("head" as const);
  return [
    ...layerModules(config),
    ...(classifier ? [] : [{ path: head.path, inFeatures: hiddenSize, outFeatures: vocabSize, role }]),
    table(embedding.path, vocabSize, "embedding"),
    ...(positions ? [table(positions.path, positions.count, "positions")] : []),
    { path: scorePath, inFeatures: hiddenSize, outFeatures: classifier?.outFeatures ?? 0, role: "score" },
  ];
}

/**
 * The same, with the places of the weights that PEFT copies into adapters of heads and embeddings, and of all biases: those of other modules
 * follow, as PEFT writes them too.
 */
export function storedModules({ config, tensors }: Pick<Checkpoint, "config" | "tensors">): BaseModule[] {
  const biases = new Map(
    [...tensors].flatMap(([name, location]) =>
      name.endsWith(biasEnd) ? [[name.slice(0, -biasEnd.length), location]] : [],
    ),
  );
  const modules = baseModules(config).map((module): BaseModule => {
    const hasCopies = module.role !== undefined && module.role !== "score";
    const weight = hasCopies ? tensors.get(`${storedPath(config, module.path)}.weight`) : undefined;
    const bias = biases.get(module.path);
    biases.delete(module.path);
    return { ...module, ...(weight && { stored: placeOf(weight) }), ...(bias && { storedBias: placeOf(bias) }) };
  });
  const norms = layerNorms(config).map(({ path, size, offset }): BaseModule => {
    const [weight, bias] = [tensors.get(`${path}.weight`), biases.get(path)];
    biases.delete(path);
    const places = { ...(weight && { stored: placeOf(weight) }), ...(bias && { storedBias: placeOf(bias) }) };
    return { path, inFeatures: size, outFeatures: size, role: "norm", offset, ...places };
  });
  const known = new Set([...modules, ...norms].map(({ path }) => path));
  const ends = [...tensors.keys()].flatMap((name) =>
    /\.(weight|bias)$/.test(name) ? [name.replace(/\.\w+$/, "")] : [],
  );
  const fixed = [...new Set(ends)].flatMap((path): BaseModule[] => {
    if (known.has(path)) return [];
    const bias = biases.get(path);
    const size = (bias ?? tensors.get(`${path}.weight`))?.shape[0] ?? 0;
    return [{ path, inFeatures: size, outFeatures: size, role: "fixed", ...(bias && { storedBias: placeOf(bias) }) }];
  });
  return [...modules, ...norms, ...fixed];
}

/** The norms of the residual stream, each once: sublayers may share one. Those of single heads are not among them. */
export function layerNorms({ layers, finalNorm }: Pick<Blueprint, "layers" | "finalNorm">): Norm[] {
  const all = layers.flatMap(({ mixer, feedForward }) => [
    mixer.input,
    mixer.output,
    feedForward.input,
    feedForward.output,
  ]);
  return [...new Map([...all, finalNorm].flatMap((norm) => (norm ? [[norm.path, norm] as const] : []))).values()];
}

const biasEnd = ".bias";

const placeOf = ({ file, dtype, shape, offset, byteLength }: TensorLocation): StoredWeight => {
  return { file, dtype, shape, offset, byteLength };
};

/** The modules of PEFT's `target_modules="all-linear"`: every linear layer but the head, which must be named. */
export function layerModules(config: Blueprint): TargetModule[] {
  return layerLinears(config).map(asModule);
}

/** The layers with attention, which have keys and values. */
export const attentions = ({ layers }: Pick<Blueprint, "layers">): Attention[] =>
  layers.flatMap(({ mixer: { body } }) => (body.kind === "attention" ? [body] : []));

/** Whether a serving graph reads token positions: for learned positions, position-scaled queries, and rotation outside the kernel. */
export const readsPositions = (config: DecoderConfig): boolean =>
  config.embedding.positions !== null ||
  attentions(config).some(({ queryGrowth }) => queryGrowth !== null) ||
  config.ropes.some((rope) => !kernelRotates(rope, config.headDim));

/** The number of preceding tokens that convolutions read; null without convolutions. */
export function filterReach({ layers }: Pick<Blueprint, "layers">): number | null {
  const filters = layers.flatMap(({ mixer: { body } }) => (body.kind === "attention" ? [] : [body.filter]));
  const [reach = null, ...others] = new Set(filters.map(({ width }) => width - 1));
  assert(others.length === 0, "all convolutions of a decoder have the same width");
  return reach;
}

/** Whether there are layers with linear attention, which have a memory. */
export const hasMemory = ({ layers }: Pick<Blueprint, "layers">): boolean =>
  layers.some(({ mixer }) => mixer.body.kind === "delta");

/** The length above which a text is recomputed from its start; null: never. */
export function rereadLength({ ropes }: Blueprint): number | null {
  const lengths = ropes.flatMap(({ scaling }) =>
    scaling.kind === "longrope" && scaling.rereads ? [scaling.originalMaxPositions] : [],
  );
  return lengths[0] ?? null;
}

/** Every linear layer of the decoder's layers, in the order of the forward pass. */
function layerLinears({ layers }: Pick<Blueprint, "layers">): Linear[] {
  return layers.flatMap(({ mixer, feedForward }) => [
    ...mixerLinears(mixer.body),
    ...feedForwardLinears(feedForward.body),
  ]);
}

/** The paths of linear layers whose weights are stored [in, out]. */
export const transposedPaths = (config: Pick<Blueprint, "layers">): ReadonlySet<string> =>
  new Set(layerLinears(config).flatMap(({ path, transposed }) => (transposed ? [path] : [])));

/** Linear layers that read the same input, and the path under which their weights may be joined into one. */
export interface JoinableLinears {
  readonly linears: readonly Linear[];
  readonly joined: string;
}

export function joinableLinears({ layers }: Blueprint): JoinableLinears[] {
  return layers.flatMap(({ mixer: { body: mixer }, feedForward: { body: feedForward } }) => {
    const input = mixer.kind === "attention" ? mixer.input : null;
    return [
      ...(input?.kind === "separate" ? [{ linears: [input.q, input.k, input.v], joined: input.joined }] : []),
      ...(feedForward.kind === "gated"
        ? [{ linears: [feedForward.gate, feedForward.up], joined: feedForward.joined }]
        : []),
    ];
  });
}

const asModule = ({ path, inFeatures, outFeatures }: Linear): TargetModule => ({ path, inFeatures, outFeatures });

function mixerLinears(mixer: Mixer): Linear[] {
  switch (mixer.kind) {
    case "attention":
      return [...inputLinears(mixer.input), mixer.output];
    case "convolution":
      return [mixer.input, mixer.output];
    case "delta":
      return [mixer.input, mixer.gate, mixer.rate, mixer.decay, mixer.output];
  }
}

const inputLinears = (input: QueryKeyValue): Linear[] =>
  input.kind === "packed" ? [input.qkv] : [input.q, input.k, input.v];

function feedForwardLinears(feedForward: FeedForward): Linear[] {
  switch (feedForward.kind) {
    case "gated":
      return [feedForward.gate, feedForward.up, feedForward.down];
    case "packed":
      return [feedForward.gateUp, feedForward.down];
    case "plain":
      return [feedForward.up, feedForward.down];
  }
}

/** Every tensor of a checkpoint under its canonical name, in the order of the forward pass. A tied head has no weight. */
export function expectedTensors(config: DecoderConfig): ExpectedTensor[] {
  const { embedding, layers, finalNorm, head, hiddenSize, vocabSize, classifier } = config;
  const { positions } = embedding;
  return [
    { name: `${embedding.path}.weight`, shape: [vocabSize, hiddenSize], role: "embedding" },
    ...(positions
      ? [{ name: `${positions.path}.weight`, shape: [positions.count, hiddenSize], role: "positions" as const }]
      : []),
    ...layers.flatMap(({ mixer, feedForward }) => [
      ...uniqueNorms([mixer.input, mixer.output, feedForward.input, feedForward.output]),
      ...innerTensors(mixer.body),
      ...mixerLinears(mixer.body).flatMap(linearTensors),
      ...feedForwardLinears(feedForward.body).flatMap(linearTensors),
    ]),
    ...normTensors(finalNorm),
    ...(head.tied ? [] : linearTensors(head.linear).map((tensor) => asHead(tensor))),
    ...(head.tied && head.bias ? [{ name: `${head.path}.bias`, shape: [vocabSize], role: "bias" as const }] : []),
    ...(classifier ? [{ name: scoreWeight, shape: [classifier.outFeatures, hiddenSize], role: "score" as const }] : []),
  ];
}

export const scoreWeight = `${scorePath}.weight`;

const asHead = (tensor: ExpectedTensor): ExpectedTensor =>
  tensor.role === "matrix" ? { ...tensor, role: "head" } : tensor;

/** Parallel sublayers may share a norm. */
function uniqueNorms(norms: readonly (Norm | null)[]): ExpectedTensor[] {
  const byPath = new Map(norms.flatMap((norm) => (norm ? [[norm.path, norm] as const] : [])));
  return [...byPath.values()].flatMap(normTensors);
}

/** A mixer's tensors besides its linear layers. */
function innerTensors(mixer: Mixer): ExpectedTensor[] {
  switch (mixer.kind) {
    case "attention":
      return [...headNormTensors(mixer.queryNorm), ...headNormTensors(mixer.keyNorm)];
    case "convolution":
      return filterTensors(mixer.filter);
    case "delta": {
      const decay = [mixer.decayLog, mixer.decayBias];
      return [
        ...decay.map((name) => ({ name, shape: [mixer.valueHeads], role: "bias" as const })),
        ...filterTensors(mixer.filter),
        ...normTensors(mixer.norm),
      ];
    }
  }
}

function filterTensors({ path, channels, width, bias }: CausalFilter): ExpectedTensor[] {
  const weight: ExpectedTensor = { name: `${path}.weight`, shape: [channels, 1, width], role: "filter" };
  return bias ? [weight, { name: `${path}.bias`, shape: [channels], role: "bias" }] : [weight];
}

const headNormTensors = (norm: HeadNorm | null): ExpectedTensor[] =>
  norm === null ? [] : norm.scope === "each" ? norm.norms.flatMap(normTensors) : normTensors(norm.norm);

function normTensors({ path, size, bias, offset }: Norm): ExpectedTensor[] {
  const weight: ExpectedTensor = { name: `${path}.weight`, shape: [size], role: "norm", initial: 1 - offset };
  return bias ? [weight, { name: `${path}.bias`, shape: [size], role: "bias" }] : [weight];
}

function linearTensors({ path, inFeatures, outFeatures, bias, transposed, precise = false }: Linear): ExpectedTensor[] {
  const shape = transposed ? [inFeatures, outFeatures] : [outFeatures, inFeatures];
  const weight: ExpectedTensor = { name: `${path}.weight`, shape, role: "matrix", transposed, precise };
  return bias ? [weight, { name: `${path}.bias`, shape: [outFeatures], role: "bias" }] : [weight];
}
