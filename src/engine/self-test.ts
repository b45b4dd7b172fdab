/** What this device's kernels promise, measured at start: does a row's result depend on its neighbours or on chunking? */

import type { HostAdapter, HostModule } from "../adapter/types.js";
import { assert } from "../base/errors.js";
import { at } from "../base/list.js";
import type { ModuleGroup } from "../model/serving/adapters.js";
import type { FloatType } from "../model/serving/target.js";
import type { Device } from "../runtime/device/device.js";
import { released } from "../runtime/device/lost.js";
import type { BankHold } from "./adapters/bank.js";
import { placeBytes } from "./adapters/bank-class.js";
import { type Bank, openPool } from "./adapters/pool.js";
import type { KvCache } from "./kv-cache.js";
import type { DecodeRow, Runner } from "./runner.js";

export interface SelfTest {
  /** A row decodes to the same bits alone and among others, without an adapter and with one, whatever the others' ranks. */
  readonly rowsIndependent: boolean;
  /** A prompt in chunks gives the same bits as a whole one, without an adapter and with one. */
  readonly chunksEqual: boolean;
  /** Kernels that a device captured once give the same bits when they are replayed over other inputs; if not, none are. null on the CPU. */
  readonly replaysEqual: boolean | null;
  /** The base's logits are numbers: activations of some models are larger than float16 holds. */
  readonly finite: boolean;
  /** Prompt tokens a second, and milliseconds of a decode step of one row. */
  readonly prefillRate: number;
  readonly decodeMs: number;
}

export interface SelfTestLimits {
  readonly vocabSize: number;
  readonly capacity: number;
  /** Tokens of the longest text that the model was made for: there is no learned position after. */
  readonly maxPositions: number;
  readonly slots: number;
  readonly evenRows: boolean;
  /** Room for the adapters of the test, in the bytes that they take in a bank. */
  readonly adapterBytes: number;
  /** Tokens of the largest prefill chunk. */
  readonly maxChunk?: number;
  /** Where the adapters of the test lie. Default: the CPU. */
  readonly device?: Device;
  /** Of the activations. Default: float32. */
  readonly type?: FloatType;
}

/** Runs a few steps over slots 0 to 3, whose content is overwritten, before the first request comes. */
export async function selfTest(runner: Runner, cache: KvCache, limits: SelfTestLimits): Promise<SelfTest> {
  const bank = openPool({
    groups: runner.groups,
    places: ranks.length,
    maxBytes: limits.adapterBytes,
    ...(limits.device ? { device: limits.device } : {}),
    ...(limits.type ? { type: limits.type } : {}),
  });
  try {
    return await runSteps(runner, cache, bank, limits);
  } finally {
    await released(bank[Symbol.asyncDispose]());
  }
}

async function runSteps(runner: Runner, cache: KvCache, bank: Bank, limits: SelfTestLimits): Promise<SelfTest> {
  const { vocabSize } = limits;
  const { maxChunk = 64 } = limits;
  const length = Math.min(64, maxChunk, limits.capacity - 8, limits.maxPositions - 1) & ~3;
  const prompt = Array.from({ length }, (_, i) => (i * 7919 + 11) % vocabSize);
  const holds = await holdAdapters(bank, runner.groups, limits.adapterBytes);
  const prefill = (slot: number, start: number, tokens: number[], adapter: BankHold | null) =>
    runner.prefill({ slot, start, tokens, length, allRows: false, adapter }, cache, bank);
  // The same tokens are decoded again and again.
  const decode = (rows: readonly DecodeRow[]) =>
    runner.decode(
      rows.map((row) => ({ ...row, keepsStates: true })),
      cache,
      bank,
    );

  const finite = (await prefill(0, 0, prompt, null)).every(Number.isFinite);
  const started = performance.now();
  await prefill(0, 0, prompt, null);
  const prefillRate = length / ((performance.now() - started) / 1000);
  let decodeMs = 0;
  let [rowsIndependent, chunksEqual] = [true, true];
  let replaysEqual = runner.replays;
  // The base comes last: its step is the one whose time is kept.
  for (const adapter of [...holds, null]) {
    const neighbours = [adapter, ...holds, null];
    const whole = (await prefill(0, 0, prompt, adapter)).slice();
    const half = (length / 2) & ~1;
    await prefill(0, 0, prompt.slice(0, half), adapter);
    chunksEqual &&= sameBits(whole, await prefill(0, half, prompt.slice(half), adapter));

    const row = { token: at(prompt, 0), length, adapter };
    const alone = limits.evenRows ? [row, { token: 0, length: 0, adapter: null }] : [row];
    await decode(alone);
    const decodeStarted = performance.now();
    const expected = (await decode(alone)).slice(0, vocabSize);
    decodeMs = performance.now() - decodeStarted;
    for (let slot = 1; slot < Math.min(4, limits.slots); slot++) await prefill(slot, 0, prompt.slice(slot), null);
    for (let rows = 2; rows <= Math.min(4, limits.slots); rows += limits.evenRows ? 2 : 1) {
      const others = Array.from({ length: rows - 1 }, (_, i) => ({
        token: i + 1,
        length: length - 1 - i,
        adapter: at(neighbours, (i + rows) % neighbours.length),
      }));
      rowsIndependent &&= sameBits(expected, (await decode([row, ...others])).subarray(0, vocabSize));
    }
    if (replaysEqual) {
      // At another length than the one that was captured. The slot is written anew before it is read again.
      const other = alone.map((one) => ({
        ...one,
        token: (one.token + 1) % vocabSize,
        length: Math.max(0, one.length - 4),
      }));
      const replayed = (await decode(other)).slice();
      runner.replays = false;
      replaysEqual = sameBits(replayed, await decode(other));
      runner.replays = replaysEqual;
    }
  }
  for (const hold of holds) hold.release();
  return { rowsIndependent, chunksEqual, replaysEqual, finite, prefillRate, decodeMs };
}

/** One of a single tile, one of two. */
const ranks = [8, 24];

/** As many of the test's adapters as there is room for. */
async function holdAdapters(bank: Bank, groups: readonly ModuleGroup[], room: number): Promise<BankHold[]> {
  const holds: BankHold[] = [];
  for (const rank of ranks) {
    if (bank.bytes + placeBytes(groups, 2 * rank) > room) break;
    const hold = await bank.acquire(adapterOf(groups, rank));
    assert(hold, "an empty bank has room");
    holds.push(hold);
  }
  return holds;
}

/** Numbers of the size that adapters have, for every target module; modules of one width share them. */
function adapterOf(groups: readonly ModuleGroup[], rank: number): HostAdapter {
  const shared = new Map<number, Float32Array>();
  const numbers = (width: number): Float32Array => {
    const known = shared.get(width);
    if (known) return known;
    const values = Float32Array.from({ length: width * rank }, (_, i) => ((i * 7919) % 2003) / 20030 - 0.05);
    shared.set(width, values);
    return values;
  };
  const modules = new Map<string, HostModule>();
  for (const { parts } of groups) {
    for (const { path, inFeatures, outFeatures } of parts) {
      modules.set(path, { rank, dtype: "F32", a: numbers(inFeatures), b: numbers(outFeatures), scale: 1 });
    }
  }
  return { digest: `self-test:${rank}`, rank, bytes: 0, hasGains: false, modules };
}

function sameBits(a: Float32Array, b: Float32Array): boolean {
  const x = new Uint32Array(a.buffer, a.byteOffset, a.length);
  const y = new Uint32Array(b.buffer, b.byteOffset, b.length);
  return x.length === y.length && x.every((bits, i) => bits === y[i]);
}
