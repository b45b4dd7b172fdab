/**
 * Adapters in the form for a device: each dispatch costs more there than its arithmetic, memory of all places lies in one tensor,
 * and a captured graph cannot replay operators that copy rows.
 *
 * `masked` multiplies by the ranks of all places side by side, hides those of other adapters, and adds to the base: three nodes
 * for each linear layer, whatever mix of adapters the rows have. `picked` takes one place for all rows, for prompts.
 *
 * Inputs, in the type of the activations:
 * - `lora_A.{path}`: A transposed, row by row behind one another, [ranks, in]; `picked` [places, rank, in].
 * - `lora_B.{path}`: B with its scale, [ranks, out]; `picked` [places, rank, out]. Both views fit the same memory if all places
 *   have one rank. `masked` also takes places of different ranks, and a prefix of them. An adapter's missing modules are zeros, and every
 *   number is finite.
 * - `adapter_places` int32 [tokens, 1]: the place of each token's adapter, -1 for none; `picked` has `adapter_place` int32 [].
 * - `rank_places` int32 [ranks], `masked` only: the place that each rank belongs to. Ranks of an empty place may have any number that no
 *   token has.
 * - With gains `adapter_gain.{path}` [1 + places, out]: what multiplies each output of the base without its bias, ones in the first row
 *   and where an adapter has no gains (DoRA's g, not g - 1 as in the other forms).
 *
 * There is at least one place: WebGPU's products do not take empty tensors.
 */
import { at } from "../../base/list.js";
import type { Ops } from "../../graph/ops.js";
import type { Value } from "../../graph/types.js";
import type { TargetModule } from "../blueprint.js";
import type { AdapterAxis, AdapterLowering, Bases, ModuleGroup } from "./adapters.js";

export const stackedA = (path: string): string => `lora_A.${path}`;
export const stackedB = (path: string): string => `lora_B.${path}`;
export const stackedGain = (path: string): string => `adapter_gain.${path}`;
export const stackedInputs = {
  places: "adapter_places",
  place: "adapter_place",
  rankPlaces: "rank_places",
} as const;

export class StackedAdapters implements AdapterLowering {
  readonly groups: ModuleGroup[] = [];
  readonly #op: Ops;
  readonly #isPicked: boolean;
  readonly #logitRows: Value;
  readonly #places = new Map<AdapterAxis, Value>();
  readonly #masks = new Map<AdapterAxis, Value>();
  readonly #gainRows = new Map<AdapterAxis, Value>();
  #rankPlaces: Value | null = null;

  constructor(op: Ops, mode: "masked" | "picked", logitRows: Value) {
    this.#op = op;
    this.#isPicked = mode === "picked";
    this.#logitRows = logitRows;
  }

  apply(parts: readonly TargetModule[], x: Value, { bases, biases }: Bases, axis: AdapterAxis): Value[] {
    const [first] = parts;
    if (!first) return [];
    this.groups.push({ key: first.path, inFeatures: first.inFeatures, parts });
    return parts.map((part, i) => {
      const base = at(bases, i);
      const gained = biases ? this.#gained(part, base, at(biases, i), axis) : base;
      return this.#isPicked ? this.#addPicked(part, x, gained) : this.#addMasked(part, x, gained, axis);
    });
  }

  #addMasked({ path, inFeatures, outFeatures }: TargetModule, x: Value, base: Value, axis: AdapterAxis): Value {
    const op = this.#op;
    const a = op.builder.input(stackedA(path), x.type, ["ranks", inFeatures]);
    const b = op.builder.input(stackedB(path), x.type, ["ranks", outFeatures]);
    const all = op.gemm(x, a, null, { transB: true }); // [tokens, ranks]
    // Chosen, not multiplied: a token's product with another adapter may be infinite.
    const own = op.where(this.#mask(axis), all, op.like(all, 0));
    return op.gemm(own, b, base);
  }

  #addPicked({ path, inFeatures, outFeatures }: TargetModule, x: Value, base: Value): Value {
    const op = this.#op;
    const rank = `rank.${path}`;
    const a = op.builder.input(stackedA(path), x.type, ["places", rank, inFeatures]);
    const b = op.builder.input(stackedB(path), x.type, ["places", rank, outFeatures]);
    const place = this.#placesOf("tokens");
    return op.gemm(op.gemm(x, op.gather(a, place), null, { transB: true }), op.gather(b, place), base);
  }

  /** g (base - bias) + bias. */
  #gained({ path, outFeatures }: TargetModule, base: Value, bias: Value | null, axis: AdapterAxis): Value {
    const op = this.#op;
    const gains = op.builder.input(stackedGain(path), base.type, ["gain_rows", outFeatures]);
    const own = op.gather(gains, this.#gainRowsOf(axis)); // [tokens, out]; [out] of one place
    return bias ? op.add(op.mul(op.sub(base, bias), own), bias) : op.mul(base, own);
  }

  /** Which ranks are those of each token's adapter: bool [tokens, ranks]. */
  #mask(axis: AdapterAxis): Value {
    const known = this.#masks.get(axis);
    if (known) return known;
    this.#rankPlaces ??= this.#op.builder.input(stackedInputs.rankPlaces, "int32", ["ranks"]);
    const mask = this.#op.compare("Equal", this.#placesOf(axis), this.#rankPlaces);
    this.#masks.set(axis, mask);
    return mask;
  }

  /** Rows of the gains: the first without an adapter, else the one behind the place. */
  #gainRowsOf(axis: AdapterAxis): Value {
    const known = this.#gainRows.get(axis);
    if (known) return known;
    const places = this.#placesOf(axis);
    const rows = this.#op.add(this.#isPicked ? places : this.#op.squeeze(places, 1), this.#op.like(places, 1));
    this.#gainRows.set(axis, rows);
    return rows;
  }

  /** The place of each row of an axis, [rows, 1]; with `picked` the one of all, []. */
  #placesOf(axis: AdapterAxis): Value {
    if (this.#isPicked) return this.#tokenPlaces(stackedInputs.place, []);
    const all = this.#tokenPlaces(stackedInputs.places, ["tokens", 1]);
    if (axis === "tokens") return all;
    const known = this.#places.get(axis);
    if (known) return known;
    const selected = this.#op.gather(all, this.#logitRows);
    this.#places.set(axis, selected);
    return selected;
  }

  #tokenPlaces(name: string, shape: Value["shape"]): Value {
    const places = this.#places.get("tokens") ?? this.#op.builder.input(name, "int32", shape);
    this.#places.set("tokens", places);
    return places;
  }
}
