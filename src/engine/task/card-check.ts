/**
 * Tries a model on a card before it is served: every node that computes has a kernel there, and the base and adapters give what the CPU
 * gives. Nodes over integers that compute sizes, positions and masks may run on the host, where ONNX Runtime puts them for any card.
 */

import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { hasCode, LorikeetError } from "../../base/errors.js";
import { at } from "../../base/list.js";
import { median } from "../../base/median.js";
import type { TaskModule } from "../../model/task/target-modules.js";
import { cpu } from "../../runtime/device/cpu.js";
import type { Device } from "../../runtime/device/device.js";
import { type RanNode, readRanNodes } from "../../runtime/profile.js";
import { bfloat16ToFloat32, float16ToFloat32 } from "../../tensor/half.js";
import { TaskBank } from "./bank.js";
import { type RunnerOptions, type RunRow, TaskRunner } from "./runner.js";
import type { Stacks } from "./stacks.js";
import { fullTrialAdapters, trialModules, trialRow } from "./trial-adapters.js";
import type { Trial } from "./trial-inputs.js";
import type { TaskData, TaskTensor } from "./types.js";

/**
 * The largest difference from the CPU, as a share of an output's largest number. Another order of sums differs by a hundredth of it; 16-bit
 * weights round ten times as much, for the CPU computes with them in 32 bits.
 */
const tolerance = 1e-3;
const halfTolerance = 1e-2;

export interface CardCheckOptions {
  readonly runner: Omit<RunnerOptions, "profile" | "weights"> & { readonly device: Device };
  /** The model's, for messages. */
  readonly name: string;
  /** null: the model did not run with trial inputs. */
  readonly trial: Trial | null;
  /** Modules that adapters can change; empty without adapters. */
  readonly modules: readonly TaskModule[];
  /** Refuses a card on which a batch takes as long as on the CPU, or longer. */
  readonly mustGain: boolean;
  readonly signal?: AbortSignal;
}

