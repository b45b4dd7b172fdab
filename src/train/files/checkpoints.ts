/**
 * Checkpoints of a run. Each is the folder of an adapter or model, plus the state of optimizer and run. A checkpoint is either complete
 * or absent.
 */
import { mkdir, readFile, rename, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { namesIn, orMissing, removeTree, sync, syncTree } from "../../base/durable.js";
import { assert, LorikeetError } from "../../base/errors.js";
import { SafetensorsFile } from "../../tensor/safetensors.js";
import { writeSafetensors } from "../../tensor/safetensors-write.js";
import type { Optimizer } from "../optimizer/optimizer.js";
import { initialState, type TrainState } from "../trainer.js";

/** Version of checkpoints. Runs of other versions had other rows in their steps, so they cannot resume exactly. */
const format = 2;

const files = { optimizer: "optimizer.safetensors", state: "state.json" } as const;

export interface CheckpointsOptions {
  /** Created with the first checkpoint. */
  readonly folder: string;
  /** Most recent checkpoints to keep, besides the best. */
  readonly keep: number;
  readonly optimizer: Optimizer;
  /** Writes the parameters' files, flushed. */
  readonly save: (folder: string) => Promise<void>;
  /** Reads those files into the parameters. */
  readonly load: (folder: string) => Promise<void>;
}

export class Checkpoints {
  readonly #options: CheckpointsOptions;

  constructor(options: CheckpointsOptions) {
    this.#options = options;
  }

  pathOf(step: number): string {
    return Checkpoints.pathIn(this.#options.folder, step);
  }

  static pathIn(folder: string, step: number): string {
    return join(folder, `step-${String(step).padStart(7, "0")}`);
  }

  steps(): Promise<number[]> {
    return Checkpoints.stepsIn(this.#options.folder);
  }

  /** Steps of the complete checkpoints, in ascending order. */
  static async stepsIn(folder: string): Promise<number[]> {
    const names = await namesIn(folder);
    return names.flatMap((name) => (/^step-\d{7,}$/.test(name) ? [Number(name.slice(5))] : [])).sort((a, b) => a - b);
  }

  /** Writes a draft and renames it, then removes checkpoints that are neither the best nor recent. */
  async save(state: Readonly<TrainState>): Promise<string> {
    const { folder, optimizer, save } = this.#options;
    const path = this.pathOf(state.step);
    const draft = join(folder, `draft-${state.step}`);
    await removeTree(draft);
    await mkdir(draft, { recursive: true });
    try {
      await save(draft);
      await writeSafetensors(join(draft, files.optimizer), optimizerTensors(optimizer), {}, { fsync: true });
      const numbers = optimizer.state.map((piece) => piece.state.numbers);
      await writeFile(join(draft, files.state), `${JSON.stringify({ format, ...state, optimizer: numbers })}\n`);
      await syncTree(draft);
      await removeTree(path);
      await rename(draft, path);
      await sync(folder);
    } catch (cause) {
      await removeTree(draft);
      throw cause;
    }
    await this.#prune(state);
    return path;
  }

  /** Reads the last checkpoint into parameters and optimizer; null without one. */
  async resume(): Promise<TrainState | null> {
    const last = (await this.steps()).at(-1);
    if (last === undefined) return null;
    const path = this.pathOf(last);
    const { format: _, optimizer, ...state } = await readState(path);
    await this.#options.load(path);
    await using file = await SafetensorsFile.open(join(path, files.optimizer));
    for (const [i, piece] of this.#options.optimizer.state.entries()) {
      Object.assign(piece.state.numbers, optimizer[i]);
      for (const [name, array] of Object.entries(piece.state.arrays)) {
        const stored = await file.readFloat32(`${i}.${name}`);
        assert(stored.length === array.length, `the optimizer's ${name} has ${array.length} elements`);
        array.set(stored);
      }
    }
    return state;
  }

  /** Reads the parameters of a step. */
  async load(step: number): Promise<void> {
    await this.#options.load(this.pathOf(step));
  }

  async #prune({ best }: Readonly<TrainState>): Promise<void> {
    const steps = await this.steps();
    const last = steps.slice(-Math.max(1, this.#options.keep));
    for (const step of steps) {
      if (!last.includes(step) && step !== best?.step) await removeTree(this.pathOf(step));
    }
  }
}

function optimizerTensors({ state }: Optimizer) {
  return state.flatMap((piece, i) =>
    Object.entries(piece.state.arrays).map(([name, data]) => ({
      name: `${i}.${name}`,
      dtype: "F32" as const,
      shape: [data.length],
      data,
    })),
  );
}

type StoredState = TrainState & {
  readonly format: number;
  readonly optimizer: readonly Readonly<Record<string, number>>[];
};

async function readState(folder: string): Promise<StoredState> {
  const path = join(folder, files.state);
  const text = await orMissing(readFile(path, "utf8"));
  const value = text === null ? null : parsed(text);
  if (typeof value !== "object" || value === null || !("optimizer" in value)) {
    throw new LorikeetError("invalid_value", `${path} is not the state of a run that this program wrote.`, {
      param: "--resume",
      found: path,
    });
  }
  if (isState(value)) return value;
  const found = "format" in value ? value.format : 1;
  throw new LorikeetError(
    "invalid_value",
    `The run began with another version (its checkpoints have format ${String(found)}, not ${format}) and cannot resume. --overwrite starts over; its weights are in ${folder}.`,
    { param: "--resume", found, allowed: format },
  );
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}

function isState(value: object): value is StoredState {
  if (!("format" in value) || value.format !== format || !("optimizer" in value)) return false;
  return Array.isArray(value.optimizer) && Object.keys(initialState()).every((key) => key in value);
}
