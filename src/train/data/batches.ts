/**
 * Chooses the rows of every step, as a pure function of rows, seed and step, so that a run can resume anywhere. Rows of similar length
 * share a step, or short rows share a packed row. Steps are chosen before they are split into runs, so batch size and gradient
 * accumulation do not change the rows of a step.
 */

import { at, int32At } from "../../base/list.js";
import { Draws, purposes } from "../random.js";
import { noLabel, type TokenBatch } from "./batch.js";
import type { Item } from "./dataset.js";
import { drawSteps, shuffled, slices } from "./draw-steps.js";
import type { TokenRow } from "./encode.js";

export interface BatchOptions {
  /** Rows (or pairs) per run of the graph. */
  readonly batchSize: number;
  /** Runs per step. */
  readonly gradientAccumulationSteps: number;
  readonly seed: number;
  /** Steps whose rows are drawn together and sorted by length. More means less padding, but steps that differ more. */
  readonly lengthWindow: number;
  /** Tokens of a packed row; null: rows are padded. */
  readonly packLength: number | null;
  /** Minimum tokens of a run; shorter ones are padded. Default: none. */
  readonly minTokens?: number;
}

/** Items that share a row of a batch: one, or several when packed. */
type Line = readonly Item[];

/** Lines that the graph computes at once. */
type Run = readonly Line[];

export class BatchPlan {
  readonly stepsPerEpoch: number;
  readonly #items: readonly Item[];
  readonly #options: BatchOptions;
  #epoch = -1;
  #steps: readonly (readonly Run[])[] = [];

  constructor(items: readonly Item[], options: BatchOptions) {
    this.#items = items;
    this.#options = options;
    this.stepsPerEpoch = Math.max(1, this.#stepsOf(0).length);
  }

  /** The runs of a step, counted from 0. One step of an epoch may have fewer rows. */
  step(step: number): TokenBatch[] {
    const steps = this.#stepsOf(Math.floor(step / this.stepsPerEpoch));
    return at(steps, step % this.stepsPerEpoch).map((lines) => this.#toBatch(lines));
  }

  /** The batch with the most tokens, including padding; it determines the memory. */
  largest(): TokenBatch {
    const runs = this.#stepsOf(0).flat();
    return this.#toBatch(runs.reduce((most, lines) => (computed(lines) > computed(most) ? lines : most)));
  }

  /** The batch with the fewest tokens. */
  smallest(): TokenBatch {
    const runs = this.#stepsOf(0).flat();
    return this.#toBatch(runs.reduce((least, lines) => (computed(lines) < computed(least) ? lines : least)));
  }

  /** Tokens that each run of an epoch computes, padding included. */
  runSizes(): number[] {
    return this.#stepsOf(0).flatMap((runs) => runs.map((lines) => computed(lines, this.#options.minTokens)));
  }

  #toBatch(lines: Run): TokenBatch {
    return toBatch(lines, this.#options.minTokens);
  }

  /** The number is the same in every epoch. */
  #stepsOf(epoch: number): readonly (readonly Run[])[] {
    if (epoch !== this.#epoch) {
      const { batchSize, packLength } = this.#options;
      const steps = packLength === null ? this.#padded(epoch) : this.#packed(epoch, packLength);
      this.#steps = steps.map((lines) => slices(lines, batchSize));
      this.#epoch = epoch;
    }
    return this.#steps;
  }

  get #stepRows(): number {
    return this.#options.batchSize * this.#options.gradientAccumulationSteps;
  }

  #padded(epoch: number): Line[][] {
    const lengths = this.#items.map((item) => lineLength([item]));
    const steps = drawSteps(lengths, this.#stepRows, this.#options, epoch);
    return steps.map((step) => step.map((i): Line => [this.#item(i)]));
  }

  /**
   * First fit over the rows in one fixed random order, so that every epoch has the same packed rows. Only their order differs.
   */
  #packed(epoch: number, packLength: number): Line[][] {
    const { seed } = this.#options;
    const order = new Draws(seed, purposes.shuffle, 0).permutation(this.#items.length);
    const lines = packLines(
      [...order].map((i) => this.#item(i)),
      packLength,
    );
    return slices(shuffled(lines, new Draws(seed, purposes.shuffle, epoch, 1)), this.#stepRows);
  }

  #item(index: number): Item {
    const item = this.#items[index];
    if (!item) throw new RangeError(`no item ${index}`);
    return item;
  }
}

/** Batches in a fixed order, for validation. */
export function plainBatches(items: readonly Item[], batch: number, minTokens = 1): TokenBatch[] {
  const lines = items.map((item): Line => [item]).sort((a, b) => lineLength(a) - lineLength(b));
  return slices(lines, batch).map((run) => toBatch(run, minTokens));
}

const openLines = 64; // first fit considers this many lines: packs as well as with all, in linear time

function packLines(items: readonly Item[], length: number): Item[][] {
  const done: Item[][] = [];
  let open: { items: Item[]; left: number }[] = [];
  for (const item of items) {
    const need = lineLength([item]);
    const place = open.find(({ left }) => left >= need);
    if (place) {
      place.items.push(item);
      place.left -= need;
    } else {
      const line = { items: [item], left: length - need };
      done.push(line.items);
      open.push(line);
      if (open.length > openLines) open = open.sort((a, b) => b.left - a.left).slice(0, openLines / 2);
    }
  }
  return done;
}

/** Tokens that a run over these lines computes. */
function computed(lines: Run, minTokens = 1): number {
  const rows = lines.reduce((sum, line) => sum + at(line, 0).length, 0);
  return rows * paddedLength(lines, rows, minTokens);
}

/** Length of the longest line, or more if the run would have too few tokens. */
function paddedLength(lines: Run, rows: number, minTokens: number): number {
  return Math.max(Math.ceil(minTokens / rows), ...lines.map(lineLength));
}

/** Tokens of a line. Both lines of a pair have the longer one's length. */
function lineLength(line: Line): number {
  return line.reduce((sum, item) => sum + Math.max(...item.map(({ ids }) => ids.length)), 0);
}

/** Lines as a batch. The rows of a pair are adjacent: chosen, then rejected. */
function toBatch(lines: Run, minTokens = 1): TokenBatch {
  const rows = lines.flatMap((line): (readonly TokenRow[])[] => {
    const [only] = line;
    return line.length === 1 && only ? only.map((row) => [row]) : [line.map(([row]) => row)];
  });
  const length = paddedLength(lines, rows.length, minTokens);
  const count = rows.length * length;
  const batch = {
    rows: rows.length,
    length,
    ids: new Int32Array(count),
    labels: new Int32Array(count).fill(noLabel),
    segments: new Int32Array(count),
  };
  for (const [r, parts] of rows.entries()) {
    let at = r * length;
    for (const [s, { ids, trained }] of parts.entries()) {
      batch.ids.set(ids, at);
      batch.segments.fill(s + 1, at, at + ids.length);
      for (let i = 1; i < ids.length; i++) if (trained[i]) batch.labels[at + i] = int32At(ids, i);
      at += ids.length;
    }
  }
  return batch;
}
