/** Opens the model of a tokenizer.json. */

import { LorikeetError } from "../../base/errors.js";
import type { Json } from "../../base/json.js";
import { Bpe } from "./bpe.js";
import { Unigram } from "./unigram.js";
import { WordLevel } from "./word-level.js";
import type { WordModel } from "./word-model.js";
import { WordPiece } from "./word-piece.js";

const supported = ["BPE", "Unigram", "WordLevel", "WordPiece"];

/** @throws LorikeetError `model_unsupported` for an unknown model, `model_invalid` for an invalid one. */
export function createWordModel(model: Json): WordModel {
  switch (typeOf(model)) {
    case "BPE":
      return new Bpe(model);
    case "Unigram":
      return new Unigram(model);
    case "WordPiece":
      return new WordPiece(model);
    case "WordLevel":
      return new WordLevel(model);
  }
  throw new LorikeetError(
    "model_unsupported",
    `The model in tokenizer.json is ${JSON.stringify(model.type)}, which is not supported. Supported are ${supported.join(", ")}.`,
    { param: "tokenizer.json", found: model.type, allowed: supported },
  );
}

/** Old files do not name their model: its fields tell. */
function typeOf(model: Json): unknown {
  if (model.type !== undefined) return model.type;
  if (Array.isArray(model.merges)) return "BPE";
  if (Array.isArray(model.vocab)) return "Unigram";
  return model.continuing_subword_prefix === undefined ? "WordLevel" : "WordPiece";
}
