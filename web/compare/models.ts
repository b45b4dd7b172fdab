/** The models that columns can ask, and examples to try them with, as the adapters' authors wrote them. */
import { signal } from "@preact/signals";
import { generation } from "../client/tasks.js";
import type { AdapterCard, ModelInfo } from "../client/types.js";
import { summaryOf } from "../parts/summary.js";
import { client, noteFailure, server } from "../session.js";
import { type Preset, typedFirst } from "./opening.js";
import type { Target } from "./target.js";

export interface Models {
  /** The first base that generates text. */
  readonly base: string;
  readonly maxContext: number | null;
  /** Bases and adapters that write texts. */
  readonly names: readonly string[];
  readonly adapters: readonly string[];
  /** The base of each adapter. */
  readonly parents: ReadonlyMap<string, string>;
  /** Adapters of these bases that were trained for something else, such as labels. They are not offered. */
  readonly others: ReadonlyMap<string, AdapterOfTask>;
}

export interface AdapterOfTask {
  readonly name: string;
  readonly base: string;
  readonly tasks: readonly string[];
}

/** Cards are read of this many adapters; with thousands, examples of all would help nobody. */
const mostCards = 12;

export const models = signal<Models | null>(null);
export const presets = signal<readonly Preset[]>([]);
/** What adapters do, in a sentence of their authors. */
export const summaries = signal<ReadonlyMap<string, string>>(new Map());

export async function loadModels(): Promise<void> {
  try {
    models.value = modelsOf(await client.models());
    const cards = await cardsOf(models.value.adapters.slice(0, mostCards));
    const examples = cards.flatMap(({ name: adapter, examples }) =>
      examples.flatMap(({ text, ...example }) => (text === null ? [] : [{ ...example, text, adapter }])),
    );
    presets.value = typedFirst(examples);
    summaries.value = new Map(cards.map(({ name, readme }) => [name, summaryOf(readme) ?? ""] as const));
  } catch (error) {
    noteFailure(error);
  }
}

function modelsOf(listed: readonly ModelInfo[]): Models {
  const writes = ({ tasks }: { readonly tasks: readonly string[] }): boolean => tasks.includes(generation);
  const bases = (server.value?.bases ?? []).filter(writes).map(({ name }) => name);
  const found = listed.flatMap((model) => {
    const { id: name, parent: base, tasks } = model;
    return base !== null && bases.includes(base) ? [{ name, base, tasks }] : [];
  });
  const writers = found.filter(writes);
  const adapters = writers.map(({ name }) => name);
  const [base = ""] = bases;
  return {
    base,
    maxContext: listed.find(({ id }) => id === base)?.max_model_len ?? null,
    names: [...bases, ...adapters],
    adapters,
    parents: new Map(writers.map(({ name, base }) => [name, base])),
    others: new Map(found.filter((model) => !writes(model)).map((model) => [model.name, model])),
  };
}

/** The base that a column asks, with or without adapters; null if nothing is known of it. */
export function baseOf(target: Target): string | null {
  const { names = [], parents } = models.value ?? {};
  if (target.kind === "mixture") return target.parts.map(({ name }) => parents?.get(name)).find(Boolean) ?? null;
  return parents?.get(target.name) ?? (names.includes(target.name) ? target.name : null);
}

/** The adapters of one base; of all bases if it is null. */
export function adaptersOf(base: string | null): readonly string[] {
  const { adapters = [], parents } = models.value ?? {};
  return base === null ? adapters : adapters.filter((name) => parents?.get(name) === base);
}

/** Without those that cannot be read. */
async function cardsOf(adapters: readonly string[]): Promise<readonly AdapterCard[]> {
  const cards = await Promise.all(adapters.map((name) => client.card(name).catch(() => null)));
  return cards.filter((card) => card !== null);
}
