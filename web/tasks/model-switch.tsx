/** Chooses a base or one of its adapters, and says in the adapter's own words what it does. */
import { useEffect, useState } from "preact/hooks";
import { adapters } from "../adapters/live.js";
import type { AdapterCard } from "../client/types.js";
import { summaryOf } from "../parts/summary.js";
import { client } from "../session.js";

/** The chosen model, or the base while no such adapter is served, and the base's adapters. */
export function useModels(base: string, chosen: string): { readonly model: string; readonly own: readonly string[] } {
  const own = adapters.value?.filter((adapter) => adapter.base === base).map(({ name }) => name) ?? [];
  return { model: adapters.value === null || own.includes(chosen) ? chosen : base, own };
}

/** The card of an adapter; null for a base, and for a card that cannot be read. */
export function useCard(base: string, model: string): AdapterCard | null {
  const [card, setCard] = useState<AdapterCard | null>(null);
  useEffect(() => {
    let isCurrent = true;
    setCard(null);
    if (model !== base)
      client.card(model).then(
        (found) => isCurrent && setCard(found),
        () => {},
      );
    return () => {
      isCurrent = false;
    };
  }, [base, model]);
  return card;
}

interface ModelSwitchProps {
  readonly base: string;
  readonly model: string;
  readonly own: readonly string[];
  readonly card: AdapterCard | null;
  readonly onSwitch: (name: string) => void;
}

export function ModelSwitch({ base, model, own, card, onSwitch }: ModelSwitchProps) {
  const summary = model === base ? "The base, without an adapter." : summaryOf(card?.readme ?? null);
  return (
    <div class="model-switch">
      <div class="segments" role="group" aria-label="Model">
        {[base, ...own].map((name) => (
          <button key={name} type="button" aria-pressed={name === model} onClick={() => onSwitch(name)}>
            {name}
          </button>
        ))}
      </div>
      <p class="summary muted">{summary}</p>
    </div>
  );
}
