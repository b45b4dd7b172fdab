/** Layers with random weights. A layer's weights get its path as their name, which is what adapters target. */

import { mkdir, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { GraphBuilder } from "../../../src/graph/builder.js";
import { Ops } from "../../../src/graph/ops.js";
import { serializeGraph } from "../../../src/graph/serialize.js";
import type { Shape, Value } from "../../../src/graph/types.js";
import { Draws } from "../../../src/train/random.js";

export interface ConvolutionOptions {
  readonly kernel?: number;
  readonly stride?: number;
}

export class Network {
  readonly op: Ops;
  readonly #draws: Draws;

  constructor(name: string, seed: number) {
    this.op = new Ops(new GraphBuilder(name));
    this.#draws = new Draws(seed, 1);
  }

  input(name: string, shape: Shape): Value {
    return this.op.builder.input(name, "float32", shape);
  }

  output(name: string, value: Value): void {
    const { type, shape } = value;
    const [output] = this.op.builder.node("Identity", [value], [{ type, shape, name }]);
    if (output) this.op.builder.output(output);
  }

  /** x W' + b over [rows, in]. W is [out, in], normal with variance gain² / in. */
  linear(path: string, x: Value, outputs: number, gain = 1): Value {
    const inputs = sizeAt(x, -1);
    const weight = this.#normal(`${path}.weight`, [outputs, inputs], gain / Math.sqrt(inputs));
    return this.op.scope(path, () =>
      this.op.gemm(x, weight, this.filled(`${path}.bias`, [outputs], 0), { transB: true }),
    );
  }

  /** A convolution over [rows, in, height, width] whose padding keeps the size, divided by the stride. */
  convolution(path: string, x: Value, outputs: number, options: ConvolutionOptions = {}): Value {
    const { kernel = 3, stride = 1 } = options;
    const [rows = 1, , ...size] = x.shape;
    const inputs = sizeAt(x, 1);
    const fan = inputs * kernel * kernel;
    const weight = this.#normal(`${path}.weight`, [outputs, inputs, kernel, kernel], Math.SQRT2 / Math.sqrt(fan));
    const smaller = size.map((length) => Math.ceil(Number(length) / stride));
    const before = Math.floor(kernel / 2);
    return this.op.scope(path, () =>
      this.op.one("Conv", [x, weight], "float32", [rows, outputs, ...smaller], {
        kernel_shape: [kernel, kernel],
        strides: [stride, stride],
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

  /** The mean over height and width: [rows, channels]. */
  averagePool(x: Value): Value {
    return this.op.mean(x, [2, 3], false);
  }

  filled(name: string, shape: readonly number[], value: number): Value {
    return this.#initializer(name, shape, () => value);
  }

  async write(path: string): Promise<void> {
    await mkdir(dirname(path), { recursive: true });
    await writeFile(path, serializeGraph(this.op.builder.build()));
  }

  #normal(name: string, shape: readonly number[], deviation: number): Value {
    return this.#initializer(name, shape, () => deviation * this.#gaussian());
  }

  /** Box and Muller's transform. */
  #gaussian(): number {
    const radius = Math.sqrt(-2 * Math.log(1 - this.#draws.next()));
    return radius * Math.cos(2 * Math.PI * this.#draws.next());
  }

  #initializer(name: string, shape: readonly number[], value: () => number): Value {
    const count = shape.reduce((product, size) => product * size, 1);
    const data = Float32Array.from({ length: count }, value);
    return this.op.builder.initializer(name, "float32", shape, { kind: "inline", bytes: new Uint8Array(data.buffer) });
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
