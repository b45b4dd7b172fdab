/** What a column asks: a model by its name, or a weighted mixture of adapters. */
import type { WeightedAdapter } from "../client/types.js";

export type Target =
  | { readonly kind: "model"; readonly name: string }
  | { readonly kind: "mixture"; readonly parts: readonly WeightedAdapter[] };

export const modelTarget = (name: string): Target => ({ kind: "model", name });

/** `plays`, or `plays*0.7+dates*0.3`: names of adapters have neither sign. */
export function formatTarget(target: Target): string {
  if (target.kind === "model") return target.name;
  return target.parts.map(({ name, weight }) => `${name}*${weight}`).join("+");
}

export function parseTarget(text: string): Target {
  const parts = text.split("+").map((part) => /^([\w./-]+)\*(-?\d+(?:\.\d+)?)$/.exec(part));
  const mixed = parts.flatMap((found) => (found?.[1] ? [{ name: found[1], weight: Number(found[2]) }] : []));
  return mixed.length === parts.length ? { kind: "mixture", parts: mixed } : modelTarget(text);
}

/** The fields of a request's body that choose it. */
export function bodyOf(target: Target): { readonly model: string } | { readonly adapters: readonly WeightedAdapter[] } {
  return target.kind === "model" ? { model: target.name } : { adapters: target.parts };
}
