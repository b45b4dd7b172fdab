// Decoding speed of llama.cpp sequences that hold a prompt.

import { rm } from "node:fs/promises";
import { join } from "node:path";

/** Context for the tokens that a sample decodes. */
const spareTokens = 64;

/**
 * Opens contexts of one model. The prompt is computed once per layout of keys and values; other contexts load them from a file in
 * `folder`. Their values do not affect the speed.
 */
export class RowOpener {
  #model;
  #prompt;
  #threads;
  #folder;
  #states = new Set();

  constructor({ model, prompt, threads, folder }) {
    this.#model = model;
    this.#prompt = prompt;
    this.#threads = threads;
    this.#folder = folder;
  }

  /** `rows` sequences of one context, with one adapter's file for all of them, or none. */
  async open(rows, { lora = null, flashAttention }) {
    const context = await this.#model.createContext({
      sequences: rows,
      contextSize: this.#prompt.length + spareTokens,
      batchSize: Math.max(this.#prompt.length, rows),
      threads: this.#threads,
      flashAttention,
      ...(lora ? { lora: { adapters: [{ filePath: lora, scale: 1 }] } } : {}),
    });
    const sequences = Array.from({ length: rows }, () => context.getSequence());
    for (const sequence of sequences) await this.#fill(sequence, `${rows}-${flashAttention}`);
    return sequences;
  }

  async #fill(sequence, layout) {
    const file = join(this.#folder, `state-${process.pid}-${layout}`);
    if (this.#states.has(file)) await sequence.loadStateFromFile(file, { acceptRisk: true });
    else {
      await sequence.evaluateWithoutGeneratingNewTokens(this.#prompt);
      await sequence.saveStateToFile(file);
      this.#states.add(file);
    }
    if (sequence.nextTokenIndex !== this.#prompt.length) throw new Error(`${sequence.nextTokenIndex} tokens are there`);
  }

  /** Removes the files. */
  async close() {
    for (const file of this.#states) await rm(file, { force: true });
  }
}

/**
 * Tokens per second of `groups` of sequences, greedy, from the prompt's end. Each step evaluates one group after another. Returns
 * the median of `steps` after an uncounted one.
 */
export async function decode(groups, promptTokens, steps) {
  const running = [];
  for (const sequences of groups) running.push(await restart(sequences, promptTokens));
  const times = [];
  for (let step = 0; step <= steps; step++) {
    const started = performance.now();
    for (const generators of running) {
      for (const { done } of await Promise.all(generators.map((generator) => generator.next()))) {
        if (done) throw new Error("a sequence ended early");
      }
    }
    if (step > 0) times.push(performance.now() - started);
  }
  for (const generator of running.flat()) await generator.return();
  return (groups.flat().length * 1000) / median(times);
}

/** A generator per sequence, reset to the prompt's end. */
function restart(sequences, promptTokens) {
  return Promise.all(
    sequences.map(async (sequence) => {
      const end = sequence.nextTokenIndex;
      if (end > promptTokens) await sequence.eraseContextTokenRanges([{ start: promptTokens, end }]);
      return sequence.evaluate([5], { temperature: 0, yieldEogToken: true });
    }),
  );
}

/** Tokens per second of a whole prompt in an empty sequence. */
export async function prefill(sequence, prompt) {
  await sequence.clearHistory();
  const started = performance.now();
  await sequence.evaluateWithoutGeneratingNewTokens(prompt);
  return (prompt.length * 1000) / (performance.now() - started);
}

export function median(samples) {
  const sorted = [...samples].sort((a, b) => a - b);
  return (sorted[(sorted.length - 1) >> 1] + sorted[sorted.length >> 1]) / 2;
}
