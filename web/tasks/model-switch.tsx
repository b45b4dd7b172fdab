/** Chooses a base or one of its adapters, and says in the adapter's own words what it does. */
import { useEffect, useState } from "preact/hooks";
import { adapters } from "../adapters/live.js";
import type { AdapterCard } from "../client/types.js";
import { summaryOf } from "../parts/summary.js";
import { client, server } from "../session.js";

/** Those that serve a task, and of them the chosen one, or the first while no such model is served. */
export function useModels(
  base: string,
  task: string,
  chosen: string,
): { readonly model: string; readonly names: readonly string[] } {
  const served = [
    ...(server.value?.bases ?? []).filter(({ name }) => name === base),
    ...(adapters.value ?? []).filter((adapter) => adapter.base === base),
  ];
  const names = served.filter(({ tasks }) => tasks.includes(task)).map(({ name }) => name);
  return { model: adapters.value === null || names.includes(chosen) ? chosen : (names[0] ?? base), names };
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
  readonly names: readonly string[];
  readonly card: AdapterCard | null;
  readonly onSwitch: (name: string) => void;
}

export function ModelSwitch({ base, model, names, card, onSwitch }: ModelSwitchProps) {
  const summary = model === base ? "The base, without an adapter." : summaryOf(card?.readme ?? null);
  return (
    <div class="model-switch">
      <div class="segments" role="group" aria-label="Model">
        {names.map((name) => (
          <button key={name} type="button" aria-pressed={name === model} onClick={() => onSwitch(name)}>
            {name}
          </button>
        ))}
      </div>
      <p class="summary muted">{summary}</p>
    </div>
  );
}
