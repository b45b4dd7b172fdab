/** The door to the package that encodes: text to ids, at once and on the calling thread. Nothing else imports the package. */

import { Tokenizer as HuggingFaceTokenizer } from "@huggingface/tokenizers";
import { LorikeetError } from "../base/errors.js";
import { wellFormed } from "./characters.js";
import { type Definition, define } from "./definition.js";
import { type JsonRecord, parseRecord } from "./json.js";

/** The two files as they lay on disk. In shared memory, so that a worker reads the same bytes without a copy. */
export interface TokenizerFiles {
  readonly directory: string;
  readonly tokenizer: Uint8Array;
  /** null where there is no tokenizer_config.json. */
  readonly config: Uint8Array | null;
}

export type Encode = (text: string, addSpecialTokens: boolean) => number[];

/** What the package offers of itself; its own declarations cannot be resolved by Node's rules. */
interface Package {
  encode(text: string, options: { add_special_tokens: boolean }): { ids: (number | undefined)[] };
}

/** Reads the files' bytes. @throws LorikeetError `model_invalid` with what was found. */
export function parseFiles(files: TokenizerFiles): { definition: Definition; config: JsonRecord } {
  const config = files.config ? parseRecord(files.config, `${files.directory}/tokenizer_config.json`) : {};
  const file = parseRecord(files.tokenizer, `${files.directory}/tokenizer.json`);
  return { definition: define(file, config), config };
}

/** @throws LorikeetError `model_unsupported` when the package does not know a part of tokenizer.json. */
export function createEncoder(definition: Definition, config: JsonRecord): Encode {
  let tokenizer: Package;
  try {
    tokenizer = new HuggingFaceTokenizer(definition.encoding, config);
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw new LorikeetError("model_unsupported", `tokenizer.json holds something that is not supported: ${reason}.`, {
      param: "tokenizer.json",
      found: reason,
      cause,
    });
  }
  return (text, addSpecialTokens) => {
    const { ids } = tokenizer.encode(wellFormed(text), { add_special_tokens: addSpecialTokens });
    return ids.filter((id) => id !== undefined);
  };
}
