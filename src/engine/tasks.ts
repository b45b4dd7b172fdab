/** The sequences that run, as the scheduler sees them. */
import type { Task } from "./scheduler.js";
import type { Sequence } from "./sequence.js";

/** Prompt scoring keeps the logits of every token of a chunk. */
const scoringChunk = 64;
/** A reader this far behind gets no more tokens until it reads. */
const maxUnread = 256;

/** A task for each slot whose sequence runs; `maxChunk` bounds the chunks of its prompt. */
export function tasksOf(held: Iterable<readonly [number, Sequence]>, maxChunk: number): Task[] {
  const tasks: Task[] = [];
  for (const [slot, sequence] of held) {
    if (sequence.phase !== "running") continue;
    tasks.push({
      slot,
      order: sequence.id,
      computed: sequence.computed,
      known: sequence.tokens.length,
      promptTokens: sequence.promptTokens,
      paused: sequence.paused || sequence.unread > maxUnread,
      maxChunk: sequence.promptLogprobs ? scoringChunk : maxChunk,
    });
  }
  return tasks;
}
