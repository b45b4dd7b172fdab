/** The door to the tokenizers package for JavaScript. Nothing else imports it. */

import { Tokenizer } from "@huggingface/tokenizers";
import { LorikeetError } from "../../base/errors.js";
import type { Json } from "../../base/json.js";

/** What the package offers of itself; its own declarations cannot be resolved by Node's rules. */
interface Package {
  readonly normalizer: ((text: string) => string) | null;
  readonly pre_tokenizer: ((text: string, options: { section_index: number }) => string[]) | null;
  readonly model: (words: readonly string[]) => string[];
}

const nothing = {
  normalizer: null,
  pre_tokenizer: null,
  model: { type: "BPE", vocab: {}, merges: [] },
  post_processor: null,
  decoder: null,
  added_tokens: [],
};

/**
 * Opens the given parts of a tokenizer.json, and no others.
 * @throws LorikeetError `model_unsupported` when the package does not know one of them.
 */
export function openPackage(parts: Json, config: Json = {}): Package {
  try {
    return new Tokenizer({ ...nothing, ...parts }, config);
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw new LorikeetError("model_unsupported", `tokenizer.json holds something that is not supported: ${reason}.`, {
      param: "tokenizer.json",
      found: reason,
      cause,
    });
  }
}
