/** Random models of the sizes that task models have: an encoder like MiniLM (6 layers of 384) and ResNet-18, as exporters write them. */

import { GraphBuilder } from "../graph/builder.js";
import { Ops } from "../graph/ops.js";
import type { Graph, Value } from "../graph/types.js";
import { elementCount } from "../tensor/shape.js";

export interface EncoderSize {
  readonly layers: number;
  readonly width: number;
  readonly heads: number;
  readonly inner: number;
  readonly vocabulary: number;
  readonly length: number;
}

export const miniLm: EncoderSize = { layers: 6, width: 384, heads: 12, inner: 1536, vocabulary: 30_522, length: 64 };

/** Outputs of each stage, of two blocks. */
export interface ResidualSize {
  readonly stages: readonly number[];
  readonly image: number;
  readonly labels: number;
}

export const resNet18: ResidualSize = { stages: [64, 128, 256, 512], image: 224, labels: 1000 };

/** Reproducible weights. */
class Weights {
  readonly #builder: GraphBuilder;
  #state = 1;

  constructor(builder: GraphBuilder) {
    this.#builder = builder;
  }

  /** Numbers in [-size, size), or all `constant`. */
  add(name: string, shape: readonly number[], size: number, constant?: number): Value {
    const count = elementCount(shape);
    const values = new Float32Array(count);
    if (constant !== undefined) values.fill(constant);
    else for (let i = 0; i < count; i++) values[i] = size * this.#next();
    return this.#builder.initializer(name, "float32", shape, { kind: "inline", bytes: new Uint8Array(values.buffer) });
  }

  #next(): number {
    this.#state = (Math.imul(this.#state, 1_664_525) + 1_013_904_223) | 0;
    return this.#state / 2 ** 31;
  }
}

/** Inputs `input_ids` and `attention_mask` [batch, length]; output `last_hidden_state`. */
export function encoderGraph({ layers, width, heads, inner, vocabulary, length }: EncoderSize): Graph {
  const builder = new GraphBuilder("encoder");
  const op = new Ops(builder);
  const weights = new Weights(builder);
  const ids = builder.input("input_ids", "int64", ["batch", length]);
  const mask = builder.input("attention_mask", "int64", ["batch", length]);
  const linear = (path: string, x: Value, inputs: number, outputs: number): Value => {
    const w = weights.add(`${path}.weight`, [inputs, outputs], 1 / Math.sqrt(inputs));
    return op.add(op.matMul(x, w), weights.add(`${path}.bias`, [outputs], 0.02));
  };
  const norm = (path: string, x: Value): Value => {
    const scale = weights.add(`${path}.weight`, [width], 0, 1);
    const bias = weights.add(`${path}.bias`, [width], 0, 0);
    return op.one("LayerNormalization", [x, scale, bias], "float32", x.shape, { axis: -1 });
  };
  const size = width / heads;
  const split = (x: Value, perm: readonly number[]): Value =>
    op.transpose(op.reshape(x, ["batch", length, heads, size]), perm);
  const kept = op.unsqueeze(op.unsqueeze(op.cast(mask, "float32"), 1), 1);
  const hidden = op.scale(op.sub(op.like(kept, 1), kept), -1e9);
  let x = op.gather(weights.add("embeddings.word_embeddings.weight", [vocabulary, width], 1), ids);
  x = norm("embeddings.LayerNorm", op.add(x, weights.add("embeddings.positions", [1, length, width], 0.1)));
  for (let layer = 0; layer < layers; layer++) {
    const path = `encoder.layer.${layer}`;
    const own = (name: string) => `${path}.attention.self.${name}`;
    const query = split(linear(own("query"), x, width, width), [0, 2, 1, 3]);
    const key = split(linear(own("key"), x, width, width), [0, 2, 3, 1]);
    const value = split(linear(own("value"), x, width, width), [0, 2, 1, 3]);
    const scores = op.mul(op.matMul(query, key), builder.scalar("float32", 1 / Math.sqrt(size)));
    const seen = op.matMul(op.softmax(op.add(scores, hidden)), value);
    const joined = op.reshape(op.transpose(seen, [0, 2, 1, 3]), ["batch", length, width]);
    x = norm(
      `${path}.attention.output.LayerNorm`,
      op.add(x, linear(`${path}.attention.output.dense`, joined, width, width)),
    );
    const wide = op.gelu(linear(`${path}.intermediate.dense`, x, width, inner), "none");
    x = norm(`${path}.output.LayerNorm`, op.add(x, linear(`${path}.output.dense`, wide, inner, width)));
  }
  return named(builder, x, "last_hidden_state");
}

/** Input `pixel_values` [batch, 3, image, image]; output `logits`. Its normalizations are folded, as exporters fold them. */
export function residualGraph({ stages, image, labels }: ResidualSize): Graph {
  const builder = new GraphBuilder("resnet");
  const op = new Ops(builder);
  const weights = new Weights(builder);
  const convolution = (path: string, x: Value, outputs: number, kernel: number, stride: number): Value => {
    const [batch = "batch", inputs = 0, height = 0] = x.shape;
    const shape = [outputs, Number(inputs), kernel, kernel];
    const pad = kernel >> 1;
    const side = Math.floor((Number(height) + 2 * pad - kernel) / stride) + 1;
    const w = weights.add(`${path}.weight`, shape, 1 / Math.sqrt(Number(inputs) * kernel * kernel));
    const bias = weights.add(`${path}.bias`, [outputs], 0.02);
    const attributes = { kernel_shape: [kernel, kernel], strides: [stride, stride], pads: [pad, pad, pad, pad] };
    return op.one("Conv", [x, w, bias], "float32", [batch, outputs, side, side], attributes);
  };
  const relu = (x: Value): Value => op.one("Relu", [x], "float32", x.shape);
  const picture = builder.input("pixel_values", "float32", ["batch", 3, image, image]);
  const stem = relu(convolution("embedder.convolution", picture, stages[0] ?? 0, 7, 2));
  const half = Math.floor((Number(stem.shape[2]) - 1) / 2) + 1;
  const pooling = { kernel_shape: [3, 3], strides: [2, 2], pads: [1, 1, 1, 1] };
  let x = op.one("MaxPool", [stem], "float32", ["batch", stages[0] ?? 0, half, half], pooling);
  for (const [stage, width] of stages.entries()) {
    for (const block of [0, 1]) {
      const path = `stages.${stage}.layers.${block}`;
      const stride = stage > 0 && block === 0 ? 2 : 1;
      const inner = relu(convolution(`${path}.layer.0.convolution`, x, width, 3, stride));
      const outer = convolution(`${path}.layer.1.convolution`, inner, width, 3, 1);
      const short = stride === 1 ? x : convolution(`${path}.shortcut.convolution`, x, width, 1, stride);
      x = relu(op.add(outer, short));
    }
  }
  const width = stages.at(-1) ?? 0;
  const pooled = op.one("GlobalAveragePool", [x], "float32", ["batch", width, 1, 1]);
  const head = weights.add("classifier.weight", [labels, width], 1 / Math.sqrt(width));
  const logits = op.gemm(op.reshape(pooled, ["batch", width]), head, weights.add("classifier.bias", [labels], 0.02), {
    transB: true,
  });
  return named(builder, logits, "logits");
}

function named(builder: GraphBuilder, value: Value, name: string): Graph {
  const { type, shape } = value;
  const [output] = builder.node("Identity", [value], [{ type, shape, name }]);
  if (output) builder.output(output);
  return builder.build();
}
