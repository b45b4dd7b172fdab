/** Guesses what was meant by a path that does not exist. */

import { readdir, stat } from "node:fs/promises";
import { dirname, join } from "node:path";
import { nearest } from "../../base/nearest.js";

const maxHeld = 8;

/** One sentence for a missing path with a similar one; null without one, and for a path that exists. */
export async function hintAtPath(path: string, kind: "file" | "folder"): Promise<string | null> {
  const found = await nearbyPath(path, kind);
  return found === null || found === path ? null : `Did you mean ${kind === "folder" ? "the folder " : ""}${found}?`;
}

/** One sentence that lists the siblings of a missing folder; null if there are none, or too many. */
export async function hintAtSiblings(path: string): Promise<string | null> {
  const parent = path.includes("/") ? await nearbyPath(dirname(path), "folder") : null;
  if (parent === null) return null;
  const held = (await namesIn(parent, "folder")).sort();
  return held.length > 0 && held.length <= maxHeld ? `The folder ${parent} holds ${held.join(", ")}.` : null;
}

/** The path itself where it exists, else the one whose segments are a few typos away; null without one. */
async function nearbyPath(path: string, kind: "file" | "folder"): Promise<string | null> {
  if (await stat(path).catch(() => null)) return path;
  const name = path.slice(path.lastIndexOf("/") + 1);
  if (name === "") return path.length > 1 ? await nearbyPath(path.slice(0, -1), kind) : null;
  const parent = path.includes("/") ? await nearbyPath(dirname(path), "folder") : "";
  if (parent === null) return null;
  const names = await namesIn(parent || ".", kind);
  const meant = names.includes(name) ? name : nearest(name, names);
  if (meant === null) return null;
  return parent === "" ? meant : `${path.startsWith("./") && parent === "." ? "./" : ""}${join(parent, meant)}`;
}

async function namesIn(folder: string, kind: "file" | "folder"): Promise<string[]> {
  const entries = await readdir(folder, { withFileTypes: true }).catch(() => []);
  const isWanted = kind === "file" ? () => true : (entry: (typeof entries)[number]) => !entry.isFile();
  return entries.filter((entry) => isWanted(entry) && !entry.name.startsWith(".")).map(({ name }) => name);
}
