/** The networks of the shipped bases, with random weights. */
import type { Value } from "../../../src/graph/types.js";
import { Network, type TrainedWeights } from "./network.js";

/** Two layers of 64 with tanh, and logits of two actions. */
export function policyNetwork(seed: number): Network {
  const net = new Network("policy", seed);
  let x = net.input("observation", ["batch", 4]);
  x = net.op.tanh(net.linear("body.0", x, 64));
  x = net.op.tanh(net.linear("body.2", x, 64));
  net.output("logits", net.linear("actor", x, 2, 0.01)); // starts undecided
  return net;
}

/** A residual network of basic blocks over 28 x 28 pictures: 16, 32 and 64 channels. */
export function residualNetwork(seed: number): Network {
  const net = new Network("digits", seed);
  const x = net.input("pixel_values", ["batch", 3, 28, 28]);
  const features = residualStages(net, "resnet", x, [16, 32, 64]);
  net.output("logits", net.linear("classifier.1", net.averagePool(features), 10));
  return net;
}

/** A basic block for each number of channels, after a first convolution. All of them but the first block halve the size. */
function residualStages(net: Network, path: string, x: Value, widths: readonly [number, ...number[]]): Value {
  let y = normalized(net, `${path}.embedder.embedder`, x, widths[0], { stride: 2 });
  for (const [stage, channels] of widths.entries()) {
    y = residualBlock(net, `${path}.encoder.stages.${stage}.layers.0`, y, channels, stage === 0 ? 1 : 2);
  }
  return y;
}

function residualBlock(net: Network, path: string, x: Value, channels: number, stride: number): Value {
  let inner = normalized(net, `${path}.layer.0`, x, channels, { stride });
  inner = normalized(net, `${path}.layer.1`, inner, channels, { activation: "none" });
  const outer =
    stride === 1 ? x : normalized(net, `${path}.shortcut`, x, channels, { kernel: 1, stride, activation: "none" });
  return net.relu(net.op.add(inner, outer));
}

interface Block {
  readonly channels: number;
  readonly stride: number;
  readonly expansion: number;
}

const blocks: readonly Block[] = [
  { channels: 16, stride: 1, expansion: 1 },
  { channels: 24, stride: 2, expansion: 4 },
  { channels: 24, stride: 1, expansion: 4 },
  { channels: 40, stride: 2, expansion: 4 },
];

/** An EfficientNet (arXiv:1905.11946) over 28 x 28 pictures: depthwise convolutions, squeeze and excitation, SiLU. */
export function efficientNetwork(seed: number): Network {
  const net = new Network("digits-efficientnet", seed);
  const root = "efficientnet";
  let x = net.input("pixel_values", ["batch", 3, 28, 28]);
  x = efficient(net, `${root}.embeddings`, "convolution", x, 16, { stride: 2 });
  for (const [i, block] of blocks.entries()) x = invertedBlock(net, `${root}.encoder.blocks.${i}`, x, block);
  x = efficient(net, `${root}.encoder`, "top_conv", x, 128, { kernel: 1 });
  net.output("logits", net.linear("classifier", net.averagePool(x), 10));
  return net;
}

function invertedBlock(net: Network, path: string, x: Value, { channels, stride, expansion }: Block): Value {
  const inputs = Number(x.shape[1]);
  const wide = inputs * expansion;
  let y = expansion === 1 ? x : efficient(net, `${path}.expansion`, "expand_conv", x, wide, { kernel: 1 });
  y = efficient(net, `${path}.depthwise_conv`, "depthwise_conv", y, wide, { stride, groups: wide });
  y = excited(net, `${path}.squeeze_excite`, y, Math.max(Math.floor(inputs / 4), 4));
  y = efficient(net, `${path}.projection`, "project_conv", y, channels, { kernel: 1, activation: "none" });
  return stride === 1 && inputs === channels ? net.op.add(x, y) : y;
}

/** Squeeze and excitation (arXiv:1709.01507): each channel times a factor that the whole picture decides. */
function excited(net: Network, path: string, x: Value, squeezed: number): Value {
  const options = { kernel: 1, bias: true };
  const small = net.silu(net.convolution(`${path}.reduce`, net.op.mean(x, [2, 3]), squeezed, options));
  const factor = net.convolution(`${path}.expand`, small, Number(x.shape[1]), { ...options, gain: 1 });
  return net.op.mul(x, net.op.sigmoid(factor));
}

/** As in transformers' EfficientNet: convolution and normalization lie side by side. */
const efficient = (net: Network, path: string, name: string, x: Value, channels: number, options: Normalized): Value =>
  normalized(net, path, x, channels, { activation: "silu", ...options, convolution: name });

/** The widths of the detector's residual stages. */
const detectorWidths = [16, 32, 64, 96] as const;

/** A classifier of 32 x 32 patches with the detector's backbone, which learns there what digits look like. */
export function patchNetwork(seed: number): Network {
  const net = new Network("patches", seed);
  const x = net.input("pixel_values", ["batch", 3, 32, 32]);
  const features = residualStages(net, "backbone", x, detectorWidths);
  net.output("logits", net.linear("classifier", net.averagePool(features), 10));
  return net;
}

/** Cells on each side of the detector's grid. */
const grid = 4;

/**
 * A detector over 64 x 64 pictures, with a query for each cell of a grid after a residual network. Logits and boxes are DETR's, the last label
 * is nothing; a box begins around the middle of its cell. The backbone's weights are those that it learned on patches.
 */
export function detectorNetwork(seed: number, labels: number, trained: TrainedWeights): Network {
  const net = new Network("scenes", seed, trained);
  const x = net.input("pixel_values", ["batch", 3, 64, 64]);
  const features = residualStages(net, "backbone", x, detectorWidths);
  const queries = net.op.transpose(net.op.reshape(features, ["batch", 96, grid * grid]), [0, 2, 1]);
  net.output("logits", net.linearOfPositions("class_labels_classifier", queries, labels + 1));
  const shifts = net.linearOfPositions("bbox_predictor", queries, 4, 0.1);
  const middles = net.op.builder.constant("float32", [1, grid * grid, 4], cellMiddles());
  net.output("pred_boxes", net.op.sigmoid(net.op.add(shifts, middles)));
  return net;
}

/** For each cell the box, before the sigmoid, around its middle with a quarter of the picture's sides. */
function cellMiddles(): number[] {
  const logit = (share: number): number => Math.log(share / (1 - share));
  return Array.from({ length: grid * grid }, (_, cell) => {
    const [column, row] = [cell % grid, Math.floor(cell / grid)];
    return [logit((column + 0.5) / grid), logit((row + 0.5) / grid), logit(0.25), logit(0.25)];
  }).flat();
}

interface Normalized {
  readonly kernel?: number;
  readonly stride?: number;
  readonly groups?: number;
  readonly activation?: "relu" | "silu" | "none";
  /** The convolution's name; "convolution" by default. */
  readonly convolution?: string;
}

/** A convolution, a group normalization and an activation. */
function normalized(net: Network, path: string, x: Value, channels: number, options: Normalized = {}): Value {
  const { activation = "relu", convolution = "convolution", ...sizes } = options;
  const y = net.convolution(`${path}.${convolution}`, x, channels, sizes);
  const z = net.groupNorm(`${path}.normalization`, y, channels / 8);
  return activation === "none" ? z : net[activation](z);
}
