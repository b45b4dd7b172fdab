/** Asks ONNX Runtime whether its convolutions over blocks of channels work on this CPU as they are used here, and how large a block is. */

import { hasCode } from "../../base/errors.js";
import { GraphBuilder } from "../../graph/builder.js";
import { serializeGraph } from "../../graph/serialize.js";
import type { Value } from "../../graph/types.js";
import { writeFilters } from "../../model/task/blocked/filters.js";
import { blockedDomain } from "../../model/task/blocked/layers.js";
import { Session } from "../../runtime/session.js";
import { Tensor } from "../../runtime/tensor.js";

const side = 3;

/** Channels of a block; null where there are no such kernels. */
export async function probeBlocks(threads: number): Promise<number | null> {
  try {
    const block = await sizeOfBlock(threads);
    return block > 1 && (await adds(block, threads)) ? block : null;
  } catch (error) {
    if (hasCode(error, "runtime_failed")) return null;
    throw error;
  }
}

/** Moves four channels into a block and sees how many come out. */
async function sizeOfBlock(threads: number): Promise<number> {
  const builder = new GraphBuilder("block");
  const x = builder.input("x", "float32", ["rows", 4, side, side]);
  builder.output(blocked(builder, "ReorderInput", [x]));
  const [, channels = 0] = (
    await outputOf(builder, new Map([["x", Tensor.zeros("float32", [1, 4, side, side])]]), threads)
  ).shape;
  return channels;
}

/** Two groups, computed weights, a sum in place and a Relu, against plain arithmetic. */
async function adds(block: number, threads: number): Promise<boolean> {
  const channels = 2 * block;
  const builder = new GraphBuilder("sum");
  const image = ["rows", channels, side, side];
  const x = builder.input("x", "float32", image);
  const weight = builder.input("weight", "float32", [channels, block, 3, 3]);
  const sum = builder.input("sum", "float32", image);
  const attributes = { kernel_shape: [3, 3], pads: [1, 1, 1, 1], group: 2, activation: "Relu" };
  const moved = blocked(builder, "ReorderInput", [x]);
  const y = blocked(builder, "Conv", [moved, weight, null, blocked(builder, "ReorderInput", [sum])], attributes);
  builder.output(blocked(builder, "ReorderOutput", [y], { channels }));
  const wave = (count: number, step: number) => Float32Array.from({ length: count }, (_, i) => Math.sin(1 + i * step));
  const [pixels, filters, added] = [wave(channels * 9, 0.7), wave(channels * block * 9, 1.3), wave(channels * 9, 2.1)];
  const ordered = new Float32Array(filters.length);
  const layout = { block, outputs: channels, inputs: block, splitsInputs: true, window: 9 };
  writeFilters(ordered, layout, filters, { outputs: channels, inputs: block });
  const inputs = new Map([
    ["x", Tensor.from("float32", [1, channels, side, side], pixels)],
    ["weight", Tensor.from("float32", [channels, block, 3, 3], ordered)],
    ["sum", Tensor.from("float32", [1, channels, side, side], added)],
  ]);
  const { data } = await outputOf(builder, inputs, threads);
  return added.every((start, i) => {
    const [output, row, column] = [Math.floor(i / 9), Math.floor((i % 9) / 3), i % 3];
    let total = start;
    for (let k = 0; k < block * 9; k++) {
      const [input, r, c] = [Math.floor(k / 9), row + Math.floor((k % 9) / 3) - 1, column + (k % 3) - 1];
      if (r < 0 || r >= side || c < 0 || c >= side) continue;
      const channel = (output < block ? 0 : block) + input;
      total += (filters[output * block * 9 + k] as number) * (pixels[channel * 9 + r * side + c] as number);
    }
    return Math.abs(Number(data[i]) - Math.max(0, total)) < 1e-3;
  });
}

function blocked(
  builder: GraphBuilder,
  op: string,
  inputs: readonly (Value | null)[],
  attributes: Parameters<GraphBuilder["node"]>[3] = {},
): Value {
  return builder.node(
    op,
    inputs,
    [{ type: "float32", shape: ["rows", "channels", side, side] }],
    attributes,
    blockedDomain,
  )[0] as Value;
}

async function outputOf(builder: GraphBuilder, inputs: ReadonlyMap<string, Tensor>, threads: number): Promise<Tensor> {
  const graph = builder.build();
  using session = await Session.create(serializeGraph(graph), { threads, spinning: false });
  using binding = session.bind();
  for (const [name, tensor] of inputs) binding.input(name, tensor);
  for (const { name } of graph.outputs) binding.outputToHost(name);
  await session.run(binding);
  return binding.outputs()[0] as Tensor;
}