/** A runner on the card that has passed. Throws `device_unavailable` for a model that the card does not run, runs wrong, or not faster than it must. */
export async function openOnCard(options: CardCheckOptions): Promise<TaskRunner> {
  const folder = await mkdtemp(join(tmpdir(), "lorikeet-card-"));
  const runner = new TaskRunner({ ...options.runner, profile: join(folder, "nodes") });
  try {
    await using reference = new TaskRunner({ ...options.runner, device: cpu });
    const reason = await faultOf(runner, reference, options);
    if (reason !== null) throw refused(options, reason);
    if (options.mustGain) await assertFaster(runner, reference, options);
    return runner;
  } catch (error) {
    await runner[Symbol.asyncDispose]();
    if (!hasCode(error, "runtime_failed")) throw error;
    throw refused(options, `a run failed: ${error.message}`, error);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

function refused({ name, runner: { device } }: CardCheckOptions, reason: string, cause?: LorikeetError): LorikeetError {
  const message = `The model ${name} cannot run on ${device.name}: ${reason.replace(/\.$/, "")}. Use --device cpu.`;
  return new LorikeetError("device_unavailable", message, cause ? { cause } : {});
}

async function assertFaster(runner: TaskRunner, reference: TaskRunner, options: CardCheckOptions): Promise<void> {
  const { trial, name, signal } = options;
  const { isBatched, maxBatch, device } = options.runner;
  if (trial === null) return;
  const count = isBatched ? Math.min(timedRows, maxBatch) : 1;
  const rows = Array.from({ length: count }, (_, i) => trialRow(trial, i, 0));
  const slow = await slowness(
    () => runner.run(rows, null, signal),
    () => reference.run(rows, null, signal),
  );
  if (slow === null) return;
  const batch = count === 1 ? "one row" : `a batch of ${count} rows`;
  const message = `The model ${name} is not faster on ${device.name}: ${batch} takes ${slow.cardMs} ms there and ${slow.cpuMs} ms on the CPU.`;
  throw new LorikeetError("device_unavailable", message);
}

const timedRows = 8;
const timedRuns = 5;

/** Median milliseconds of both, to two digits, where the card does not gain; null where it does. The first run of each prepares, and is not counted. */
export async function slowness(
  onCard: () => Promise<unknown>,
  onCpu: () => Promise<unknown>,
  now: () => number = () => performance.now(),
): Promise<{ readonly cardMs: number; readonly cpuMs: number } | null> {
  const medianOf = async (run: () => Promise<unknown>): Promise<number> => {
    await run();
    const times: number[] = [];
    for (let i = 0; i < timedRuns; i++) {
      const began = now();
      await run();
      times.push(now() - began);
    }
    return median(times);
  };
  const [card, host] = [await medianOf(onCard), await medianOf(onCpu)];
  return card < host ? null : { cardMs: Number(card.toPrecision(2)), cpuMs: Number(host.toPrecision(2)) };
}

/** Why the card cannot run the model; null if it can. */
async function faultOf(runner: TaskRunner, reference: TaskRunner, options: CardCheckOptions): Promise<string | null> {
  const { trial, modules } = options;
  if (trial === null) return "it did not run with trial inputs, so its results cannot be compared with the CPU's";
  const differences = [await largestDifference(runner, reference, [0], null, trial, options)];
  const { longer } = trial;
  if (longer && (await runs(reference, longer, options))) {
    differences.push(await largestDifference(runner, reference, [0], null, longer, options));
  }
  const chosen = trialModules(modules);
  if (chosen.length > 0) {
    const bank = new TaskBank({ modules, maxPlaces: 2, maxBytes: Number.POSITIVE_INFINITY });
    const { stacks, places } = await bank.place(fullTrialAdapters(chosen));
    differences.push(await largestDifference(runner, reference, [...places, 0], stacks, trial, options));
  }
  const files = await runner.endProfiles();
  await runner.forgetAdapted();
  const difference = Math.max(...differences);
  const isHalf = options.runner.graph.initializers.some(({ value: { type } }) => type === "float16");
  const allowed = isHalf ? halfTolerance : tolerance;
  if (!(difference <= allowed)) {
    return `its results differ from the CPU's by ${difference.toPrecision(2)} of the largest one; ${allowed} is allowed`;
  }
  const missing = missingKernels((await Promise.all(files.map(readRanNodes))).flat());
  return missing.length > 0 ? `the card has no kernel for ${missing.join(", ")}` : null;
}

/** Whether the model takes these inputs. */
async function runs(reference: TaskRunner, trial: Trial, { signal }: CardCheckOptions): Promise<boolean> {
  try {
    await reference.run([trialRow(trial, 0, 0)], null, signal);
    return true;
  } catch (error) {
    if (hasCode(error, "runtime_failed")) return false;
    throw error;
  }
}

/** Runs a single row of each of these places, and a full batch of them if there are batches. */
async function largestDifference(
  runner: TaskRunner,
  reference: TaskRunner,
  places: readonly number[],
  stacks: Stacks | null,
  trial: Trial,
  { runner: { isBatched, maxBatch }, signal }: CardCheckOptions,
): Promise<number> {
  const rowsOf = (count: number): RunRow[] =>
    Array.from({ length: count }, (_, i) => trialRow(trial, i, at(places, i % places.length)));
  const batches =
    isBatched && maxBatch > 1 ? [rowsOf(1), rowsOf(Math.min(4, maxBatch))] : rowsOf(places.length).map((row) => [row]);
  let largest = 0;
  for (const rows of batches) {
    const expected = await reference.run(rows, stacks, signal);
    const found = await runner.run(rows, stacks, signal);
    for (const [row, outputs] of expected.entries()) {
      for (const [name, tensor] of outputs) {
        const other = at(found, row).get(name);
        largest = Math.max(largest, other ? distance(tensor, other) : Number.POSITIVE_INFINITY);
      }
    }
  }
  return largest;
}

/** The largest difference, as a share of the largest number. Infinite where one has a number and the other none. */
export function distance(one: TaskTensor, other: TaskTensor): number {
  const [expected, found] = [numbersOf(one), numbersOf(other)];
  if (expected.length !== found.length) return Number.POSITIVE_INFINITY;
  let [difference, size] = [0, 0];
  for (const [i, value] of expected.entries()) {
    const [wanted, given] = [Number(value), Number(found[i])];
    if (Object.is(wanted, given)) continue;
    const apart = Math.abs(wanted - given);
    if (!Number.isFinite(apart)) return Number.POSITIVE_INFINITY;
    difference = Math.max(difference, apart);
  }
  for (const value of expected) if (Number.isFinite(Number(value))) size = Math.max(size, Math.abs(Number(value)));
  return difference === 0 ? 0 : difference / size;
}

function numbersOf({ type, data }: TaskTensor): TaskData {
  if (!(data instanceof Uint16Array)) return data;
  return type === "float16" ? float16ToFloat32(data) : bfloat16ToFloat32(data);
}

/** Operators that ran on the CPU and should not: those that read floats, or, where a number of the card's was brought back, all of them. */
function missingKernels(ran: readonly RanNode[]): string[] {
  const onHost = ran.filter(({ provider }) => provider === "CPUExecutionProvider");
  const isBack = ran.some(({ operator }) => operator === "MemcpyToHost");
  const wrong = isBack ? onHost : onHost.filter(({ inputTypes }) => inputTypes.some((type) => !isExact(type)));
  return [...new Set(wrong.map(({ operator }) => operator))].sort();
}

const isExact = (type: string): boolean => type === "bool" || type.startsWith("int") || type.startsWith("uint");
