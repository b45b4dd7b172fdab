/** The models that columns can ask, and examples to try them with, as the adapters' authors wrote them. */
import { signal } from "@preact/signals";
import { checkpointsLast } from "../adapters/checkpoints.js";
import { generation, isWriter } from "../client/tasks.js";
import type { AdapterCard, ModelInfo } from "../client/types.js";
import { AnswerOrder } from "../parts/answer-order.js";
import { summaryOf } from "../parts/summary.js";
import { client, noteFailure, noteListed, server } from "../session.js";
import { onceEach, type Preset, typedFirst } from "./opening.js";
import type { Settings } from "./settings.js";
import type { Target } from "./target.js";

export interface Models {
  /** The first base that generates text; one that has no form of its own, if there is one. */
  readonly base: string;
  readonly maxContext: number | null;
  /** Tokens of the longest answer of a base, by its name, where it does not share the context with the prompt. */
  readonly mostTokens: ReadonlyMap<string, number>;
  /** Bases and adapters that write texts. */
  readonly names: readonly string[];
  readonly adapters: readonly string[];
  /** The base of each adapter. */
  readonly parents: ReadonlyMap<string, string>;
  /** Of the names, those that were made for writing first of all. A translator writes too, but has a form of its own under Tasks. */
  readonly writers: ReadonlySet<string>;
  /** Adapters of these bases that were trained for something else, such as labels. They are not offered. */
  readonly others: ReadonlyMap<string, AdapterOfTask>;
}

export interface AdapterOfTask {
  readonly name: string;
  readonly base: string;
  readonly tasks: readonly string[];
}

/** So many adapters that bring an example are offered; with thousands, examples of all would help nobody. */
const mostOffered = 12;
/** Cards read at once, and at most, to find them. */
const cardsAtOnce = 12;
const mostCards = 60;

export const models = signal<Models | null>(null);
export const presets = signal<readonly Preset[]>([]);
/** What adapters do, in a sentence of their authors. */
export const summaries = signal<ReadonlyMap<string, string>>(new Map());

const loads = new AnswerOrder();

export async function loadModels(): Promise<void> {
  const counts = loads.ask();
  try {
    const listed = await client.models();
    if (!counts()) return;
    noteListed(listed.map(({ id }) => id));
    const found = modelsOf(listed);
    models.value = found;
    const cards = await findCards(await mostUsedFirst(found.adapters));
    if (!counts()) return;
    presets.value = typedFirst(cards.flatMap(presetsOf));
    noteSummaries(cards);
  } catch (error) {
    noteFailure(error);
  }
}

/** Reads what an adapter does. Columns ask for it when the models are listed anew: a replaced adapter may say something else. */
export async function wantSummary(name: string): Promise<void> {
  if (!models.value?.adapters.includes(name)) return;
  // Without a card that can be read, a column says nothing of it.
  const card = await client.card(name).catch(() => null);
  if (card) noteSummaries([card]);
}

function noteSummaries(cards: readonly AdapterCard[]): void {
  const read = cards.map(({ name, readme }) => [name, summaryOf(readme) ?? ""] as const);
  summaries.value = new Map([...summaries.value, ...read]);
}

function modelsOf(listed: readonly ModelInfo[]): Models {
  const writes = ({ tasks }: { readonly tasks: readonly string[] }): boolean => tasks.includes(generation);
  const served = (server.value?.bases ?? []).filter(writes);
  const bases = [...served.filter(isWriter), ...served.filter((base) => !isWriter(base))].map(({ name }) => name);
  const found = listed.flatMap((model) => {
    const { id: name, parent: base, tasks } = model;
    return base !== null && bases.includes(base) ? [{ name, base, tasks }] : [];
  });
  const writers = found.filter(writes);
  const adapters = checkpointsLast(writers.map(({ name }) => name));
  const [base = ""] = bases;
  return {
    base,
    maxContext: listed.find(({ id }) => id === base)?.max_model_len ?? null,
    mostTokens: new Map(listed.flatMap(({ id, max_output_tokens: most }) => (most === null ? [] : [[id, most]]))),
    names: [...bases, ...adapters],
    adapters,
    parents: new Map(writers.map(({ name, base }) => [name, base])),
    writers: new Set([...served, ...writers].filter(isWriter).map(({ name }) => name)),
    others: new Map(found.filter((model) => !writes(model)).map((model) => [model.name, model])),
  };
}

/** The examples to choose from while columns ask `asked`: those of translators only beside their base. */
export function offeredPresets(asked: readonly string[]): readonly Preset[] {
  const { writers, parents, base = "" } = models.value ?? {};
  const isOffered = ({ adapter }: Preset): boolean =>
    writers?.has(adapter) === true || [...asked, base].includes(parents?.get(adapter) ?? "");
  return onceEach(presets.value.filter(isOffered));
}

/** The base that a column asks, with or without adapters; null if nothing is known of it. */
export function baseOf(target: Target): string | null {
  const { names = [], parents } = models.value ?? {};
  if (target.kind === "mixture") return target.parts.map(({ name }) => parents?.get(name)).find(Boolean) ?? null;
  return parents?.get(target.name) ?? (names.includes(target.name) ? target.name : null);
}

/** The bases that columns ask, in their order. */
export const basesOf = (targets: readonly Target[]): readonly string[] => [
  ...new Set(targets.flatMap((each) => baseOf(each) ?? [])),
];

/** What a column asks: as many tokens as were chosen, or as its base can write. */
export function settingsFor(target: Target, settings: Settings): Settings {
  const most = models.value?.mostTokens.get(baseOf(target) ?? "") ?? settings.maxTokens;
  return { ...settings, maxTokens: Math.min(settings.maxTokens, most) };
}

/** The adapters of one base; of all bases if it is null. */
export function adaptersOf(base: string | null): readonly string[] {
  const { adapters = [], parents } = models.value ?? {};
  return base === null ? adapters : adapters.filter((name) => parents?.get(name) === base);
}

const presetsOf = ({ name: adapter, examples }: AdapterCard): Preset[] =>
  examples.flatMap(({ text, ...example }) => (text === null ? [] : [{ ...example, text, adapter }]));

/** Those in use, then the newest: among thousands they are what the reader is likely to look for. A few stay in their order. */
async function mostUsedFirst(names: readonly string[]): Promise<readonly string[]> {
  if (names.length <= cardsAtOnce) return names;
  const listed = new Map((await client.adapters()).map((adapter) => [adapter.name, adapter] as const));
  const requests = (name: string): number => listed.get(name)?.counts.requests ?? 0;
  const created = (name: string): number => listed.get(name)?.created ?? 0;
  return names.toSorted((a, b) => requests(b) - requests(a) || created(b) - created(a));
}

/** Reads cards until enough bring an example. In the order of names, which a comparison more does not change. */
async function findCards(adapters: readonly string[]): Promise<readonly AdapterCard[]> {
  const found: AdapterCard[] = [];
  const offered = (): number => found.filter((card) => presetsOf(card).length > 0).length;
  for (let at = 0; at < Math.min(adapters.length, mostCards) && offered() < mostOffered; at += cardsAtOnce) {
    found.push(...(await cardsOf(adapters.slice(at, at + cardsAtOnce))));
  }
  return found.sort((a, b) => (a.name < b.name ? -1 : 1));
}

/** Without those that cannot be read. */
async function cardsOf(adapters: readonly string[]): Promise<readonly AdapterCard[]> {
  const cards = await Promise.all(adapters.map((name) => client.card(name).catch(() => null)));
  return cards.filter((card) => card !== null);
}
