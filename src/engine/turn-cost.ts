/**
 * What a sequence costs its adapter when adapters take turns, in generated tokens. Prompts count too, or long ones would be
 * free: two of their tokens as one, since a chunk computes them about twice as fast as a full batch generates.
 */

/** Tokens of a turn, and the least that a sequence costs: its slot, its place and its first step are not free. */
export const turnTokens = 8;
/** No more is expected of a sequence than this, whatever `maxTokens` allows: most end sooner, and the rest is charged as it comes. */
const mostExpected = 64;

export const promptCost = (promptTokens: number): number => Math.ceil(promptTokens / 2);

export const expectedCost = (promptTokens: number, maxTokens: number): number =>
  promptCost(promptTokens) + Math.min(maxTokens, mostExpected);
