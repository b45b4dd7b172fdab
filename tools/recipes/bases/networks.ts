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
  let x = net.input("pixel_values", ["batch", 3, 28, 28]);
  x = normalized(net, "resnet.embedder.embedder", x, 16, { stride: 2 });
  for (const [stage, channels] of [16, 32, 64].entries()) {
    const path = `resnet.encoder.stages.${stage}.layers.0`;
    const stride = stage === 0 ? 1 : 2;
    let inner = normalized(net, `${path}.layer.0`, x, channels, { stride });
    inner = normalized(net, `${path}.layer.1`, inner, channels, { activation: "none" });
    const outer =
      stride === 1 ? x : normalized(net, `${path}.shortcut`, x, channels, { kernel: 1, stride, activation: "none" });
    x = net.relu(net.op.add(inner, outer));
  }
  net.output("logits", net.linear("classifier.1", net.averagePool(x), 10));
  return net;
}

interface Normalized {
  readonly kernel?: number;
  readonly stride?: number;
  readonly activation?: "relu" | "none";
}

/** A convolution, a group normalization and an activation. */
function normalized(net: Network, path: string, x: Value, channels: number, options: Normalized = {}): Value {
  const { activation = "relu", ...convolution } = options;
  const y = net.convolution(`${path}.convolution`, x, channels, convolution);
  const z = net.groupNorm(`${path}.normalization`, y, channels / 8);
  return activation === "none" ? z : net.relu(z);
}
