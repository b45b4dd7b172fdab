/** The limit on a prompt's length, checked before any work. */

import { LorikeetError } from "../base/errors.js";

/**
 * Refuses a prompt longer than `maxPromptCharacters` UTF-16 code units, a count that costs nothing.
 * @throws LorikeetError `prompt_too_long` with both numbers.
 */
export function checkPromptCharacters(text: string, maxPromptCharacters: number, param = "prompt"): void {
  if (text.length <= maxPromptCharacters) return;
  throw new LorikeetError(
    "prompt_too_long",
    `The prompt has ${text.length} characters; at most ${maxPromptCharacters} are allowed.`,
    { param, found: text.length, allowed: maxPromptCharacters },
  );
}
