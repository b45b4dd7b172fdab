/** Asks a device whether it computes in float16: what a driver says of itself is not proof that its kernels are right. */
import { GraphBuilder } from "../../graph/builder.js";
import { serializeGraph } from "../../graph/serialize.js";
import { Session } from "../session.js";
import { Tensor } from "../tensor.js";
import type { Device } from "./device.js";

/** 1 and 1.5 in float16; products of ones by ones and halves are exact in it. */
const [one, oneAndHalf] = [0x3c00, 0x3e00];
/** 24 in float16: sixteen times 1 by 1.5. */
const expected = 0x4e00;
const size = 16;

/** In a turn. A kernel that fails, or that gives other numbers, means no. */
export async function computesInHalf(device: Device): Promise<boolean> {
  const builder = new GraphBuilder("half");
  const [x, y] = [builder.input("x", "float16", [size, size]), builder.input("y", "float16", [size, size])];
  for (const value of builder.node("MatMul", [x, y], [{ type: "float16", shape: [size, size], name: "z" }])) {
    builder.output(value);
  }
  const filled = (bits: number) =>
    Tensor.from("float16", [size, size], new Uint16Array(new ArrayBuffer(2 * size * size)).fill(bits));
  try {
    using session = await Session.create(serializeGraph(builder.build()), { threads: 1, spinning: false, device });
    const binding = session.bind();
    binding.input("x", filled(one));
    binding.input("y", filled(oneAndHalf));
    const product = Tensor.zeros("float16", [size, size]);
    binding.output("z", product);
    await session.run(binding);
    return product.data.every((bits) => bits === expected);
  } catch {
    return false;
  }
}
