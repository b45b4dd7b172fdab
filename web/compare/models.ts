/** The models that columns can ask, and examples to try them with, as the adapters' authors wrote them. */
import { signal } from "@preact/signals";
import type { Example, ModelInfo } from "../client/types.js";
import { client, noteFailure, server } from "../session.js";

export interface Models {
  /** The first base that generates text. */
  readonly base: string;
  readonly maxContext: number | null;
  /** Bases that generate text, and their adapters. */
  readonly names: readonly string[];
  readonly adapters: readonly string[];
}

export interface Preset extends Example {
  readonly adapter: string;
}

/** Cards are read of this many adapters; with thousands, examples of all would help nobody. */
const mostCards = 12;

export const models = signal<Models | null>(null);
export const presets = signal<readonly Preset[]>([]);

export async function loadModels(): Promise<void> {
  try {
    models.value = modelsOf(await client.models());
    presets.value = await presetsOf(models.value.adapters.slice(0, mostCards));
  } catch (error) {
    noteFailure(error);
  }
}

function modelsOf(listed: readonly ModelInfo[]): Models {
  const bases = (server.value?.bases ?? []).filter(({ text }) => text).map(({ name }) => name);
  const adapters = listed.filter(({ parent }) => parent !== null && bases.includes(parent)).map(({ id }) => id);
  const [base = ""] = bases;
  return {
    base,
    maxContext: listed.find(({ id }) => id === base)?.max_model_len ?? null,
    names: [...bases, ...adapters],
    adapters,
  };
}

/** An adapter whose card cannot be read has no examples. */
async function presetsOf(adapters: readonly string[]): Promise<readonly Preset[]> {
  const cards = await Promise.all(adapters.map((name) => client.card(name).catch(() => null)));
  return cards.flatMap((card) => card?.examples.map((example) => ({ ...example, adapter: card.name })) ?? []);
}
