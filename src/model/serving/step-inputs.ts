/** The inputs that every graph reads at each step, and those that only some models do: created when a layer first asks for them. */
import type { Ops } from "../../graph/ops.js";
import type { Value } from "../../graph/types.js";
import type { ServingTarget } from "./target.js";

export class StepInputs {
  readonly ids: Value;
  /** int64 [3]: rows, tokens a row, -1. */
  readonly shape: Value;
  /** Total length of each row less one: int32 [rows]. */
  readonly lengths: Value;
  /** The longest total length: int32 [1]. */
  readonly total: Value;
  readonly logitRows: Value;
  readonly #op: Ops;
  readonly #int64: boolean;
  #positions: Value | null = null;
  #rowPositions: Value | null = null;
  #positionColumns: Value | null = null;
  #windowPlaces: Value | null = null;
  #taken: Value | null = null;

  constructor(op: Ops, { int64 = true }: ServingTarget = {}) {
    const { builder } = op;
    this.#op = op;
    this.#int64 = int64;
    this.ids = builder.input("input_ids", "int32", ["tokens"]);
    this.shape = builder.input("attention_shape", "int64", [3]);
    this.lengths = builder.input("seqlens_k", "int32", ["rows"]);
    this.total = builder.input("total_sequence_length", "int32", [1]);
    this.logitRows = builder.input("logit_rows", "int32", ["logit_rows"]);
  }

  /** The position of each token, [tokens]. */
  get positions(): Value {
    this.#positions ??= this.#op.builder.input("positions", "int32", ["tokens"]);
    return this.#positions;
  }

  /** The same by row: int64 [rows, row_tokens]. */
  get rowPositions(): Value {
    this.#rowPositions ??= this.#int64
      ? this.#op.reshape(
          this.#op.cast(this.positions, "int64"),
          ["rows", "row_tokens"],
          this.#op.slice(this.shape, 0, 0, 2),
        )
      : this.#op.cast(this.#op.squeeze(this.positionColumns, 2), "int64");
    return this.#rowPositions;
  }

  /** The same as int32 [rows, row_tokens, 1]. */
  get positionColumns(): Value {
    this.#positionColumns ??= this.#op.reshape(this.positions, ["rows", "row_tokens", 1], this.shape);
    return this.#positionColumns;
  }

  /** Which of the tokens of a window and its row are in the next window: [rows, reach, 1]. */
  windowPlaces(reach: number): Value {
    this.#windowPlaces ??= this.#op.builder.input("window_places", "int64", ["rows", reach, 1]);
    return this.#windowPlaces;
  }

  /** 1 for a token that memories take in, else 0: [tokens, 1]. */
  get taken(): Value {
    this.#taken ??= this.#op.builder.input("taken", "float32", ["tokens", 1]);
    return this.#taken;
  }

  /** x [tokens, features] as [rows, row_tokens, features]. */
  byRow(x: Value): Value {
    return this.#op.reshape(x, ["rows", "row_tokens", x.shape[1] ?? 0], this.shape);
  }

  /** What `byRow` gave, back as [tokens, features]. */
  byToken(x: Value, features: number): Value {
    return this.#op.reshape(x, ["tokens", features], this.#op.builder.constant("int64", [2], [-1, features]));
  }
}
