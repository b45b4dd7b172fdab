/** The ratios of the benchmark's series, with their targets. */

import type { BaseDtype } from "../engine/start.js";
import { memoryIds } from "./memory.js";
import { type AdapterSet, caseId, chunkTokens, maxRows, type Sampling } from "./plan.js";
import { ratioOf, type SeriesBook, type Spread } from "./series.js";
import { serviceIds } from "./service.js";
import { startIds } from "./starts.js";

export interface RatioRule {
  readonly label: string;
  /** Series ids. `under` null: the number itself. */
  readonly over: string;
  readonly under: string | null;
  /** null: only shown. */
  readonly target: { readonly atLeast: number } | { readonly atMost: number } | null;
}

export interface Ratio extends RatioRule {
  readonly value: Spread;
  /** Whether the median meets the target; null without one. */
  readonly met: boolean | null;
}

export const readBandwidthId = "read bandwidth";
export const batchAdaptersId = "service/adapters of a step";
/** The id of a case's series of bytes read per second. */
export const movedId = (caseName: string): string => `${caseName}/moved`;

/** The target for equal speed: on a quiet machine such a ratio varies this much. */
const asFast = 0.97;

/** All ratios of a run with these forms of the weights. */
export function ratioRules(dtypes: readonly BaseDtype[]): RatioRule[] {
  return [...dtypes.flatMap(stepRules), ...formRules(dtypes), ...serviceRules];
}

function stepRules(dtype: BaseDtype): RatioRule[] {
  const decode = (set: AdapterSet, rows: number, sampling: Sampling = "greedy"): string =>
    caseId({ kind: "decode", dtype, set, rows, sampling });
  const prefill = (set: "base" | "shared"): string =>
    caseId({ kind: "prefill", dtype, set, rows: chunkTokens, sampling: null });
  const atLeast = (label: string, over: string, under: string, target: number | null): RatioRule => ({
    label: `${dtype}: ${label}`,
    over,
    under,
    target: target === null ? null : { atLeast: target },
  });
  const isInt4 = dtype === "int4";
  const base = decode("base", maxRows);
  return [
    atLeast(
      "bytes of base, batch 1, over read bandwidth",
      movedId(decode("base", 1)),
      readBandwidthId,
      isInt4 ? 0.6 : null,
    ),
    atLeast("base, batch 4 over batch 1", decode("base", 4), decode("base", 1), isInt4 ? 1.75 : null),
    atLeast("base, batch 16 over batch 1", base, decode("base", 1), isInt4 ? 3.4 : null),
    atLeast("one adapter over base, batch 1", decode("shared", 1), decode("base", 1), 0.92),
    atLeast("one adapter shared over base, batch 16", decode("shared", maxRows), base, 0.82),
    atLeast("16 distinct over base, batch 16", decode("distinct", maxRows), base, 0.62),
    atLeast(
      "15 rank 8 with one rank 64 over 16 rank 8",
      decode("15 r8 + r64", maxRows),
      decode("16 r8", maxRows),
      0.85,
    ),
    atLeast("one rank 64 over base, batch 1", decode("shared r64", 1), decode("base", 1), null),
    atLeast("16 distinct rank 64 over base, batch 16", decode("distinct r64", maxRows), base, null),
    atLeast("sampled over greedy, base, batch 1", decode("base", 1, "sampled"), decode("base", 1), 0.93),
    atLeast("sampled over greedy, base, batch 16", decode("base", maxRows, "sampled"), base, 0.93),
    atLeast(
      "sampled over greedy, 16 distinct",
      decode("distinct", maxRows, "sampled"),
      decode("distinct", maxRows),
      0.93,
    ),
    atLeast(
      "masked over sampled, base, batch 16",
      decode("base", maxRows, "masked"),
      decode("base", maxRows, "sampled"),
      0.95,
    ),
    atLeast("prefill, one adapter over base", prefill("shared"), prefill("base"), null),
  ];
}

/** int8 rows against int4 blocks, if both were measured. */
function formRules(dtypes: readonly BaseDtype[]): RatioRule[] {
  if (!dtypes.includes("int4") || !dtypes.includes("int8")) return [];
  const batch = (dtype: BaseDtype): string =>
    caseId({ kind: "decode", dtype, set: "base", rows: maxRows, sampling: "greedy" });
  const prefill = (dtype: BaseDtype): string =>
    caseId({ kind: "prefill", dtype, set: "base", rows: chunkTokens, sampling: null });
  return [
    { label: "int8 over int4, base, batch 16", over: batch("int8"), under: batch("int4"), target: { atLeast: 1.15 } },
    { label: "int8 over int4, prefill", over: prefill("int8"), under: prefill("int4"), target: { atLeast: 1.5 } },
  ];
}

const serviceRules: readonly RatioRule[] = [
  {
    label: "over HTTP over the engine, 16 clients, 16 adapters",
    over: serviceIds.http,
    under: serviceIds.engine,
    target: { atLeast: 0.9 },
  },
  { label: "adapters of a step, 16 clients, 16 adapters", over: batchAdaptersId, under: null, target: { atLeast: 14 } },
  {
    label: "base only, a server full of adapters over one with none",
    over: serviceIds.full,
    under: serviceIds.bare,
    target: { atLeast: asFast },
  },
  {
    label: "start from host memory over a step and 1.5 copies",
    over: startIds.host,
    under: startIds.hostAllowed,
    target: { atMost: 1 },
  },
  { label: "start from disk over reading the file", over: startIds.disk, under: startIds.read, target: { atMost: 3 } },
  { label: "host memory over the file", over: memoryIds.host, under: memoryIds.file, target: { atMost: 1.1 } },
  {
    label: "active set over one fp32 copy each",
    over: memoryIds.active,
    under: memoryIds.copies,
    target: { atMost: 1 },
  },
];

/** The ratios of a run. Throws `internal` if a series is missing. */
export function computeRatios(rules: readonly RatioRule[], book: SeriesBook): Ratio[] {
  return rules.map((rule) => {
    const over = book.get(rule.over);
    const one = { id: "1", unit: "", samples: over.samples.map(() => 1) };
    const value = ratioOf(over, rule.under === null ? one : book.get(rule.under));
    return { ...rule, value, met: rule.target === null ? null : isMet(value.median, rule.target) };
  });
}

function isMet(value: number, target: NonNullable<RatioRule["target"]>): boolean {
  return "atLeast" in target ? value >= target.atLeast : value <= target.atMost;
}
