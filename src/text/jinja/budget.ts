/**
 * What one rendering may use. Rendering is synchronous, so one budget is current at a time: everything that loops over a
 * template's values spends from it, and no template can hang the thread or fill the memory.
 */

import { fault } from "./faults.js";

export interface RenderLimits {
  /** Expressions and statements evaluated, items looped over; 64 characters of a text that is made or searched are one step. */
  readonly maxSteps: number;
}

const charactersPerStep = 64;

/** A chat of a thousand messages takes less than a tenth of it in every template that was measured. */
export const defaultRenderLimits: RenderLimits = { maxSteps: 5_000_000 };

/** Macros that call each other, loops that call themselves, values nested in values. */
export const maxDepth = 100;

let limits = defaultRenderLimits;
let steps = 0;
let depth = 0;

/** Runs a task with a budget of its own. */
export function withBudget<T>(given: RenderLimits, task: () => T): T {
  const before = { limits, steps, depth };
  limits = given;
  steps = depth = 0;
  try {
    return task();
  } finally {
    ({ limits, steps, depth } = before);
  }
}

/** Counts steps. @throws TemplateFault `LimitError` past the limit. */
export function spend(count = 1): void {
  steps += count;
  if (steps > limits.maxSteps) fault("LimitError", `it takes more than ${limits.maxSteps} steps`);
}

/** Counts characters before they are made. @throws TemplateFault `LimitError` past the limit. */
export function spendCharacters(count: number): void {
  spend(count / charactersPerStep);
}

/** Runs a task one level deeper. @throws TemplateFault `LimitError` past the limit. */
export function nested<T>(task: () => T): T {
  if (depth >= maxDepth) fault("LimitError", `it nests more than ${maxDepth} levels deep`);
  depth++;
  try {
    return task();
  } finally {
    depth--;
  }
}
