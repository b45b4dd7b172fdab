/**
 * Adapters in the form for a device: each dispatch costs more there than its arithmetic, memory of all places lies in one tensor,
 * and a captured graph cannot replay operators that copy rows.
 *
 * Target modules that read the same input are one product. The ranks of an adapter are cut into tiles; the tiles of all adapters lie
 * side by side. `masked` multiplies by all of them, hides those of other adapters, and adds to the base, whatever mix of adapters
 * the rows have. `picked` takes the tiles of one adapter for all rows, for prompts.
 *
 * A card is slow at long sums of few outputs, which occupy few of its cores. So x A is computed for chunks of the input, then summed.
 *
 * Inputs, in the type of the activations:
 * - `lora_A.{key}` [tiles, parts, chunks, length, `tileRanks`]: A, cut along its inputs and ranks; a part is a module of the group.
 * - `lora_B.{key}` [tiles, parts * `tileRanks`, out]: B with its scale, in the columns of its part among those of all parts; the others
 *   are zeros. So are an adapter's missing modules. Every number is finite.
 * - `masked`: `adapter_places` int32 [tokens, 1], the place of each token's adapter, -1 for none; `tile_places` int32 [tiles], the place
 *   that each tile belongs to. Tiles of an empty place may have any number that no token has. Both tensors may be a prefix of the tiles.
 * - `picked`: `adapter_tiles` int32 [taken], the adapter's tiles; with gains also `adapter_place` int32 [].
 * - With gains `adapter_gain.{key}` [1 + places, out]: what multiplies each output of the base without its bias, ones in the first row
 *   and where an adapter has no gains (DoRA's g, not g - 1 as in the other forms).
 *
 * There is at least one tile: WebGPU's products do not take empty tensors.
 */
import { at } from "../../base/list.js";
import type { Ops } from "../../graph/ops.js";
import type { Value } from "../../graph/types.js";
import type { TargetModule } from "../blueprint.js";
import type { AdapterAxis, ModuleGroup } from "./adapters.js";

export const stackedA = (key: string): string => `lora_A.${key}`;
export const stackedB = (key: string): string => `lora_B.${key}`;
export const stackedGain = (key: string): string => `adapter_gain.${key}`;
export const stackedInputs = {
  places: "adapter_places",
  place: "adapter_place",
  tilePlaces: "tile_places",
  tiles: "adapter_tiles",
} as const;

/** Ranks of a tile: kernels read them four at a time, and few adapters have fewer. */
export const tileRanks = 8;
/** Inputs of a chunk, at most. On an H200 128 is as fast as 64 or faster, for 1 to 64 rows of 1,024 or 4,096 inputs. */
const chunkInputs = 128;

/** Into how many chunks of one length the inputs are cut. Kernels read four inputs at a time. */
function inputChunks(inFeatures: number): number {
  for (let length = Math.min(chunkInputs, inFeatures); length >= 32; length--) {
    if (length % 4 === 0 && inFeatures % length === 0) return inFeatures / length;
  }
  return 1;
}

export const groupOutputs = ({ parts }: Pick<ModuleGroup, "parts">): number =>
  parts.reduce((sum, { outFeatures }) => sum + outFeatures, 0);

/** The shapes of one tile of a group. */
export function tileShapes({ inFeatures, parts }: Pick<ModuleGroup, "inFeatures" | "parts">) {
  const chunks = inputChunks(inFeatures);
  return {
    a: [parts.length, chunks, inFeatures / chunks, tileRanks],
    b: [parts.length * tileRanks, groupOutputs({ parts })],
  } as const;
}

export class StackedAdapters {
  readonly groups: ModuleGroup[] = [];
  readonly #op: Ops;
  readonly #isPicked: boolean;
  readonly #logitRows: Value;
  readonly #places = new Map<AdapterAxis, Value>();
  readonly #masks = new Map<AdapterAxis, Value>();
  readonly #gainRows = new Map<AdapterAxis, Value>();
  #tiles: Value | null = null;

  constructor(op: Ops, mode: "masked" | "picked", logitRows: Value) {
    this.#op = op;
    this.#isPicked = mode === "picked";
    this.#logitRows = logitRows;
  }

  /**
   * base + B A x, [tokens, out of all parts]; `base` are the parts' outputs side by side. With `gains` rows may have DoRA: g (base - bias)
   * + bias replaces the base.
   */
  apply(
    parts: readonly TargetModule[],
    x: Value,
    base: Value,
    axis: AdapterAxis,
    gains: { readonly bias: Value | null } | null,
  ): Value {
    const { path: key, inFeatures } = at(parts, 0);
    const group = { key, inFeatures, parts };
    this.groups.push(group);
    const op = this.#op;
    const { a, b } = tileShapes(group);
    const [, chunks, length] = a;
    const tokens = at(x.shape, 0);
    const stacks = {
      a: this.#taken(op.builder.input(stackedA(key), x.type, ["tiles", ...a])),
      b: this.#taken(op.builder.input(stackedB(key), x.type, ["tiles", ...b])),
    };
    const cut = op.transpose(op.reshape(x, [tokens, chunks, length]), [1, 0, 2]); // [chunks, tokens, length]
    const products = op.matMul(cut, stacks.a); // [tiles, parts, chunks, tokens, ranks]
    const ranks = op.transpose(op.sum(products, [2], false), [2, 0, 1, 3]); // [tokens, tiles, parts, ranks]
    // Chosen, not multiplied: a token's product with another adapter may be infinite.
    const own = this.#isPicked ? ranks : op.where(this.#mask(axis), ranks, op.like(ranks, 0));
    const all = `ranks.${key}`;
    const [, outFeatures] = b;
    const flat = op.one("Reshape", [own, op.builder.constant("int64", [2], [0, -1])], x.type, [tokens, all]);
    const rows = op.builder.constant("int64", [2], [-1, outFeatures]);
    const matrix = op.one("Reshape", [stacks.b, rows], x.type, [all, outFeatures]);
    const gained = gains ? this.#gained(group, base, gains.bias, axis) : base;
    return op.gemm(flat, matrix, gained);
  }

  /** `picked`: the adapter's tiles of a stack. */
  #taken(stack: Value): Value {
    if (!this.#isPicked) return stack;
    this.#tiles ??= this.#op.builder.input(stackedInputs.tiles, "int32", ["taken"]);
    return this.#op.gather(stack, this.#tiles);
  }

  /** g (base - bias) + bias. */
  #gained(group: ModuleGroup, base: Value, bias: Value | null, axis: AdapterAxis): Value {
    const op = this.#op;
    const gains = op.builder.input(stackedGain(group.key), base.type, ["gain_rows", groupOutputs(group)]);
    const own = op.gather(gains, this.#gainRowsOf(axis)); // [tokens, out]; [out] of one place
    return bias ? op.add(op.mul(op.sub(base, bias), own), bias) : op.mul(base, own);
  }

  /** Which tiles are those of each token's adapter: bool [tokens, tiles, 1, 1]. */
  #mask(axis: AdapterAxis): Value {
    const known = this.#masks.get(axis);
    if (known) return known;
    const op = this.#op;
    this.#tiles ??= op.builder.input(stackedInputs.tilePlaces, "int32", ["tiles"]);
    const mask = op.compare("Equal", this.#placesOf(axis), this.#tiles);
    const shaped = op.unsqueeze(op.unsqueeze(mask, 2), 3);
    this.#masks.set(axis, shaped);
    return shaped;
  }

  /** Rows of the gains: the first without an adapter, else the one after the place. */
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
