/** The labels of `--labels`. */

import { readFile } from "node:fs/promises";
import { UsageError } from "../usage.js";
import { keptFault } from "./start.js";

/** The names, or those in a JSON file. */
export async function readLabels(given: readonly string[]): Promise<readonly string[]> {
  const [path = "", ...others] = given;
  const names: unknown = path.endsWith(".json") && others.length === 0 ? await readJsonList(path) : given;
  const isList = Array.isArray(names) && names.every((name) => typeof name === "string" && name !== "");
  if (!isList || names.length === 0 || new Set(names).size < names.length) {
    throw new UsageError([
      `--labels ${given.join()} must be names that differ, or a JSON file with a list of such names.`,
    ]);
  }
  return names;
}

async function readJsonList(path: string): Promise<unknown> {
  try {
    return JSON.parse(await readFile(path, "utf8"));
  } catch (error) {
    throw new UsageError([`--labels ${path} cannot be read: ${error instanceof Error ? error.message : error}.`]);
  }
}

/**
 * Rejects labels that the --init-from adapter does not have. null: none are given, or the adapter names none. `outputs`: of its head; null:
 * it has none, or another check follows.
 */
export function requireKeptLabels(
  given: readonly string[] | null,
  kept: readonly string[] | null,
  outputs: number | null = null,
): void {
  if (given === null) return;
  if (kept !== null && given.join("\n") !== kept.join("\n")) throw new UsageError([keptFault("labels", given, kept)]);
  if (outputs === null || given.length === outputs) return;
  throw new UsageError([
    `--labels ${given.join()} takes a head of ${given.length} outputs, but the adapter of --init-from keeps its head of ${outputs} outputs.`,
  ]);
}
