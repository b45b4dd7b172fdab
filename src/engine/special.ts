/** What only some adapters need of a step. These sessions are created when the first such adapter loads, so deployments without one pay nothing. */

import type { HostAdapter } from "../adapter/types.js";
import type { AdapterMode } from "../model/serving/adapters.js";
import type { BankHold } from "./adapters/bank.js";
import { embedsOf, headTokens } from "./adapters/tables.js";

export interface Special {
  /** Rows have gains, as DoRA's. */
  readonly gains: boolean;
  /** Rows whose rank is more than one sum. */
  readonly inBlocks: boolean;
  /** Rows have other embeddings than the base's. */
  readonly embeds: boolean;
  /** Rows have other logits from a head that is tied to the embeddings. */
  readonly adaptsTiedHead: boolean;
  /** Rows have other logits of single tokens. */
  readonly trainsTokens: boolean;
  /** Rows have other factors or biases of norms. */
  readonly changesNorms: boolean;
}

/** What of an adapter decides which sessions its rows need. */
export type AdapterKind = Pick<HostAdapter, "hasGains" | "rank" | "embedding" | "tokens" | "changesNorms"> &
  Partial<Pick<HostAdapter, "modules">>;

export const plain: Special = {
  ...{ gains: false, inBlocks: false, embeds: false },
  ...{ adaptsTiedHead: false, trainsTokens: false, changesNorms: false },
};

const keys = [
  "gains",
  "inBlocks",
  "embeds",
  "adaptsTiedHead",
  "trainsTokens",
  "changesNorms",
] as const satisfies readonly (keyof Special)[];

export const isPlain = (special: Special): boolean => keys.every((key) => !special[key]);

export const isOnly = (special: Special, allowed: readonly (keyof Special)[]): boolean =>
  keys.every((key) => !special[key] || allowed.includes(key));

export const specialKey = (mode: AdapterMode, special: Special): string =>
  [mode, ...keys.map((key) => special[key])].join(" ");

const union = (left: Special, right: Special): Special => ({
  gains: left.gains || right.gains,
  inBlocks: left.inBlocks || right.inBlocks,
  embeds: left.embeds || right.embeds,
  adaptsTiedHead: left.adaptsTiedHead || right.adaptsTiedHead,
  trainsTokens: left.trainsTokens || right.trainsTokens,
  changesNorms: left.changesNorms || right.changesNorms,
});

/** What rows of a step may need together once they may have this adapter, too. `had`: what they might before, each once. */
export function combined(had: readonly Special[], own: Special): readonly Special[] {
  const all = [...had, own, ...had.map((special) => union(special, own))];
  return [...new Map(all.map((special) => [specialKey("none", special), special])).values()];
}

export const hasGains = (adapters: readonly (BankHold | null)[]): boolean =>
  adapters.some((hold) => hold !== null && hold.gain !== null);

/** What the rows of a step need. */
export const specialOf = (adapters: readonly (BankHold | null)[], needsBlocks: (rank: number) => boolean): Special => ({
  gains: hasGains(adapters),
  inBlocks: adapters.some((hold) => hold !== null && needsBlocks(hold.rank)),
  embeds: adapters.some((hold) => hold !== null && embedsOf(hold)),
  adaptsTiedHead: adapters.some((hold) => hold?.adaptsTiedHead === true),
  trainsTokens: adapters.some((hold) => hold !== null && headTokens(hold) !== undefined),
  changesNorms: adapters.some((hold) => hold?.norms !== undefined),
});

export const kindOf = ({ rank, gain, embedding, tokens, norms }: BankHold): AdapterKind => ({
  ...{ rank, hasGains: gain !== null, changesNorms: norms !== undefined },
  ...(embedding && { embedding }),
  ...(tokens && { tokens }),
});
