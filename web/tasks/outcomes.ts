/** What a game of CartPole has shown of each policy so far. */
import { useEffect, useState } from "preact/hooks";
import type { Ended } from "./episode.js";
import { settings } from "./settings.js";
import type { Outcome } from "./verdict.js";

/** A policy's longest time upright in steps, with the motors as they are and with reversed ones. */
export type LongestTimes = readonly [plain: number, reversed: number];

interface Outcomes {
  /** By policy, with the motors as they are now. */
  readonly outcomes: ReadonlyMap<string, Outcome>;
  readonly longest: ReadonlyMap<string, LongestTimes>;
  readonly note: (model: string, event: Ended) => void;
}

export function useOutcomes(isReversed: boolean): Outcomes {
  const [outcomes, setOutcomes] = useState<Outcomes["outcomes"]>(new Map());
  const [longest, setLongest] = useState<Outcomes["longest"]>(new Map());
  // What was seen with other motors does not stand under these.
  useEffect(() => setOutcomes(new Map()), [isReversed]);
  const note = (model: string, event: Ended): void => {
    const { steps, fell } = event;
    if (event.isReversed === settings.peek().isReversed) {
      setOutcomes((before) => {
        // A policy falls again and again: the first fall tells as much, and is read out once.
        const isKnown = before.get(model)?.fell === fell;
        return isKnown ? before : new Map(before).set(model, { fell, steps });
      });
    }
    setLongest((before) => new Map(before).set(model, withTime(before.get(model) ?? [0, 0], event)));
  };
  return { outcomes, longest, note };
}

const withTime = ([plain, reversed]: LongestTimes, { steps, isReversed }: Ended): LongestTimes =>
  isReversed ? [plain, Math.max(reversed, steps)] : [Math.max(plain, steps), reversed];
