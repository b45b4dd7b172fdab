/** The sizes of a run, and which steps it measures. Data only; what a step is called here is what every other file calls it. */

import type { BaseDtype } from "../engine/start.js";
import { greedy, type SamplingParams } from "../engine/types.js";

export const rowCounts = [1, 4, 16] as const;
export const maxRows = 16;
/** Tokens that each row's slot holds already, of `slotTokens`. */
export const contextTokens = 256;
export const slotTokens = 1024;
export const chunkTokens = 256;

/** Which adapters the rows of a step use, one entry a row: an index into the ranks of a set, or null for the base. */
export type AdapterSet = "base" | "shared" | "distinct" | "shared r64" | "distinct r64" | "16 r8" | "15 r8 + r64";

/** The ranks of the adapters that a set holds. */
export const setRanks: Readonly<Record<AdapterSet, readonly number[]>> = {
  base: [],
  shared: [16],
  distinct: Array.from({ length: maxRows }, () => 16),
  "shared r64": [64],
  "distinct r64": Array.from({ length: maxRows }, () => 64),
  "16 r8": Array.from({ length: maxRows }, () => 8),
  "15 r8 + r64": Array.from({ length: maxRows }, (_, i) => (i === maxRows - 1 ? 64 : 8)),
};

export type Sampling = "greedy" | "sampled";

export const samplings: Readonly<Record<Sampling, SamplingParams>> = {
  greedy,
  sampled: { ...greedy, temperature: 0.8, topP: 0.95, seed: 1 },
};

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

/** Every step of a weights' form that is measured. */
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
  decode("shared r64", 1, "greedy");
  for (const set of ["distinct r64", "16 r8", "15 r8 + r64"] as const) decode(set, maxRows, "greedy");
  for (const set of ["base", "shared"] as const) {
    cases.push({ kind: "prefill", dtype, set, rows: chunkTokens, sampling: null });
  }
  return cases;
}

/** How much of everything is measured. */
export interface Effort {
  readonly rounds: number;
  readonly warmups: number;
  /** Steps of one sample, at least. */
  readonly steps: number;
  /** How long a sample's steps take, at least; and so long steps run before it that do not count. */
  readonly sampleMs: number;
  readonly serviceRounds: number;
  /** Tokens of each stream while all run. */
  readonly serviceTokens: number;
  readonly starts: number;
  /** Memory of the read test. */
  readonly readBytes: number;
}

const full: Effort = {
  rounds: 5,
  warmups: 1,
  steps: 3,
  // After another session's step that one's threads spin on for tens of milliseconds.
  sampleMs: 80,
  serviceRounds: 3,
  serviceTokens: 40,
  starts: 11,
  readBytes: 512 * 2 ** 20,
};

export const efforts = {
  full,
  quick: { ...full, rounds: 3, sampleMs: 30, serviceRounds: 1, serviceTokens: 24, starts: 3 },
  /** For the shape that stands for none. */
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
