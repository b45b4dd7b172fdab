/** What is measured on a card: steps of up to 64 rows over up to 64 adapters. Data only. */

import type { BaseDtype } from "../engine/start.js";
import type { RatioRule } from "./ratios.js";

export const maxCardRows = 64;
/** Tokens already in each row's slot, of `cardSlotTokens`. */
export const cardContextTokens = 256;
export const cardSlotTokens = 512;
export const cardRank = 16;

export interface CardStep {
  readonly kind: "decode" | "prefill";
  readonly dtype: BaseDtype;
  /** Rows of a decode step, tokens of a prompt. */
  readonly rows: number;
  /** Distinct adapters of its rows; 0 for the base. */
  readonly adapters: number;
}

/** The name of a step's series: `int4/decode/16/adapters/4`. */
export const cardStepId = ({ kind, dtype, rows, adapters }: CardStep): string =>
  `${dtype}/${kind}/${rows}/adapters/${adapters}`;

export const cardBandwidthId = "card/bandwidth";
export const activationId = "card/activation";
export const cardMovedId = (step: CardStep): string => `${cardStepId(step)}/moved`;

const batches = [1, 4, 16, maxCardRows] as const;

/** Each batch size with the base, with one shared adapter, and with one adapter per row; the largest also with all counts between. */
export function cardSteps(dtype: BaseDtype): CardStep[] {
  const decode = (rows: number, adapters: number): CardStep => ({ kind: "decode", dtype, rows, adapters });
  const prefill = (adapters: number): CardStep => ({ kind: "prefill", dtype, rows: cardContextTokens, adapters });
  return [
    ...batches.flatMap((rows) => [...new Set([0, 1, rows])].map((adapters) => decode(rows, adapters))),
    ...[2, 4, 8, 16, 32].map((adapters) => decode(maxCardRows, adapters)),
    prefill(0),
    prefill(1),
  ];
}

/** The targets: half of the bandwidth at batch 1, and at most a tenth lost between one adapter and sixteen. */
export function cardRules(dtype: BaseDtype): RatioRule[] {
  const step = (rows: number, adapters: number): CardStep => ({ kind: "decode", dtype, rows, adapters });
  const rule = (label: string, over: string, under: string, atLeast: number | null): RatioRule => ({
    label: `${dtype}: ${label}`,
    over,
    under,
    target: atLeast === null ? null : { atLeast },
  });
  const [one, all] = [cardStepId(step(1, 0)), maxCardRows];
  return [
    rule("bytes of base, batch 1, over bandwidth", cardMovedId(step(1, 0)), cardBandwidthId, 0.5),
    rule("base, batch 16 over batch 1", cardStepId(step(16, 0)), one, null),
    rule("base, batch 64 over batch 1", cardStepId(step(all, 0)), one, null),
    rule("one adapter over base, batch 1", cardStepId(step(1, 1)), one, null),
    rule("16 distinct over one adapter, batch 16", cardStepId(step(16, 16)), cardStepId(step(16, 1)), 0.9),
    rule("16 distinct over one adapter, batch 64", cardStepId(step(all, 16)), cardStepId(step(all, 1)), 0.9),
    rule("64 distinct over one adapter, batch 64", cardStepId(step(all, all)), cardStepId(step(all, 1)), null),
  ];
}
