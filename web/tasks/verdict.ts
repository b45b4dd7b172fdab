/** What a game of CartPole has shown of its policies so far, in plain words. */
import { stepSeconds } from "./cart-pole.js";

export interface Outcome {
  /** Whether the pole fell, or is still upright after some time. */
  readonly fell: boolean;
  readonly steps: number;
}

export interface Player {
  readonly model: string;
  /** With the motors as they are now; null: nothing is known yet. */
  readonly outcome: Outcome | null;
}

export interface Situation {
  readonly isRunning: boolean;
  readonly isReversed: boolean;
  readonly base: Player;
  /** null: the base plays alone. */
  readonly adapter: Player | null;
  /** What could be chosen to play beside the base. */
  readonly others: readonly string[];
}

export const secondsOf = (steps: number): string => `${(steps * stepSeconds).toFixed(1)} s`;

export function verdictOf({ isRunning, isReversed, base, adapter, others }: Situation): string {
  const players = [base, ...(adapter ? [adapter] : [])];
  const known = players.filter(({ outcome }) => outcome !== null);
  if (known.length === 0) {
    if (isRunning) return adapter ? `${base.model} and ${adapter.model} are playing.` : `${base.model} is playing.`;
    return adapter ? "Press Play: each policy balances its own pole, with the same motors." : "Press Play.";
  }
  if (!adapter) return aloneOf(base, isReversed, others);
  if (known.length < players.length) return known.map((player) => `${clauseOf(player)}.`).join(" ");
  const [isBaseDown, isAdapterDown] = [base.outcome?.fell, adapter.outcome?.fell];
  if (isBaseDown && !isAdapterDown) {
    const [why, learned] = isReversed
      ? [
          ", because each push that it chose went the other way",
          ": this adapter has learned to steer with reversed motors",
        ]
      : ["", ""];
    return `${clauseOf(base)}${why}. ${adapter.model} keeps it upright${learned}.`;
  }
  if (isAdapterDown && !isBaseDown) {
    const next = isReversed ? "" : ": it was not trained for these motors. Reverse them, and compare again";
    return `${clauseOf(base)}. ${clauseOf(adapter)}${next}.`;
  }
  if (isBaseDown) return `${clauseOf(base)}. ${clauseOf(adapter)}.`;
  return isReversed
    ? "Both keep the pole upright, although each push goes the other way."
    : "Both keep the pole upright. Reverse the motors to see whether they still do.";
}

function aloneOf(base: Player, isReversed: boolean, others: readonly string[]): string {
  if (base.outcome?.fell) {
    const why = isReversed ? ", because each push that it chose went the other way" : "";
    const [only] = others;
    const next =
      only === undefined
        ? ""
        : ` Choose ${others.length === 1 ? only : "an adapter"} to see it play beside ${base.model}.`;
    return `${clauseOf(base)}${why}.${next}`;
  }
  const next = isReversed
    ? ", although each push goes the other way."
    : ". Reverse the motors to see whether it still does.";
  return `${clauseOf(base)}${next}`;
}

const clauseOf = ({ model, outcome }: Player): string =>
  outcome?.fell ? `${model} lost the pole after ${secondsOf(outcome.steps)}` : `${model} keeps the pole upright`;
