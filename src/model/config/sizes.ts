/** Reads the sizes common to all families: widths, layers, heads, vocabulary, positions. */

import type { Sizes } from "../types.js";
import type { ConfigFields } from "./fields.js";

const maxLayers = 4096;

/** The sizes' defaults where config.json lacks them. */
export interface SizeDefaults {
  readonly hiddenSize: number;
  /** null: four times the hidden size. */
  readonly intermediateSize: number | null;
  readonly layerCount: number;
  readonly headCount: number;
  /** null: as many as query heads. `none`: the family has no such key and always as many key heads as query heads. */
  readonly kvHeadCount: number | null | "none";
  /** null: the hidden size divided by the heads. `none`: the family has no such key and always uses that. */
  readonly headDim: number | null | "none";
  readonly vocabSize: number;
  readonly maxPositions: number;
}

/** Reads the sizes; faults go to `fields.faults`. */
export function readSizes(fields: ConfigFields, defaults: SizeDefaults): Sizes {
  const hiddenSize = fields.integer("hidden_size", defaults.hiddenSize);
  const headCount = fields.integer("num_attention_heads", defaults.headCount);
  const kvHeadCount =
    defaults.kvHeadCount === "none"
      ? headCount
      : fields.integerOrNull("num_key_value_heads", defaults.kvHeadCount ?? headCount, headCount);
  if (headCount % kvHeadCount !== 0) {
    fields.faults.invalid(
      `${fields.name("num_key_value_heads")} is ${kvHeadCount}, but must divide num_attention_heads, ${headCount}`,
    );
  }
  const inner = defaults.intermediateSize;
  const intermediateSize =
    inner === null
      ? fields.integerOrNull("intermediate_size", 4 * hiddenSize, 4 * hiddenSize)
      : fields.integer("intermediate_size", inner);
  return {
    hiddenSize,
    intermediateSize,
    layerCount: fields.integer("num_hidden_layers", defaults.layerCount, { max: maxLayers }),
    headCount,
    kvHeadCount,
    headDim: readHeadDim(fields, defaults.headDim, hiddenSize, headCount),
    vocabSize: fields.integer("vocab_size", defaults.vocabSize),
    maxPositions: fields.integer("max_position_embeddings", defaults.maxPositions),
  };
}

function readHeadDim(
  fields: ConfigFields,
  absent: SizeDefaults["headDim"],
  hiddenSize: number,
  headCount: number,
): number {
  if (absent !== "none") {
    const isStated = fields.raw("head_dim") !== undefined && (fields.has("head_dim") || absent !== null);
    if (isStated) return fields.integer("head_dim", absent ?? 1);
    if (absent !== null) return absent;
  }
  if (hiddenSize % headCount === 0) return hiddenSize / headCount;
  fields.faults.invalid(
    `${fields.name("hidden_size")} is ${hiddenSize}, but must be a multiple of num_attention_heads, ${headCount}`,
  );
  return 64;
}
