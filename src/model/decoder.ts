/**
 * Builds a decoder from its blueprint, once for every family: embeddings, layers, head. The lowering decides what each part becomes: fused serving
 * kernels or plain differentiable ops.
 */
import { only } from "../base/list.js";
import type { Value } from "../graph/types.js";
import type {
  Activation,
  Attention,
  Blueprint,
  CausalFilter,
  Embedding,
  FeedForward,
  GatedDelta,
  Head,
  HeadNorm,
  Linear,
  Mixer,
  Norm,
  ShortConvolution,
  Sublayer,
} from "./blueprint.js";

/** What a decoder is made of. Activations are [tokens, features]. */
export interface Lowering {
  /** Token embeddings [tokens, hidden], scaled, plus learned positions if any. */
  embed(embedding: Embedding): Value;
  norm(norm: Norm, x: Value): Value;
  /** sum = x + delta, and its norm. */
  addNorm(norm: Norm, x: Value, delta: Value): { sum: Value; normed: Value };
  add(x: Value, y: Value): Value;
  scale(x: Value, factor: number): Value;
  /** Linear layers that read the same input, each with its bias and adapter; their weights may be joined under a path. */
  linears(linears: readonly Linear[], x: Value, joined?: string): Value[];
  /** The same layers' concatenated outputs if their weights are joined; else null. */
  joined?(linears: readonly Linear[], x: Value, joined: string): Value | null;
  /** Splits [tokens, heads*parts*headDim], where each head has its parts in turn, into values [tokens, heads*headDim]. */
  unpack(x: Value, heads: number, parts: number): Value[];
  /** Normalizes queries or keys, [tokens, heads*headDim]. */
  headNorm(norm: HeadNorm, x: Value, heads: number): Value;
  /** Causal attention with rotary positions; `k` and `v` are null if `q` holds all three concatenated. [tokens, heads*headDim]. */
  attend(layer: number, attention: Attention, q: Value, k: Value | null, v: Value | null): Value;
  /** A causal convolution of each channel, [tokens, channels]: it reads no token of another text. */
  convolve(layer: number, filter: CausalFilter, x: Value): Value;
  /** The output of the gated delta rule, [tokens, valueHeads*valueDim]. `mixed` has queries, keys and values, concatenated. */
  recall(layer: number, delta: GatedDelta, mixed: Value, rate: Value, decay: Value): Value;
  multiply(x: Value, y: Value): Value;
  sigmoid(x: Value): Value;
  /** activation(x). */
  activate(activation: Activation, x: Value): Value;
  /** activation(gate) * up. */
  gate(activation: Activation, gate: Value, up: Value): Value;
  /** Splits x into parts with these numbers of features. */
  split(x: Value, sizes: readonly number[]): Value[];
  /** The rows whose logits are needed: [rows, hidden]. */
  select(x: Value): Value;
  /** Logits over the vocabulary. */
  head(head: Head, x: Value): Value;
  scope<T>(name: string, body: () => T): T;
}

/** Heads of queries, and of keys and values. */
interface Heads {
  readonly headCount: number;
  readonly kvHeadCount: number;
}

/** Builds the whole decoder and returns logits [rows, vocab]. */
export function buildDecoder(lower: Lowering, blueprint: Blueprint & Heads): Value {
  return lower.head(blueprint.head, buildHidden(lower, blueprint));
}

/** Builds the decoder without its head and returns what the head reads: the selected rows of the last hidden state, normalized. [rows, hidden] */
export function buildHidden(lower: Lowering, blueprint: Blueprint & Heads): Value {
  const stream = new ResidualStream(lower, lower.embed(blueprint.embedding));
  for (const [i, layer] of blueprint.layers.entries()) {
    const { path, mixer, feedForward, isParallel } = layer;
    lower.scope(path, () => {
      const before = isParallel ? stream.read(feedForward.input) : null;
      stream.add(mixer, mix(lower, blueprint, i, mixer.body, stream.read(mixer.input)));
      const fed = feedThrough(lower, feedForward.body, before ?? stream.read(feedForward.input));
      stream.add(feedForward, fed);
    });
  }
  return stream.last(blueprint.finalNorm);
}

/** The residual stream. A sublayer's output is added at the next norm, since kernels add and normalize in one pass. */
class ResidualStream {
  readonly #lower: Lowering;
  #x: Value;
  #delta: Value | null = null;
  /** The last norm of the current sum, by path: parallel sublayers may share one. */
  #normed: { readonly path: string; readonly value: Value } | null = null;

  constructor(lower: Lowering, embeddings: Value) {
    this.#lower = lower;
    this.#x = embeddings;
  }

