/** What a request needs before it may wait: a prompt of known tokens that fits a slot together with the tokens it asks for. */
import { LorikeetError } from "../base/errors.js";
import type { EngineLimits, EngineRequest } from "./types.js";

/** Throws `invalid_value` or `context_length_exceeded`. */
export function checkRequest(
  { promptIds, maxTokens }: EngineRequest,
  vocabSize: number,
  { maxContext, maxGenerated }: EngineLimits,
): void {
  if (promptIds.length === 0) throw new LorikeetError("invalid_value", "The prompt holds no token.");
  const unknownId = promptIds.find((id) => !Number.isInteger(id) || id < 0 || id >= vocabSize);
  if (unknownId !== undefined) {
    throw new LorikeetError(
      "invalid_value",
      `The prompt holds token id ${unknownId}; the vocabulary has 0 to ${vocabSize - 1}.`,
      { found: unknownId, allowed: vocabSize - 1 },
    );
  }
  if (maxGenerated !== undefined && maxTokens > maxGenerated) {
    const message = `${maxTokens} tokens are to be generated; the model generates at most ${maxGenerated}.`;
    throw new LorikeetError("context_length_exceeded", message, { found: maxTokens, allowed: maxGenerated });
  }
  const wanted = promptIds.length + (maxGenerated === undefined ? maxTokens : 0);
  if (wanted > maxContext) {
    throw new LorikeetError(
      "context_length_exceeded",
      maxGenerated === undefined
        ? `${promptIds.length} prompt tokens and ${maxTokens} to generate are ${wanted}; the context holds ${maxContext}.`
        : `The prompt has ${wanted} tokens; the model reads at most ${maxContext}.`,
      { found: wanted, allowed: maxContext },
    );
  }
}
