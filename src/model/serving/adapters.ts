/**
 * LoRA as graph inputs. Rows keep their order; each distinct adapter of a step is a group. Index inputs gather activations into
 * groups and add the products to their rows; rows without an adapter are not touched. A rank class is one stack of adapters
 * of equal (padded) rank.
 *
 * A is stored in tiles of at most 16 columns, and each tile is a separate product. Matrix kernels split the sum over the inputs
 * into blocks whose length depends on the number of columns. With tiles a row's bits depend neither on the padding of its
 * adapter's rank nor on the number of threads.
 *
 * Above rank 128 the same applies to the sum over the rank. Where bits matter such adapters run `inBlocks`: one product per 128
 * ranks, added in order.
 */
import { at, last } from "../../base/list.js";
import type { Ops } from "../../graph/ops.js";
import type { Value } from "../../graph/types.js";
import type { Norm, TargetModule } from "../blueprint.js";

/** Target modules that read the same input: one stacked A, and one B each. */
export interface ModuleGroup {
  /**
   * Name of the group's input: `lora_A.{key}.{class}` [groups, parts, tiles, in, columns], where tiles * columns is the rank;
   * `inBlocks` [groups, parts, blocks, tiles, in, columns].
   * With `single` each part has its own, `lora_A.{path}.0` [in, rank] or, with `tiled`, [tiles, in, columns].
   */
  readonly key: string;
  readonly inFeatures: number;
  /** In A's order of parts. Each has `lora_B.{path}.{class}` [groups, 1, rank, out], `inBlocks` [groups, blocks, width, out], or [rank, out] with `single` and `tiled`. */
  readonly parts: readonly TargetModule[];
}

/**
 * How a graph takes adapters: none; one adapter for all rows, of one tile (`single`) or several (`tiled`); or a number of rank
 * classes, where each row has at most one adapter of one class. Devices take them as in stacked-adapters: any mix of rows (`masked`)
 * or one place for all (`picked`).
 */
export type AdapterMode = "none" | GroupedMode | "masked" | "picked";
type GroupedMode = "single" | "tiled" | number;

/** Outputs of linear layers without adapters, and if rows may have gains each layer's bias. */
export interface Bases {
  readonly bases: readonly Value[];
  readonly biases: readonly (Value | null)[] | null;
}

/** The axis that the groups index: all tokens, or only the rows whose logits are needed. */
export type AdapterAxis = "tokens" | "logit_rows";

interface ClassInputs {
  /** Rows of the axis that each group takes, short groups padded with any row: int32 [groups, 1, 1, members], `inBlocks` [groups, 1, 1, 1, members]. */
  readonly toGroups: Value;
  /** Where this class's rows find their products, as (group, 0, member): int64 [taken, 3]. */
  readonly products: Value;
  /** The rows to add them to, each once: int64 [taken, 1]. */
  readonly rows: Value;
}

interface GainInputs {
  readonly rows: Value;
  readonly places: Value;
}

export const loraA = (key: string, rankClass: number): string => `lora_A.${key}.${rankClass}`;
/** DoRA's g - 1 of each output, [places, out], for adapters of all classes; [1, out] with one adapter for all rows. */
export const doraGain = (path: string): string => `dora_gain.${path}`;
/** What an adapter with `lora_bias` or trained biases adds to each output, in the shape of its gains. */
export const loraShift = (path: string): string => `lora_shift.${path}`;
export const loraB = (path: string, rankClass: number): string => `lora_B.${path}.${rankClass}`;

/** Names of the index inputs of one axis and class. */
export function indexNames(axis: AdapterAxis, rankClass: number) {
  return {
    toGroups: `to_groups.${axis}.${rankClass}`,
    products: `products.${axis}.${rankClass}`,
    rows: `rows.${axis}.${rankClass}`,
  };
}

/** Names of an axis's inputs for DoRA: its rows, each once, int64 [rows, 1], and the places of their gains, likewise. */
export const gainNames = (axis: AdapterAxis) => ({ rows: `gain_rows.${axis}`, places: `gain_places.${axis}` });

/** The same for the factors and biases of norms. */
export const normNames = (axis: AdapterAxis) => ({ rows: `norm_rows.${axis}`, places: `norm_places.${axis}` });

/** Adds adapters to linear layers that read the same input. */
export class AdapterInputs {
  /** The layers so far. */
  readonly groups: ModuleGroup[] = [];
  readonly #op: Ops;
  readonly #mode: GroupedMode;
  readonly #inBlocks: boolean;
  readonly #inputs = new Map<string, ClassInputs>();
  readonly #gains = new Map<string, GainInputs>();