  /** The current sum, normalized if there is a norm. */
  read(norm: Norm | null): Value {
    if (norm === null) return this.#settle();
    if (this.#normed?.path === norm.path) return this.#normed.value;
    const value = this.#delta ? this.#addNorm(norm, this.#delta) : this.#lower.norm(norm, this.#x);
    this.#normed = { path: norm.path, value };
    return value;
  }

  /** Adds a sublayer's output. */
  add({ output, scale }: Sublayer<unknown>, y: Value): void {
    const normed = output === null ? y : this.#lower.norm(output, y);
    const scaled = scale === 1 ? normed : this.#lower.scale(normed, scale);
    this.#delta = this.#delta ? this.#lower.add(this.#delta, scaled) : scaled;
    this.#normed = null;
  }

  /** The selected rows of the sum, normalized; only these are added. */
  last(norm: Norm): Value {
    const x = this.#lower.select(this.#x);
    if (!this.#delta) return this.#lower.norm(norm, x);
    return this.#lower.addNorm(norm, x, this.#lower.select(this.#delta)).normed;
  }

  #addNorm(norm: Norm, delta: Value): Value {
    const { sum, normed } = this.#lower.addNorm(norm, this.#x, delta);
    this.#x = sum;
    this.#delta = null;
    return normed;
  }

  #settle(): Value {
    if (this.#delta) this.#x = this.#lower.add(this.#x, this.#delta);
    this.#delta = null;
    return this.#x;
  }
}

function mix(lower: Lowering, heads: Heads, layer: number, mixer: Mixer, x: Value): Value {
  return only(lower.linears([mixer.output], mixed(lower, heads, layer, mixer, x)));
}

function mixed(lower: Lowering, heads: Heads, layer: number, mixer: Mixer, x: Value): Value {
  switch (mixer.kind) {
    case "attention":
      return attend(lower, heads, layer, mixer, x);
    case "convolution":
      return convolve(lower, layer, mixer, x);
    case "delta":
      return recall(lower, layer, mixer, x);
  }
}

function recall(lower: Lowering, layer: number, delta: GatedDelta, x: Value): Value {
  const { activation, filter, valueHeads } = delta;
  const linears = [delta.input, delta.gate, delta.rate, delta.decay];
  const [input, gate, rate, decay] = lower.linears(linears, x) as [Value, Value, Value, Value];
  const convolved = lower.activate(activation, lower.convolve(layer, filter, input));
  const found = lower.recall(layer, delta, convolved, rate, decay);
  return lower.gate(activation, gate, lower.headNorm({ scope: "shared", norm: delta.norm }, found, valueHeads));
}

function convolve(lower: Lowering, layer: number, { input, filter }: ShortConvolution, x: Value): Value {
  const { channels } = filter;
  const parts = lower.split(only(lower.linears([input], x)), [channels, channels, channels]);
  const [before, after, value] = parts as [Value, Value, Value];
  return lower.multiply(after, lower.convolve(layer, filter, lower.multiply(before, value)));
}

function attend(lower: Lowering, heads: Heads, layer: number, attention: Attention, x: Value): Value {
  const { input, isGated, queryNorm, keyNorm, queryGrowth } = attention;
  if (input.kind === "packed") {
    const qkv = only(lower.linears([input.qkv], x));
    if (input.order === "kind") return lower.attend(layer, attention, qkv, null, null);
    const [q, k, v] = lower.unpack(qkv, heads.headCount, 3) as [Value, Value, Value];
    return lower.attend(layer, attention, q, k, v);
  }
  const linears = [input.q, input.k, input.v];
  const joined =
    isGated || queryNorm || keyNorm || queryGrowth ? null : (lower.joined?.(linears, x, input.joined) ?? null);
  if (joined) return lower.attend(layer, attention, joined, null, null);
  const [first, k, v] = lower.linears(linears, x, input.joined) as [Value, Value, Value];
  const [q = first, gate = null] = isGated ? lower.unpack(first, heads.headCount, 2) : [];
  const found = lower.attend(
    layer,
    attention,
    queryNorm ? lower.headNorm(queryNorm, q, heads.headCount) : q,
    keyNorm ? lower.headNorm(keyNorm, k, heads.kvHeadCount) : k,
    v,
  );
  return gate ? lower.multiply(found, lower.sigmoid(gate)) : found;
}

function feedThrough(lower: Lowering, feedForward: FeedForward, x: Value): Value {
  return only(lower.linears([feedForward.down], widen(lower, feedForward, x)));
}

function widen(lower: Lowering, feedForward: FeedForward, x: Value): Value {
  const { activation } = feedForward;
  switch (feedForward.kind) {
    case "gated": {
      const [gate, up] = lower.linears([feedForward.gate, feedForward.up], x, feedForward.joined) as [Value, Value];
      return lower.gate(activation, gate, up);
    }
    case "packed": {
      const width = feedForward.down.inFeatures;
      const [gate, up] = lower.split(only(lower.linears([feedForward.gateUp], x)), [width, width]) as [Value, Value];
      return lower.gate(activation, gate, up);
    }
    case "plain":
      return lower.activate(activation, only(lower.linears([feedForward.up], x)));
  }
}
