/** The networks of the shipped bases, with random weights. */
import type { Value } from "../../../src/graph/types.js";
import { Network } from "./network.js";

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

/** A basic block for each number of channels, behind a first convolution. All of them but the first block halve the size. */
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
