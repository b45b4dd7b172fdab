/** Shape arithmetic over sizes and named sizes. Mismatches throw ShapeError with both shapes. */
import type { Dim, Shape } from "./types.js";

export class ShapeError extends Error {
  constructor(message: string) {
    super(message);
    this.name = "ShapeError";
  }
}

export const showShape = (shape: Shape): string => `[${shape.join(", ")}]`;

export function sameShape(a: Shape, b: Shape): boolean {
  return a.length === b.length && a.every((dim, i) => dim === b[i]);
}

/** The broadcast shape by NumPy's rule; two different names do not broadcast. Throws ShapeError. */
export function broadcastShapes(a: Shape, b: Shape, what: string): Shape {
  const rank = Math.max(a.length, b.length);
  const out: Dim[] = [];
  for (let i = 0; i < rank; i++) {
    const x = a[i - rank + a.length] ?? 1;
    const y = b[i - rank + b.length] ?? 1;
    if (x === y || y === 1) out.push(x);
    else if (x === 1) out.push(y);
    else throw new ShapeError(`${what}: ${showShape(a)} and ${showShape(b)} do not broadcast`);
  }
  return out;
}

/** The product of sizes, with numbers folded and names joined in sorted order: ["rows", 2, 3] is "rows*6". */
export function dimProduct(dims: Shape): Dim {
  let factor = 1;
  const names: string[] = [];
  for (const dim of dims) {
    if (typeof dim === "number") {
      factor *= dim;
      continue;
    }
    for (const part of dim.split("*")) {
      if (/^\d+$/.test(part)) factor *= Number(part);
      else names.push(part);
    }
  }
  if (names.length === 0 || factor === 0) return factor;
  names.sort();
  return factor === 1 ? names.join("*") : [...names, factor].join("*");
}

/** The axis counted from the front. Throws ShapeError if it is out of range. */
export function normalizeAxis(axis: number, rank: number, what: string): number {
  const out = axis < 0 ? axis + rank : axis;
  if (out < 0 || out >= rank) throw new ShapeError(`${what}: axis ${axis} of ${rank} dimensions`);
  return out;
}

/** The shape of [.., m, k] x [.., k, n], with NumPy's batch broadcasting. Throws ShapeError, also for one-dimensional operands. */
export function matMulShape(a: Shape, b: Shape, what = "MatMul"): Shape {
  const [m, k1] = a.slice(-2);
  const [k2, n] = b.slice(-2);
  if (a.length < 2 || b.length < 2 || k1 !== k2 || m === undefined || n === undefined) {
    throw new ShapeError(`${what}: ${showShape(a)} times ${showShape(b)}`);
  }
  return [...broadcastShapes(a.slice(0, -2), b.slice(0, -2), what), m, n];
}