  /** `inBlocks` only with rank classes. */
  constructor(op: Ops, mode: GroupedMode, inBlocks = false) {
    this.#op = op;
    this.#mode = mode;
    this.#inBlocks = inBlocks;
  }

  /**
   * bases[i] + B_i A_i x, for each part. With `biases` rows with DoRA or biases also get (g - 1) (base - bias) + shift, as PEFT
   * computes it; other rows are not touched.
   */
  apply(parts: readonly TargetModule[], x: Value, { bases, biases }: Bases, axis: AdapterAxis): Value[] {
    const [first] = parts;
    if (!first) return [];
    this.groups.push({ key: first.path, inFeatures: first.inFeatures, parts });
    const mode = this.#mode;
    if (typeof mode === "string") {
      return parts.map((part, i) => {
        const base = bases[i] as Value;
        const sum = this.#forAll(part, x, base);
        return biases ? this.#gained(part, { sum, base, bias: at(biases, i) }) : sum;
      });
    }
    let sums: readonly Value[] = bases;
    for (let rankClass = 0; rankClass < mode; rankClass++) sums = this.#addClass(parts, x, sums, axis, rankClass);
    if (!biases) return [...sums];
    return parts.map((part, i) =>
      this.#addGain(part, { sum: sums[i] as Value, base: bases[i] as Value, bias: at(biases, i) }, axis),
    );
  }

