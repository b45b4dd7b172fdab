/** Copies what a run wrote to where it is shipped, without what only the run needs. */
import { cp, rm } from "node:fs/promises";
import { basename } from "node:path";

const left: ReadonlySet<string> = new Set(["checkpoints", "training.jsonl"]);

export async function ship(from: string, to: string): Promise<void> {
  await rm(to, { recursive: true, force: true });
  await cp(from, to, { recursive: true, filter: (path) => path === from || !left.has(basename(path)) });
}

/** Whether a recipe trains nothing, but measures what is shipped and writes its cards. */
export const isOfShipped = (): boolean => process.argv.includes("--shipped");
