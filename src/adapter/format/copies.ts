/**
 * Tensors of a file that repeat the base's own. PEFT saves the whole layer below an adapter of a head or an embedding, heads and embeddings that
 * it believes to be new, and with `bias="all"` the biases of normalizations. Equal ones change nothing; others are refused.
 */

import { open } from "node:fs/promises";
import type { StoredWeight } from "../../model/blueprint.js";
import { dtypeSizes } from "../../tensor/dtype.js";
import { float32ToBfloat16, float32ToFloat16 } from "../../tensor/half.js";
import type { SafetensorsFile } from "../../tensor/safetensors.js";
import { elementCount, formatShape, sameShape } from "../../tensor/shape.js";
import { type Faults, quote } from "./faults.js";
import type { FeatureLog } from "./features.js";
import { type Elements, elementsOf, isMatrixDtype, widen } from "./layout.js";
import type { AdapterPlan, CopyPlan, MatrixDtype, RepeatPlan, StoredArray, TokenPlan } from "./module-plan.js";

const bandElements = 1 << 20;

/** Tables and heads in `modules_to_save` that differ from the base's, as rows of all of their tokens. */
export async function trainedTables(
  file: SafetensorsFile,
  { copies, tokens, modules }: Pick<AdapterPlan, "copies" | "tokens" | "modules">,
  { tiesWeights, faults }: { readonly tiesWeights: boolean; readonly faults: Faults },
): Promise<TokenPlan[]> {
  const plans: TokenPlan[] = [];
  const [first, second] = copies.filter(({ table }) => table);
  const isPair = first?.of.offset === second?.of.offset && first?.of.file === second?.of.file;
  if (first && second && tiesWeights && isPair && !(await areEqualTensors(file, first, second))) {
    faults.invalid(
      `tensors ${quote(first.name)} and ${quote(second.name)} are one parameter (ensure_weight_tying), but they differ`,
    );
  }
  for (const copy of copies) {
    const { name, dtype, shape, of, table } = copy;
    if (!table || !sameShape(shape, of.shape) || (await differenceOf(file, copy, "weight")) === null) continue;
    const ids = Array.from({ length: shape[0] ?? 0 }, (_, id) => id);
    const other = plans.find(({ path }) => path === table.path);
    if (other) {
      faults.invalid(`tensors ${quote(other.rows.name)} and ${quote(name)} are both the weight of ${table.path}`);
    }
    plans.push({ ...table, rows: { name, dtype, shape }, ids, stored: of });
    if (![...tokens, ...modules].some(({ path }) => path === table.path)) continue;
    faults.unsupported(`module ${table.path} is saved whole, and adapted as well, which PEFT does not allow together`);
  }
  return plans;
}

async function areEqualTensors(file: SafetensorsFile, left: StoredArray, right: StoredArray): Promise<boolean> {
  if (left.dtype !== right.dtype || !sameShape(left.shape, right.shape)) return false;
  const bytes = elementCount(left.shape) * dtypeSizes[left.dtype];
  for (let begin = 0; begin < bytes; begin += bandElements) {
    const band = { begin, end: Math.min(bytes, begin + bandElements) };
    const [own, other] = [await file.read(left.name, band), await file.read(right.name, band)];
    if (Buffer.compare(own, other) !== 0) return false;
  }
  return true;
}

/** Reports tensors that differ from the base's weight. */
export async function checkCopies(
  file: SafetensorsFile,
  copies: readonly CopyPlan[],
  features: FeatureLog,
  faults: Faults,
): Promise<void> {
  for (const copy of copies) {
    if (copy.table && sameShape(copy.shape, copy.of.shape)) continue; // see trainedTables
    const what = copy.name.endsWith(".bias") ? "bias" : "weight";
    const difference = await differenceOf(file, copy, what);
    if (difference === null) continue;
    if (copy.ifDifferent !== undefined) faults.unsupported(copy.ifDifferent);
    else if (copy.as === "bias") features.note("fixed_bias", copy.name);
    else if (copy.as === "weight" && !sameShape(copy.shape, copy.of.shape)) {
      faults.unsupported(
        `tensor ${quote(copy.name)} ${difference}: it was trained over another vocabulary; merge the adapter into its own base, and serve that`,
      );
    } else if (copy.as === "weight") {
      faults.unsupported(
        `tensor ${quote(copy.name)} ${difference}; only embeddings and heads that modules_to_save names may`,
      );
    } else {
      faults.invalid(
        `tensor ${quote(copy.name)} is a copy of the ${what} of the base that was trained on, but ${difference}, so it was another base`,
      );
    }
  }
}

/** Reports biases of two values. */
export async function checkRepeats(
  file: SafetensorsFile,
  repeats: readonly RepeatPlan[],
  faults: Faults,
): Promise<void> {
  const read = async ({ name, dtype }: StoredArray): Promise<Float32Array> =>
    widen(dtype, elementsOf(dtype, await file.read(name)));
  for (const { one, other } of repeats) {
    const [own, second] = [await read(one), await read(other)];
    if (own.length === second.length && own.every((value, i) => Object.is(value, second[i]))) continue;
    faults.invalid(`tensors ${quote(one.name)} and ${quote(other.name)} are one bias, but they differ`);
  }
}

/** A clause that says how a copy differs; null if it is equal, within the rounding of its dtype. */
async function differenceOf(
  file: SafetensorsFile,
  { name, dtype, shape, of }: CopyPlan,
  what: "weight" | "bias",
): Promise<string | null> {
  if (!sameShape(shape, of.shape)) {
    return `has shape ${formatShape(shape)} and the ${what} of this base ${formatShape(of.shape)}`;
  }
  if (!isMatrixDtype(of.dtype)) return `the ${what} of this base is ${of.dtype}`;
  const count = elementCount(shape);
  await using handle = await open(of.file);
  for (let first = 0; first < count; first += bandElements) {
    const end = Math.min(count, first + bandElements);
    const size = dtypeSizes[dtype];
    const own = elementsOf(dtype, await file.read(name, { begin: first * size, end: end * size }));
    const base = await readBase(handle, of, of.dtype, first, end);
    if (!areEqual({ dtype, own }, { dtype: of.dtype, base })) return `differs from the ${what} of this base`;
  }
  return null;
}

/** Elements [first, end) of a base's tensor. */
export async function readBase(
  handle: Awaited<ReturnType<typeof open>>,
  { offset }: StoredWeight,
  dtype: MatrixDtype,
  first: number,
  end: number,
): Promise<Elements> {
  const size = dtypeSizes[dtype];
  const bytes = new Uint8Array((end - first) * size);
  for (let done = 0; done < bytes.length; ) {
    const { bytesRead } = await handle.read(bytes, done, bytes.length - done, offset + first * size + done);
    if (bytesRead === 0) break; // a base that has shrunk differs
    done += bytesRead;
  }
  return elementsOf(dtype, bytes);
}

/** Whether the copy has the base's numbers, or the base's numbers rounded to its dtype. */
function areEqual(
  copy: { readonly dtype: MatrixDtype; readonly own: Elements },
  stored: { readonly dtype: MatrixDtype; readonly base: Elements },
): boolean {
  const own = widen(copy.dtype, copy.own);
  const base = widen(stored.dtype, stored.base);
  const rounded = copy.dtype === "F32" ? base : widen(copy.dtype, narrow(copy.dtype, base));
  return own.every((value, i) => value === rounded[i]);
}

const narrow = (dtype: "F16" | "BF16", values: Float32Array): Uint16Array =>
  dtype === "F16" ? float32ToFloat16(values) : float32ToBfloat16(values);
