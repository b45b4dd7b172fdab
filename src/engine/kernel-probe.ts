/**
 * Asks this CPU how its uint8·int8 kernel adds. Without dot-product instructions (VNNI) x86 adds pairs of products in 16 bits
 * that saturate; weights of a reduced range are exact there at full speed. Knows no model: one tiny session, milliseconds.
 */
import { GraphBuilder } from "../graph/builder.js";
import { serializeGraph } from "../graph/serialize.js";
import { Session } from "../runtime/session.js";
import { Tensor } from "../runtime/tensor.js";
import { rowLimits } from "../weights/quantize.js";

export type IntegerKernel = "exact" | "saturating";

/** Kernels are chosen by the number of rows: one, a few, a tile, several tiles. */
const rowCounts = [1, 2, 4, 16];
const inputs = 128;
const outputs = 32;
const activation = 255;
const zeroPoint = 128;

/** Whether products of uint8 by int8 keep sums of the largest numbers: activations of 255 and weights of ±`limit`. */
export async function probeIntegerKernel(threads: number, limit: number = rowLimits.full): Promise<IntegerKernel> {
  using session = await Session.create(productOf(limit), { threads, spinning: false });
  for (const rows of rowCounts) {
    const binding = session.bind();
    binding.input("x", Tensor.from("uint8", [rows, inputs], new Uint8Array(rows * inputs).fill(activation)));
    const y = Tensor.zeros("float32", [rows, outputs]);
    binding.output("y", y);
    await session.run(binding);
    if (y.data.some((sum, i) => sum !== exactSum(i % outputs, limit))) return "saturating";
  }
  return "exact";
}

/** The largest range of per-row weights whose products are exact on this CPU, at full speed. */
export async function exactRowLimit(threads: number): Promise<number> {
  return (await probeIntegerKernel(threads)) === "exact" ? rowLimits.full : rowLimits.reduced;
}

/** Columns alternate between the two ends, so that both are tried. */
function weightOf(output: number, limit: number): number {
  return output % 2 === 0 ? limit : -limit;
}

function exactSum(output: number, limit: number): number {
  return inputs * (activation - zeroPoint) * weightOf(output, limit); // below 2^24: float32 holds it
}

/** The product as the serving graph has it: weights constant and packed ahead, a scale for each output. */
function productOf(limit: number): Uint8Array {
  const builder = new GraphBuilder("probe");
  const weights = Int8Array.from({ length: inputs * outputs }, (_, i) => weightOf(i % outputs, limit));
  const inline = (view: Int8Array | Uint8Array) => ({ kind: "inline", bytes: new Uint8Array(view.buffer) }) as const;
  const y = builder.node(
    "MatMulIntegerToFloat",
    [
      builder.input("x", "uint8", ["rows", inputs]),
      builder.initializer("weights", "int8", [inputs, outputs], inline(weights)),
      builder.scalar("float32", 1),
      builder.constant("float32", [outputs], new Array<number>(outputs).fill(1)),
      builder.initializer("zero", "uint8", [], inline(Uint8Array.of(zeroPoint))),
    ],
    [{ type: "float32", shape: ["rows", outputs], name: "y" }],
    {},
    "com.microsoft",
  );
  for (const value of y) builder.output(value);
  return serializeGraph(builder.build());
}
