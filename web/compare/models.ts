/** The models that columns can ask, and examples to try them with, as the adapters' authors wrote them. */
import { signal } from "@preact/signals";
import type { AdapterCard, Example, ModelInfo } from "../client/types.js";
import { summaryOf } from "../parts/summary.js";
import { client, noteFailure, server } from "../session.js";
import type { Target } from "./target.js";

export interface Models {
  /** The first base that generates text. */
  readonly base: string;
  readonly maxContext: number | null;
  /** Bases that generate text, and their adapters. */
  readonly names: readonly string[];
  readonly adapters: readonly string[];
  /** The base of each adapter. */
  readonly parents: ReadonlyMap<string, string>;
}

export interface Preset extends Example {
  readonly adapter: string;
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
    presets.value = cards.flatMap(({ name, examples }) => examples.map((example) => ({ ...example, adapter: name })));
    summaries.value = new Map(cards.map(({ name, readme }) => [name, summaryOf(readme) ?? ""] as const));
  } catch (error) {
    noteFailure(error);
  }
}

function modelsOf(listed: readonly ModelInfo[]): Models {
  const bases = (server.value?.bases ?? []).filter(({ text }) => text).map(({ name }) => name);
  const parents = new Map(
    listed.flatMap(({ id, parent }) => (parent !== null && bases.includes(parent) ? [[id, parent] as const] : [])),
  );
  const adapters = [...parents.keys()];
  const [base = ""] = bases;
  return {
    base,
    maxContext: listed.find(({ id }) => id === base)?.max_model_len ?? null,
    names: [...bases, ...adapters],
    adapters,
    parents,
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
