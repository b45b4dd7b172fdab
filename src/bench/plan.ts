/** The sizes of a run, the steps that it measures, and their names in all reports. Data only. */

import type { BaseDtype } from "../engine/start.js";
import { greedy, type SamplingParams } from "../engine/types.js";

export const rowCounts = [1, 4, 16] as const;
export const maxRows = 16;
/** Tokens already in each row's slot, of `slotTokens`. */
export const contextTokens = 256;
export const slotTokens = 1024;
export const chunkTokens = 256;

/** The adapters of a step's rows, one entry per row: an index into the ranks of a set, or null for the base. */
export type AdapterSet = "base" | "shared" | "distinct" | "shared r64" | "distinct r64" | "16 r8" | "15 r8 + r64";

/** The ranks of a set's adapters. */
export const setRanks: Readonly<Record<AdapterSet, readonly number[]>> = {
  base: [],
  shared: [16],
  distinct: Array.from({ length: maxRows }, () => 16),
  "shared r64": [64],
  "distinct r64": Array.from({ length: maxRows }, () => 64),
  "16 r8": Array.from({ length: maxRows }, () => 8),
  "15 r8 + r64": Array.from({ length: maxRows }, (_, i) => (i === maxRows - 1 ? 64 : 8)),
};

/** Masked: sampled, every row held to a grammar. */
export type Sampling = "greedy" | "sampled" | "masked";

const sampled: SamplingParams = { ...greedy, temperature: 0.8, topP: 0.95, seed: 1 };

/** Of masked rows without their grammar. */
export const samplings: Readonly<Record<Sampling, SamplingParams>> = { greedy, sampled, masked: sampled };

export interface DecodeCase {
  readonly kind: "decode";
  readonly dtype: BaseDtype;
  readonly set: AdapterSet;
  readonly rows: number;
  readonly sampling: Sampling;
}

export interface PrefillCase {
  readonly kind: "prefill";
  readonly dtype: BaseDtype;
  readonly set: "base" | "shared";
  /** Tokens of the chunk. */
  readonly rows: number;
  readonly sampling: null;
}

export type StepCase = DecodeCase | PrefillCase;

/** The name of a case's series: `int4/decode/distinct/16/sampled`. */
export function caseId({ dtype, kind, set, rows, sampling }: StepCase): string {
  return [dtype, kind, set, rows, ...(sampling === null ? [] : [sampling])].join("/");
}

/** All measured steps of a form of the weights. */
export function stepCases(dtype: BaseDtype): StepCase[] {
  const cases: StepCase[] = [];
  const decode = (set: AdapterSet, rows: number, sampling: Sampling): void => {
    cases.push({ kind: "decode", dtype, set, rows, sampling });
  };
  for (const rows of rowCounts) {
    for (const set of ["base", "shared", "distinct"] as const) {
      if (set === "distinct" && rows === 1) continue; // one row with an adapter is "shared"
      decode(set, rows, "greedy");
      decode(set, rows, "sampled");
    }
  }
  decode("base", maxRows, "masked");
  decode("shared r64", 1, "greedy");
  for (const set of ["distinct r64", "16 r8", "15 r8 + r64"] as const) decode(set, maxRows, "greedy");
  for (const set of ["base", "shared"] as const) {
    cases.push({ kind: "prefill", dtype, set, rows: chunkTokens, sampling: null });
  }
  return cases;
}

/** How much is measured. */
export interface Effort {
  readonly rounds: number;
  readonly warmups: number;
  /** The fewest steps of one sample. */
  readonly steps: number;
  /** The minimum duration of a sample's steps, and of the uncounted steps before it. */
  readonly sampleMs: number;
  readonly serviceRounds: number;
  /** Tokens of each stream while all streams run. */
  readonly serviceTokens: number;
  readonly starts: number;
  /** Memory of the bandwidth test. */
  readonly readBytes: number;
}

const full: Effort = {
  rounds: 5,
  warmups: 1,
  steps: 3,
  // After a step of another session its threads keep spinning for tens of milliseconds.
  sampleMs: 80,
  serviceRounds: 3,
  serviceTokens: 40,
  starts: 11,
  readBytes: 512 * 2 ** 20,
};

export const efforts = {
  full,
  quick: { ...full, rounds: 3, sampleMs: 30, serviceRounds: 1, serviceTokens: 24, starts: 3 },
  /** For the tiny shape, which represents no real model. */
  trial: {
    rounds: 2,
    warmups: 0,
    steps: 1,
    sampleMs: 0,
    serviceRounds: 1,
    serviceTokens: 8,
    starts: 2,
    readBytes: 2 ** 20,
  },
} as const satisfies Record<string, Effort>;
