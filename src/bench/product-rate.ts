/** Measures this machine's matrix products in fp32 and int8: ONNX Runtime's kernels with constant weights, as in a model. */

import { GraphBuilder } from "../graph/builder.js";
import { Ops } from "../graph/ops.js";
import { serializeGraph } from "../graph/serialize.js";
import type { ElementType, Value } from "../graph/types.js";
import { Session } from "../runtime/session.js";
import { Tensor } from "../runtime/tensor.js";

export type RateForm = "fp32" | "int8";

export interface RateOptions {
  readonly rows: number;
  readonly inner: number;
  readonly columns: number;
  readonly threads: number;
}

const runs = { warmups: 3, samples: 10 } as const;

export const rateMethod = `[tokens, hidden] by [hidden, intermediate], the best of ${runs.samples} after ${runs.warmups}`;

/** Operations per second of the best of a few products; a multiplication and an addition count as two. */
export async function productRate(form: RateForm, options: RateOptions): Promise<number> {
  const { rows, columns, inner, threads } = options;
  using session = await Session.create(serializeGraph(productGraph(form, options)), { threads });
  const binding = session.bind();
  const x = form === "fp32" ? Tensor.zeros("float32", [rows, inner]) : Tensor.zeros("uint8", [rows, inner]);
  x.data.fill(3);
  binding.input("x", x);
  binding.output("y", Tensor.zeros("float32", [rows, columns]));
  let best = Number.POSITIVE_INFINITY;
  for (let i = -runs.warmups; i < runs.samples; i++) {
    const began = performance.now();
    await session.run(binding);
    if (i >= 0) best = Math.min(best, performance.now() - began);
  }
  return (2 * rows * columns * inner * 1000) / best;
}

function productGraph(form: RateForm, { rows, inner, columns }: RateOptions) {
  const builder = new GraphBuilder("rate");
  const op = new Ops(builder);
  const weight = (type: ElementType, bytes: Uint8Array): Value =>
    builder.initializer("w", type, [inner, columns], { kind: "inline", bytes });
  const output = { type: "float32", shape: [rows, columns], name: "y" } as const;
  if (form === "fp32") {
    const w = weight("float32", new Uint8Array(new Float32Array(inner * columns).fill(0.5).buffer));
    builder.node("MatMul", [builder.input("x", "float32", [rows, inner]), w], [output]);
  } else {
    const w = weight("int8", new Uint8Array(inner * columns).fill(2));
    const x = builder.input("x", "uint8", [rows, inner]);
    const zero = builder.initializer("zero", "uint8", [], { kind: "inline", bytes: Uint8Array.of(128) });
    const one = builder.scalar("float32", 1);
    const scales = op.builder.constant(
      "float32",
      [columns],
      Array.from({ length: columns }, () => 1),
    );
    builder.node("MatMulIntegerToFloat", [x, w, one, scales, zero], [output], {}, "com.microsoft");
  }
  builder.output({ name: "y", type: "float32", shape: [rows, columns] });
  return builder.build();
}
