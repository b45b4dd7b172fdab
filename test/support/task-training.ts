/** Runs of `train` over small task models, in a temporary folder of the test file that imports this. */

import { cpSync, existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after } from "node:test";
import { runHere } from "./program.js";

export const folder = mkdtempSync(join(tmpdir(), "lorikeet-train-task-"));
after(() => rmSync(folder, { recursive: true }));

/** A data file with these rows. */
export function rowsFile(name: string, rows: readonly object[]): string {
  const path = join(folder, `${name}.jsonl`);
  writeFileSync(path, rows.map((row) => `${JSON.stringify(row)}\n`).join(""));
  return path;
}

/** Options of a short run. */
export const short = [
  ...["--lora-r", "4", "--gradient-accumulation-steps", "1", "--max-steps", "8", "--eval-steps", "4"],
  ...["--warmup-steps", "0", "--validation-split", "0.25"],
];

/** A short run into a folder of its name; options among `more` replace those of `short`. */
export async function train(model: string, data: string, name: string, ...more: string[]) {
  const out = join(folder, "out", name);
  const args = ["train", "--model", model, "--data", data, "--output-dir", out, "--threads", "1", "--json"];
  const left = more.includes("full") ? ["--lora-r", ...more] : more;
  const given = short.filter((_, i) => !left.includes(short[i - (i % 2)] ?? ""));
  const { code, out: text, err } = await runHere([...args, ...given, ...more]);
  return { code, err, folder: out, results: code === 0 ? JSON.parse(text) : null };
}

/** A copy of a model with other small files. */
export function variant(name: string, from: string, files: Readonly<Record<string, object>>): string {
  const path = join(folder, "variants", name);
  cpSync(from, path, {
    recursive: true,
    filter: (source) => !/(adapters|train|train-dora|expected\.safetensors)$/.test(source),
  });
  for (const [file, more] of Object.entries(files)) {
    const known = existsSync(join(path, file)) ? JSON.parse(readFileSync(join(path, file), "utf8")) : {};
    writeFileSync(join(path, file), JSON.stringify({ ...known, ...more }));
  }
  return path;
}

export const readJson = (path: string) => JSON.parse(readFileSync(path, "utf8"));
