/** Layers with random weights. A layer's weights get its path as their name, which is what adapters target. */

import { mkdir, readFile, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { GraphBuilder } from "../../../src/graph/builder.js";
import { Ops } from "../../../src/graph/ops.js";
import { readOnnx } from "../../../src/graph/read.js";
import { serializeGraph } from "../../../src/graph/serialize.js";
import type { ElementType, Shape, Value } from "../../../src/graph/types.js";
import { Draws } from "../../../src/train/random.js";

export interface ConvolutionOptions {
  readonly kernel?: number;
  readonly stride?: number;
  /** As many as inputs makes a depthwise convolution. */
  readonly groups?: number;
  readonly gain?: number;
  /** Without a normalization after it, a convolution has one. */
  readonly bias?: boolean;
}

/** Weights of a trained network by their names. */
export type TrainedWeights = ReadonlyMap<string, Uint8Array>;

export async function readWeights(file: string): Promise<TrainedWeights> {
  const { graph } = readOnnx(await readFile(file), file, () => {
    throw new Error(`${file} has weights in another file`);
  });
  const entries = graph.initializers.flatMap(({ value, data }) =>
    data.kind === "inline" ? [[value.name, data.bytes] as const] : [],
  );
  return new Map(entries);
}

export class Network {
  readonly op: Ops;
  readonly #draws: Draws;
  readonly #trained: TrainedWeights;

  /** `trained`: weights of another network, for the layers that both have by the same name and size. */
  constructor(name: string, seed: number, trained: TrainedWeights = new Map()) {
    this.op = new Ops(new GraphBuilder(name));
    this.#draws = new Draws(seed, 1);
    this.#trained = trained;
  }

  input(name: string, shape: Shape, type: ElementType = "float32"): Value {
    return this.op.builder.input(name, type, shape);
  }

  output(name: string, value: Value): void {
    const { type, shape } = value;
    const [output] = this.op.builder.node("Identity", [value], [{ type, shape, name }]);
    if (output) this.op.builder.output(output);
  }

  /** x W' + b over [rows, in]. W is [out, in], normal with variance gain² / in. */
  linear(path: string, x: Value, outputs: number, gain = 1): Value {
    const inputs = sizeAt(x, -1);
    const weight = this.normal(`${path}.weight`, [outputs, inputs], gain / Math.sqrt(inputs));
    return this.op.scope(path, () =>
      this.op.gemm(x, weight, this.filled(`${path}.bias`, [outputs], 0), { transB: true }),
    );
  }

  /** x W + b over [rows, positions, in]. W is [in, out], normal with variance gain² / in. */
  linearOfPositions(path: string, x: Value, outputs: number, gain = 1): Value {
    const inputs = sizeAt(x, -1);
    const weight = this.normal(`${path}.weight`, [inputs, outputs], gain / Math.sqrt(inputs));
    const bias = this.filled(`${path}.bias`, [outputs], 0);
    return this.op.scope(path, () => this.op.add(this.op.matMul(x, weight), bias));
  }

  /** A convolution over [rows, in, height, width] whose padding keeps the size, divided by the stride. */
  convolution(path: string, x: Value, outputs: number, options: ConvolutionOptions = {}): Value {
    const { kernel = 3, stride = 1, groups = 1, gain = Math.SQRT2, bias = false } = options;
    const [rows = 1, , ...size] = x.shape;
    const inputs = sizeAt(x, 1) / groups;
    const fan = inputs * kernel * kernel;
    const weight = this.normal(`${path}.weight`, [outputs, inputs, kernel, kernel], gain / Math.sqrt(fan));
    const biases = bias ? [this.filled(`${path}.bias`, [outputs], 0)] : [];
    const smaller = size.map((length) => Math.ceil(Number(length) / stride));
    const before = Math.floor(kernel / 2);
    return this.op.scope(path, () =>
      this.op.one("Conv", [x, weight, ...biases], "float32", [rows, outputs, ...smaller], {
        kernel_shape: [kernel, kernel],
        strides: [stride, stride],
        group: groups,
        pads: [before, before, before, before],
      }),
    );
  }

  groupNorm(path: string, x: Value, groups: number): Value {
    const channels = sizeAt(x, 1);
    const [scale, bias] = [this.filled(`${path}.weight`, [channels], 1), this.filled(`${path}.bias`, [channels], 0)];
    return this.op.scope(path, () =>
      this.op.one("GroupNormalization", [x, scale, bias], "float32", x.shape, { num_groups: groups }),
    );
  }

  relu = (x: Value): Value => this.op.unary("Relu", x);
  silu = (x: Value): Value => this.op.mul(x, this.op.sigmoid(x));

  /** The mean over height and width: [rows, channels]. */
  averagePool(x: Value): Value {
    return this.op.mean(x, [2, 3], false);
  }

  filled(name: string, shape: readonly number[], value: number): Value {
    return this.computed(name, shape, () => value);
  }

  async write(path: string): Promise<void> {
    await mkdir(dirname(path), { recursive: true });
    await writeFile(path, serializeGraph(this.op.builder.build()));
  }

  /** Normal numbers around 0. */
  normal(name: string, shape: readonly number[], deviation: number): Value {
    return this.computed(name, shape, () => deviation * this.#gaussian());
  }

  /** Box and Muller's transform. */
  #gaussian(): number {
    const radius = Math.sqrt(-2 * Math.log(1 - this.#draws.next()));
    return radius * Math.cos(2 * Math.PI * this.#draws.next());
  }

  /** A weight by the place of each of its numbers. */
  computed(name: string, shape: readonly number[], value: (place: number) => number): Value {
    const count = shape.reduce((product, size) => product * size, 1);
    const random = new Uint8Array(Float32Array.from({ length: count }, (_, place) => value(place)).buffer);
    const trained = this.#trained.get(name);
    const bytes = trained?.length === random.length ? trained : random;
    return this.op.builder.initializer(name, "float32", shape, { kind: "inline", bytes });
  }
}

function sizeAt(x: Value, axis: number): number {
  const size = x.shape.at(axis);
  if (typeof size !== "number") throw new Error(`${x.name} has no size on axis ${axis}`);
  return size;
}

/** Writes the JSON files of a model's folder. */
export async function writeFolder(folder: string, files: Readonly<Record<string, unknown>>): Promise<void> {
  await mkdir(folder, { recursive: true });
  for (const [name, content] of Object.entries(files)) {
    await writeFile(join(folder, name), `${JSON.stringify(content, null, 2)}\n`);
  }
}

interface PictureModel {
  /** The class in transformers whose task and outputs the model has. */
  readonly config: Readonly<Record<string, unknown>>;
  readonly labels: readonly string[];
  /** Pictures are resized to this width and height. */
  readonly side: number;
}

/** Writes the folder of a model that sees pictures with values from -1 to 1. */
export async function writePictureModel(folder: string, network: Network, model: PictureModel): Promise<void> {
  const { config, labels, side } = model;
  await writeFolder(folder, {
    "config.json": { ...config, id2label: Object.fromEntries(labels.entries()) },
    "preprocessor_config.json": {
      image_processor_type: "ViTImageProcessor",
      ...{ do_resize: true, size: { height: side, width: side }, resample: 2 },
      ...{ do_rescale: true, rescale_factor: 1 / 255 },
      ...{ do_normalize: true, image_mean: [0.5, 0.5, 0.5], image_std: [0.5, 0.5, 0.5] },
    },
  });
  await network.write(join(folder, "model.onnx"));
}
