/**
 * What the next step does, in integers: which sequence prefills which chunk, which rows decode, which row moves down.
 * No tensor, no clock, no I/O: costs come in as numbers.
 */

export interface SchedulerOptions {
  /** Tokens of the largest prefill chunk. */
  readonly maxChunk: number;
  /** A prompt is one chunk, however long. Default: false. */
  readonly wholePrompts?: boolean;
}

/** A sequence as the scheduler sees it. */
export interface Task {
  readonly slot: number;
  /** Order of admission: smaller first. */
  readonly order: number;
  /** Tokens whose keys and values are in the slot. */
  readonly computed: number;
  /** Tokens known so far: prompt and generated. */
  readonly known: number;
  /** Tokens to prefill before it decodes: its prompt, or the whole text if that is recomputed. */
  readonly promptTokens: number;
  readonly paused: boolean;
  /** Upper bound on this task's chunk (scoring a prompt keeps logits of every token). */
  readonly maxChunk: number;
}

export interface Chunk {
  readonly slot: number;
  readonly start: number;
  readonly tokens: number;
  /** The chunk reaches the prompt's end: its last logits give the first token. */
  readonly last: boolean;
}

export interface Plan {
  readonly prefill: readonly Chunk[];
  /** Slots that decode, ascending. */
  readonly decode: readonly number[];
}

export interface Move {
  readonly from: number;
  readonly to: number;
  readonly tokens: number;
}

const isDecoding = (task: Task): boolean => task.computed >= task.promptTokens;

/**
 * One step: at most `budget` prompt tokens in chunks (the oldest sequence first), then one token for every decoding row.
 * With nothing decoding the budget only bounds a chunk. Prompts that are computed whole may exceed it by the last of them.
 */
export function plan(tasks: readonly Task[], budget: number, options: SchedulerOptions): Plan {
  const decoding = tasks.filter((task) => isDecoding(task) && !task.paused);
  const prefilling = tasks.filter((task) => !isDecoding(task) && !task.paused).sort((a, b) => a.order - b.order);
  const limit = decoding.length > 0 ? Math.max(2, budget) : options.maxChunk;
  const chunks: Chunk[] = [];
  let left = limit;
  for (const task of prefilling) {
    if (left < 2) break;
    const tokens = options.wholePrompts
      ? task.promptTokens - task.computed
      : chunkSize(task, Math.min(left, options.maxChunk, task.maxChunk));
    chunks.push({ slot: task.slot, start: task.computed, tokens, last: task.computed + tokens === task.promptTokens });
    left -= tokens;
  }
  return {
    prefill: chunks,
    decode: decoding.map((task) => task.slot).sort((a, b) => a - b),
  };
}

/** Equal chunks (a single token at the end would need its own step), or one chunk if everything fits. */
function chunkSize(task: Task, limit: number): number {
  const left = task.promptTokens - task.computed;
  if (left <= limit) return left;
  const even = Math.max(2, limit - (limit % 2));
  return Math.min(left, even);
}

/** Moves the highest row into the lowest hole if that shrinks the batch and the row has at most `maxMoveTokens`. */
export function findMove(tasks: readonly Task[], lowestFree: number, maxMoveTokens: number): Move | null {
  if (lowestFree < 0) return null;
  let highest: Task | null = null;
  for (const task of tasks) if (task.slot > (highest?.slot ?? -1)) highest = task;
  if (!highest || highest.slot < lowestFree || highest.computed > maxMoveTokens) return null;
  return { from: highest.slot, to: lowestFree, tokens: highest.computed };
}
