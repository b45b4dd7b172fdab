/** The tokenizers package for JavaScript. Nothing else imports it. */

import { Tokenizer } from "@huggingface/tokenizers";
import { LorikeetError } from "../../base/errors.js";
import type { Json } from "../../base/json.js";

/** The part of the package's interface used here; its own declarations do not resolve by Node's rules. */
interface Package {
  readonly normalizer: ((text: string) => string) | null;
  readonly pre_tokenizer: ((text: string, options: { section_index: number }) => string[]) | null;
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
 * Opens only the given parts of a tokenizer.json.
 * @throws LorikeetError `model_unsupported` if the package does not support one of them.
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
