/** Chooses an adapter that answers beside its base, or the base alone, and says in the adapter's own words what it does. */
import { useEffect, useState } from "preact/hooks";
import { adapters } from "../adapters/live.js";
import type { AdapterCard } from "../client/types.js";
import { NamePicker } from "../parts/name-picker.js";
import { summaryOf } from "../parts/summary.js";
import { client, server } from "../session.js";

/** The base and its adapters, as far as they do a task. */
export function namesOf(base: string, task: string): readonly string[] {
  const served = [
    ...(server.value?.bases ?? []).filter(({ name }) => name === base),
    ...(adapters.value ?? []).filter((adapter) => adapter.base === base),
  ];
  return served.filter(({ tasks }) => tasks.includes(task)).map(({ name }) => name);
}

/** Those that serve a task, and of them the chosen one, or the first while no such model is served. */
export function useModels(
  base: string,
  task: string,
  chosen: string,
): { readonly model: string; readonly names: readonly string[] } {
  const names = namesOf(base, task);
  return { model: adapters.value === null || names.includes(chosen) ? chosen : (names[0] ?? base), names };
}

/** Cards are read of this many adapters beside the chosen one: with thousands, examples of all would help nobody. */
const mostCards = 12;

interface Cards {
  /** By their names, without those that cannot be read. */
  readonly cards: ReadonlyMap<string, AdapterCard>;
  /** False until they have been read for the first time. */
  readonly isRead: boolean;
}

/** The cards of a form's adapters. */
export function useCards(model: string, names: readonly string[]): Cards {
  const [state, setState] = useState<Cards>({ cards: new Map(), isRead: false });
  const wanted = [...new Set([model, ...names.slice(0, mostCards)])];
  const served = (adapters.value ?? []).filter(({ name }) => wanted.includes(name));
  useEffect(() => {
    let isCurrent = true;
    const found = served.map(({ name }) => client.card(name).catch(() => null));
    void Promise.all(found).then((all) => {
      const cards = new Map(all.flatMap((card) => (card ? [[card.name, card] as const] : [])));
      if (isCurrent) setState({ cards, isRead: true });
    });
    return () => {
      isCurrent = false;
    };
  }, [served.map(({ name, digest }) => `${name} ${digest}`).join()]);
  return state;
}

/** More models are chosen by name. */
const mostButtons = 24;

interface ModelSwitchProps {
  readonly base: string;
  readonly model: string;
  readonly names: readonly string[];
  readonly card: AdapterCard | null;
  readonly onSwitch: (name: string) => void;
}

export function ModelSwitch({ base, model, names, card, onSwitch }: ModelSwitchProps) {
  if (names.every((name) => name === base)) return null;
  const summary = model === base ? `${base} alone, without an adapter.` : summaryOf(card?.readme ?? null);
  return (
    <div class="model-switch">
      <div class="switch-line">
        <span class="label">Adapter</span>
        {names.length > mostButtons ? (
          <NamePicker id="task-models" label="Adapter" name={model} names={names} onPick={onSwitch} />
        ) : (
          <div class="segments" role="group" aria-label="Adapter">
            {names.map((name) => (
              <button key={name} type="button" aria-pressed={name === model} onClick={() => onSwitch(name)}>
                {name === base ? "none" : name}
              </button>
            ))}
          </div>
        )}
      </div>
      <p class="summary muted">{summary}</p>
    </div>
  );
}
