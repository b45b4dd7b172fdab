/** Copies what a run wrote to where it is shipped, without what only the run needs. */
import { cp, readFile, rm, writeFile } from "node:fs/promises";
import { basename, join } from "node:path";

const left: ReadonlySet<string> = new Set(["checkpoints", "training.jsonl"]);

export async function ship(from: string, to: string): Promise<void> {
  await rm(to, { recursive: true, force: true });
  await cp(from, to, { recursive: true, filter: (path) => path === from || !left.has(basename(path)) });
}

/** Opens the card of a shipped base, or of an adapter that lies in its folder, with what it does and how well. */
export async function openCard(folder: string, base: string, opening: string): Promise<void> {
  const path = join(folder, "README.md");
  const card = await readFile(path, "utf8");
  const opened = card
    .replace(/^# .*\n/m, `$&\n${opening}\n`)
    .replace(/^npx lorikeet serve .*$/m, `npx lorikeet serve models/${base}`)
    .replace(`base_model: ${basename(folder)}\n`, ""); // a base with all weights from its recipe has none
  await writeFile(path, opened);
}
