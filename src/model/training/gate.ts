/** Gated activations whose backward pass keeps only their inputs. */
import { float } from "../../graph/builder.js";
import type { CustomGradient } from "../../graph/gradient.js";
import type { Ops } from "../../graph/ops.js";
import type { Value } from "../../graph/types.js";

/** x σ(x) */
export const silu = (op: Ops, x: Value): Value =>
  op.one("QuickGelu", [x], x.type, x.shape, { alpha: float(1) }, "com.microsoft");

/** y = a u, a = x s, s = σ(x): du = g a, dx = g u (a + s (1 - a)). Recomputes s and a, which costs no more than keeping a. */
export function gatedSilu(op: Ops, x: Value, u: Value, custom: CustomGradient[]): Value {
  const y = op.mul(silu(op, x), u);
  custom.push({
    inputs: [x, u],
    outputs: [y],
    vjp: (by, [g], _, forward) => {
      if (!g) return [null, null];
      const s = by.sigmoid(forward(x));
      const a = by.mul(forward(x), s);
      const slope = by.add(a, by.mul(s, by.sub(by.like(a, 1), a)));
      return [by.mul(by.mul(g, forward(u)), slope), by.mul(g, a)];
    },
  });
  return y;
}