  /** Adds (g - 1) (base - bias) + shift to every row. */
  #gained(
    { path, outFeatures }: TargetModule,
    { sum, base, bias }: { readonly sum: Value; readonly base: Value; readonly bias: Value | null },
  ): Value {
    const op = this.#op;
    const gain = op.builder.input(doraGain(path), "float32", [1, outFeatures]);
    const shift = op.builder.input(loraShift(path), "float32", [1, outFeatures]);
    return op.add(sum, op.add(op.mul(gain, bias ? op.sub(base, bias) : base), shift));
  }

  #addGain(
    { path, outFeatures }: TargetModule,
    { sum, base, bias }: { readonly sum: Value; readonly base: Value; readonly bias: Value | null },
    axis: AdapterAxis,
  ): Value {
    const { rows, places } = this.#gainIndices(gainNames(axis), axis);
    return this.#gainedRows({ path, outFeatures }, { sum, base, bias }, rows, places);
  }

  /** A norm's outputs, with the factors and biases of the rows whose adapters replace them. Only with rank classes. */
  norm({ path, size }: Pick<Norm, "path" | "size">, normed: Value, bias: Value | null, axis: AdapterAxis): Value {
    const { rows, places } = this.#gainIndices(normNames(axis), `norms.${axis}`);
    return this.#gainedRows({ path, outFeatures: size }, { sum: normed, base: normed, bias }, rows, places);
  }

  #gainedRows(
    { path, outFeatures }: Pick<TargetModule, "path" | "outFeatures">,
    { sum, base, bias }: { readonly sum: Value; readonly base: Value; readonly bias: Value | null },
    rows: Value,
    places: Value,
  ): Value {
    const op = this.#op;
    const shape = [at(rows.shape, 0), outFeatures];
    const gain = op.builder.input(doraGain(path), "float32", ["gain_places", outFeatures]);
    const own = op.one("GatherND", [base, rows], "float32", shape);
    const shifts = op.builder.input(loraShift(path), "float32", ["gain_places", outFeatures]);
    const scaled = op.mul(op.one("GatherND", [gain, places], "float32", shape), bias ? op.sub(own, bias) : own);
    const gained = op.add(scaled, op.one("GatherND", [shifts, places], "float32", shape));
    return op.one("ScatterND", [sum, rows, gained], "float32", sum.shape, { reduction: "add" });
  }

  #gainIndices(names: ReturnType<typeof gainNames>, key: string): GainInputs {
    const known = this.#gains.get(key);
    if (known) return known;
    const { builder } = this.#op;
    const shape = [`gained.${key}`, 1];
    const inputs = {
      rows: builder.input(names.rows, "int64", shape),
      places: builder.input(names.places, "int64", shape),
    };
    this.#gains.set(key, inputs);
    return inputs;
  }

  /** One adapter for all rows. The base's product is Gemm's C: rounded as a separate addition would be. */
  #forAll({ path, inFeatures, outFeatures }: TargetModule, x: Value, base: Value): Value {
    const op = this.#op;
    const [tokens = 0] = x.shape;
    const rank = `rank.${path}`;
    const b = op.builder.input(loraB(path, 0), "float32", [rank, outFeatures]);
    if (this.#mode === "single") {
      const a = op.builder.input(loraA(path, 0), "float32", [inFeatures, rank]);
      return op.gemm(op.matMul(x, a), b, base);
    }
    const [tiles, columns] = [`tiles.${path}`, `columns.${path}`];
    const a = op.builder.input(loraA(path, 0), "float32", [tiles, inFeatures, columns]);
    const h = op.transpose(op.one("MatMul", [x, a], "float32", [tiles, tokens, columns]), [1, 0, 2]);
    const flat = op.builder.constant("int64", [2], [0, -1]);
    return op.gemm(op.reshape(h, [tokens, rank], flat), b, base);
  }

  /** Adds the products of one class to its rows. */
  #addClass(
    parts: readonly TargetModule[],
    x: Value,
    sums: readonly Value[],
    axis: AdapterAxis,
    rankClass: number,
  ): Value[] {
    const op = this.#op;
    const { toGroups, products, rows } = this.#indices(axis, rankClass);
    const [taken = 0] = rows.shape;
    const hidden = this.#hidden(parts, x, toGroups, rankClass);
    return parts.map(({ path, outFeatures }, i) => {
      const h = hidden[i] as Value; // [groups, 1, members, rank], [groups, blocks, members, width]
      // Every module names its group and rank axes differently: ONNX Runtime reuses buffers between equal names.
      const at = `${path}.${rankClass}.b`;
      const blocks = this.#inBlocks ? `blocks.${at}` : 1;
      const b = op.builder.input(loraB(path, rankClass), "float32", [`g.${at}`, blocks, `rank.${at}`, outFeatures]);
      const each = op.one("MatMul", [h, b], "float32", h.shape.with(3, outFeatures));
      const y = this.#inBlocks ? op.sum(each, [1], true) : each;
      const own = op.one("GatherND", [y, products], "float32", [taken, outFeatures]);
      const sum = sums[i] as Value;
      return op.one("ScatterND", [sum, rows, own], "float32", sum.shape, { reduction: "add" });
    });
  }

  /** A x for each part: [groups, 1, members, rank], or [groups, blocks, members, width]. */
  #hidden(parts: readonly TargetModule[], x: Value, toGroups: Value, rankClass: number): Value[] {
    const op = this.#op;
    const { path: key, inFeatures } = parts[0] as TargetModule;
    const [groups = 0] = toGroups.shape;
    const members = last(toGroups.shape);
    const at = `${key}.${rankClass}`;
    const [tiles, columns, rank] = [`tiles.${at}`, `columns.${at}`, `rank.${at}`];
    const outer = this.#inBlocks ? [parts.length, `blocks.${at}`] : [parts.length];
    const a = op.builder.input(loraA(key, rankClass), "float32", [`g.${at}`, ...outer, tiles, inFeatures, columns]);
    const grouped = op.gather(x, toGroups); // [groups, 1, (1,) 1, members, in]
    const tiled = op.one("MatMul", [grouped, a], "float32", [groups, ...outer, tiles, members, columns]);
    const first = outer.length + 1;
    const order = [...Array(first).keys(), first + 1, first, first + 2];
    const kept = [...Array(first + 1).keys()].map(() => 0);
    const joined = op.reshape(
      op.transpose(tiled, order),
      [groups, ...outer, members, rank],
      op.builder.constant("int64", [kept.length + 1], [...kept, -1]),
    );
    const each =
      parts.length === 1
        ? [joined]
        : op.split(
            joined,
            parts.map(() => 1),
            1,
          );
    return this.#inBlocks ? each.map((part) => op.squeeze(part, 1)) : each;
  }

  #indices(axis: AdapterAxis, rankClass: number): ClassInputs {
    const key = `${axis}.${rankClass}`;
    const known = this.#inputs.get(key);
    if (known) return known;
    const { builder } = this.#op;
    const names = indexNames(axis, rankClass);
    const ones = this.#inBlocks ? [1, 1, 1] : [1, 1];
    const inputs: ClassInputs = {
      toGroups: builder.input(names.toGroups, "int32", [`groups.${key}`, ...ones, `members.${key}`]),
      products: builder.input(names.products, "int64", [`taken.${key}`, 3]),
      rows: builder.input(names.rows, "int64", [`taken.${key}`, 1]),
    };
    this.#inputs.set(key, inputs);
    return inputs;
  }
}
