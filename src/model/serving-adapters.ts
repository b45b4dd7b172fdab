/**
 * LoRA as graph inputs. Rows keep their order; each distinct adapter of a step is a group, and two index inputs take
 * activations to groups and products back. A rank class is one stack of adapters of equal (padded) rank.
 */
import type { Ops } from "../graph/ops.js";
import type { Value } from "../graph/types.js";
import type { LinearPart } from "./decoder.js";

/** Linears that read the same input: one stacked A, one B for each. */
export interface SiteGroup {
  /** Name of the group's inputs: `lora_A.{key}.{class}` [groups, in, parts*rank], without the groups axis for `single`. */
  readonly key: string;
  readonly inFeatures: number;
  /** Each with `lora_B.{path}.{class}` [groups, rank, out]; its columns of A are in the order of parts. */
  readonly parts: readonly LinearPart[];
}

/**
 * How a graph takes adapters: not at all; `single`, one adapter for every row; or a number of rank classes, of which each
 * row has an adapter of one or none.
 */
export type AdapterMode = "none" | "single" | number;

/** Which axis the group indexes: all tokens, or only the rows whose logits are wanted. */
export type AdapterAxis = "tokens" | "logit_rows";

interface ClassInputs {
  /** Rows of the axis that each group takes, padded: int32 [groups, members]. */
  readonly toGroups: Value;
  /** For each row of the axis its place in the flattened [groups * members]. */
  readonly fromGroups: Value;
  /** 1 where a member is real, 0 where it pads: float32 [groups, members, 1]. */
  readonly mask: Value;
}

export const loraA = (key: string, rankClass: number): string => `lora_A.${key}.${rankClass}`;
export const loraB = (path: string, rankClass: number): string => `lora_B.${path}.${rankClass}`;

/** Names of the index inputs of one axis and class. */
export function indexNames(axis: AdapterAxis, rankClass: number) {
  return {
    toGroups: `to_groups.${axis}.${rankClass}`,
    fromGroups: `from_groups.${axis}.${rankClass}`,
    mask: `mask.${axis}.${rankClass}`,
  };
}

export class AdapterInputs {
  readonly groups: SiteGroup[] = [];
  readonly #op: Ops;
  readonly #mode: "single" | number;
  readonly #inputs = new Map<string, ClassInputs>();

  /**
   * With `single` every row has the same adapter, and stacks hold one place: the products need no indices. Else products
   * of padding are masked to zero, and rows without an adapter of the class take one of those.
   */
  constructor(op: Ops, mode: "single" | number) {
    this.#op = op;
    this.#mode = mode;
  }

  /** bases[i] + B_i A_i x, for each part. */
  apply(parts: readonly LinearPart[], x: Value, bases: readonly Value[], axis: AdapterAxis): Value[] {
    const [first] = parts;
    if (!first) return [];
    this.groups.push({ key: first.path, inFeatures: first.inFeatures, parts });
    if (this.#mode === "single") return this.#single(parts, x, bases);
    let sums = [...bases];
    for (let rankClass = 0; rankClass < this.#mode; rankClass++) {
      const products = this.#products(parts, x, axis, rankClass);
      sums = sums.map((sum, i) => this.#op.add(sum, products[i] as Value));
    }
    return sums;
  }

  /** The base's product is Gemm's C: one sum, rounded as a separate addition would. */
  #single(parts: readonly LinearPart[], x: Value, bases: readonly Value[]): Value[] {
    const op = this.#op;
    const { path: key, inFeatures } = parts[0] as LinearPart;
    const a = op.builder.input(loraA(key, 0), "float32", [inFeatures, `rank.${key}`]);
    const slices = this.#split(op.matMul(x, a), parts.length);
    return parts.map((part, i) => {
      const slice = slices[i] as Value;
      const b = op.builder.input(loraB(part.path, 0), "float32", [slice.shape[1] ?? 0, part.outFeatures]);
      return op.gemm(slice, b, bases[i] as Value);
    });
  }

  #products(parts: readonly LinearPart[], x: Value, axis: AdapterAxis, rankClass: number): Value[] {
    const op = this.#op;
    const { toGroups, fromGroups, mask } = this.#indices(axis, rankClass);
    const [groups = 0, members = 0] = toGroups.shape;
    const key = (parts[0] as LinearPart).path;
    const inFeatures = (parts[0] as LinearPart).inFeatures;
    // Every site's group and rank axis has a name of its own: ONNX Runtime reuses buffers between equal names.
    const rank = `rank.${key}.${rankClass}`;
    const a = op.builder.input(loraA(key, rankClass), "float32", [`g.${key}.${rankClass}`, inFeatures, rank]);
    const grouped = op.gather(x, toGroups); // [groups, members, in]
    const product = op.one("MatMul", [grouped, a], "float32", [groups, members, rank]);
    const h = op.mul(product, mask);
    const slices = this.#split(h, parts.length);
    return parts.map((part, i) => {
      const slice = slices[i] as Value;
      const b = op.builder.input(loraB(part.path, rankClass), "float32", [
        `g.${part.path}.${rankClass}.b`,
        `rank.${part.path}.${rankClass}.b`,
        part.outFeatures,
      ]);
      const y = op.one("MatMul", [slice, b], "float32", [groups, members, part.outFeatures]);
      const flat = op.reshape(
        y,
        [`${groups}*${members}`, part.outFeatures],
        op.builder.constant("int64", [2], [-1, part.outFeatures]),
      );
      return op.gather(flat, fromGroups);
    });
  }

  /** Columns of h, in equal shares. */
  #split(h: Value, count: number): Value[] {
    if (count === 1) return [h];
    const axis = h.shape.length - 1;
    const outputs = Array.from({ length: count }, (_, i) => ({
      type: h.type,
      shape: h.shape.with(axis, `${h.shape[axis]}/${count}.${i}`),
    }));
    return this.#op.builder.node("Split", [h], outputs, { axis, num_outputs: count });
  }

  #indices(axis: AdapterAxis, rankClass: number): ClassInputs {
    const key = `${axis}.${rankClass}`;
    const known = this.#inputs.get(key);
    if (known) return known;
    const { builder } = this.#op;
    const names = indexNames(axis, rankClass);
    const [groups, members] = [`groups.${key}`, `members.${key}`];
    const made: ClassInputs = {
      toGroups: builder.input(names.toGroups, "int32", [groups, members]),
      fromGroups: builder.input(names.fromGroups, "int32", [axis]),
      mask: builder.input(names.mask, "float32", [groups, members, 1]),
    };
    this.#inputs.set(key, made);
    return made;
  }
}
