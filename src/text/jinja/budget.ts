/**
 * The budget of one rendering. Rendering is synchronous, so there is one current budget. Every loop over a template's values spends
 * from it, so that no template can hang the thread or exhaust memory.
 */

import { fault } from "./faults.js";

export interface RenderLimits {
  /** Steps: evaluated expressions and statements, loop items, and every 64 characters of a text created or searched. */
  readonly maxSteps: number;
}

const charactersPerStep = 64;

/** A chat of a thousand messages takes less than a tenth of this in every measured template. */
export const defaultRenderLimits: RenderLimits = { maxSteps: 5_000_000 };

/** The deepest nesting of macro calls, recursive loops and values. */
export const maxDepth = 100;

let limits = defaultRenderLimits;
let steps = 0;
let depth = 0;

/** Runs a task with a new budget. */
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

/** Counts characters before a text is created. @throws TemplateFault `LimitError` past the limit. */
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
