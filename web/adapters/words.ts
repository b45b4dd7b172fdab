/** The server's terms for where an adapter is and came from, in words that need no manual. */
import type { AdapterInfo, Tier } from "../client/types.js";
import { formatCount } from "../parts/format.js";
import { checkpointOf } from "./checkpoints.js";

export const tierWords: Readonly<Record<Tier, string>> = {
  device: "device: ready now, where answers are computed",
  host: "host: in memory, copied to the device at its next request",
  disk: "disk: loaded at its next request",
};

const sourceWords: Readonly<Record<AdapterInfo["source"], string>> = {
  store: "uploaded",
  folder: "a folder on the server",
  base: "came with the base",
};

export const sourceOf = ({ source, job }: AdapterInfo): string =>
  job === null ? sourceWords[source] : "trained here, by a job";

/** How much of a long name's end is always shown. */
const endLength = 8;
const longest = 18;

/** A name's start, which may be cut, and its end; the end of a short name is empty. */
export const halvesOf = (name: string): readonly [start: string, end: string] =>
  name.length <= longest ? [name, ""] : [name.slice(0, -endLength), name.slice(-endLength)];

/** Begins what is said of a training job's checkpoint; empty for other adapters. */
export function checkpointWords(name: string): string {
  const checkpoint = checkpointOf(name);
  return checkpoint === null ? "" : `Checkpoint of a job at step ${formatCount(checkpoint.step)}. `;
}

/** A pin keeps weights in memory, so it holds for every adapter that has them. Empty where no other has. */
export function pinnedWith({ name, base, weights_digest: weights }: AdapterInfo, all: readonly AdapterInfo[]): string {
  const others = all.filter((each) => each.weights_digest === weights && each.base === base && each.name !== name);
  if (others.length === 0) return "";
  const names = others.slice(0, 3).map((each) => each.name);
  const more = others.length - names.length;
  return `It shares its weights, and so the pin, with ${names.join(", ")}${more > 0 ? ` and ${more} more` : ""}.`;
}
