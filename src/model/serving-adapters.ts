/**
 * LoRA as graph inputs. Rows keep their order; each distinct adapter of a step is a group, and two index inputs take
 * activations to groups and products back. A rank class is one stack of adapters of equal (padded) rank.
 */
import type { Ops } from "../graph/ops.js";
import type { Value } from "../graph/types.js";
import type { LinearPart } from "./decoder.js";

/** Linears that read the same input: one stacked A, one B for each. */
export interface SiteGroup {
  /** Name of the group's inputs: `lora_A.{key}.{class}` [groups, in, parts*rank]. */
  readonly key: string;
  readonly inFeatures: number;
  /** Each with `lora_B.{path}.{class}` [groups, rank, out]; its columns of A are in the order of parts. */
  readonly parts: readonly LinearPart[];
}

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
  readonly #classes: number;
  readonly #inputs = new Map<string, ClassInputs>();

  /** Products of padding are masked to zero, and rows without an adapter of the class take one of those. */
  constructor(op: Ops, classes: number) {
    this.#op = op;
    this.#classes = classes;
  }

  /** bases[i] + B_i A_i x, for each part. */
  apply(parts: readonly LinearPart[], x: Value, bases: readonly Value[], axis: AdapterAxis): Value[] {
    const [first] = parts;
    if (!first) return [];
    this.groups.push({ key: first.path, inFeatures: first.inFeatures, parts });
    let sums = [...bases];
    for (let rankClass = 0; rankClass < this.#classes; rankClass++) {
      const products = this.#products(parts, x, axis, rankClass);
      sums = sums.map((sum, i) => this.#op.add(sum, products[i] as Value));
    }
    return sums;
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
    const outputs = Array.from({ length: count }, (_, i) => ({
      type: h.type,
      shape: h.shape.with(2, `${h.shape[2]}/${count}.${i}`),
    }));
    return this.#op.builder.node("Split", [h], outputs, { axis: 2, num_outputs: count });
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
