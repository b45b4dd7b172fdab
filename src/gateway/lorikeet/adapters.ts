/** Lorikeet's own calls about adapters: how an adapter is shown, and the body that pins one. */
import * as v from "valibot";
import type { AdapterCard, Example } from "../../adapter/card.js";
import { wellFormed } from "../../text/characters.js";
import type { AdapterInfo, Tier } from "../adapters.js";
import { type BodyFormat, parse } from "../body/parse.js";

/** Times are seconds since 1970. */
export interface AdapterObject {
  readonly name: string;
  readonly object: "adapter";
  /** The served name of its base. */
  readonly base: string | null;
  /** What it is for, by Hugging Face's names. */
  readonly tasks: readonly string[];
  readonly digest: string;
  readonly weights_digest: string;
  readonly rank: number;
  readonly dora: boolean;
  readonly modules: number;
  readonly bytes: number;
  readonly active_bytes: number;
  readonly scales: { readonly min: number; readonly max: number };
  readonly source: "store" | "folder" | "base";
  /** The fine-tuning job of this server that trained it; null: none did. */
  readonly job: string | null;
  readonly created: number;
  readonly tier: Tier;
  readonly pinned: boolean;
  readonly in_flight: number;
  readonly last_used: number | null;
  readonly counts: { readonly requests: number; readonly prompt_tokens: number; readonly completion_tokens: number };
  readonly warnings: readonly string[];
  readonly ignored: readonly string[];
}

export function adapterObject(info: AdapterInfo): AdapterObject {
  const { activity } = info;
  return {
    name: info.name,
    object: "adapter",
    base: info.base,
    tasks: info.tasks,
    digest: info.digest,
    weights_digest: info.weightsDigest,
    rank: info.rank,
    dora: info.dora,
    modules: info.modules,
    bytes: info.bytes,
    active_bytes: info.activeBytes,
    scales: info.scales,
    source: info.source,
    job: info.job ?? null,
    created: Math.floor(info.createdAt / 1000),
    tier: info.tier,
    pinned: info.pinned,
    in_flight: activity.waiting + activity.running,
    last_used: activity.lastUsedAt === null ? null : Math.floor(activity.lastUsedAt / 1000),
    counts: {
      requests: activity.requests,
      prompt_tokens: activity.promptTokens,
      completion_tokens: activity.completionTokens,
    },
    warnings: info.warnings,
    ignored: info.ignored,
  };
}

/** What the adapter's author wrote: untrusted text. */
export interface CardObject extends Pick<AdapterCard, "readme" | "labels" | "training" | "chart"> {
  readonly name: string;
  readonly object: "adapter.card";
  readonly target_modules: readonly string[];
  readonly examples: readonly ExampleObject[];
}

export interface ExampleObject extends Pick<Example, "title" | "text" | "picture"> {
  readonly parameters: {
    readonly temperature: number | null;
    readonly top_p: number | null;
    readonly max_tokens: number | null;
  };
}

export function cardObject(name: string, { targetModules, examples, labels, ...card }: AdapterCard): CardObject {
  return {
    name,
    object: "adapter.card",
    target_modules: targetModules.map(wellFormed),
    labels: labels.map(wellFormed),
    examples: examples.map(({ title, text, picture, sampling }) => ({
      title: title === null ? null : wellFormed(title),
      text: text === null ? null : wellFormed(text),
      picture,
      parameters: { temperature: sampling.temperature, top_p: sampling.topP, max_tokens: sampling.maxTokens },
    })),
    ...card,
  };
}

/** The card of a base has the same fields. */
export function modelCardObject(
  name: string,
  card: AdapterCard,
): Omit<CardObject, "object"> & { object: "model.card" } {
  return { ...cardObject(name, card), object: "model.card" };
}

const pinSchema = v.object({ pinned: v.boolean("must be true or false") }, "is required");
const pinFormat: BodyFormat<typeof pinSchema> = { schema: pinSchema, known: ["pinned"], ignored: {} };

/** Whether an adapter is to be pinned. */
export function parsePin(body: unknown): boolean {
  return parse(pinFormat, body).pinned;
}
