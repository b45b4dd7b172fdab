/** The labels of a fine-tuning job. No option of a job lists them, so they are read from its rows; the base's head may have others. */

import { createReadStream } from "node:fs";
import { readdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { LorikeetError } from "../../base/errors.js";
import { isObject } from "../../base/json.js";
import { openTaskFolder } from "../../model/task/folder.js";
import { readTextHead } from "../../model/task/text-head.js";

/**
 * Writes the rows' labels to the file `to` if the base's head lacks one of them, so that a new head is trained; tells whether it did.
 * Throws `data_invalid` for a single new label.
 */
export async function writeDataLabels(data: string, model: string, to: string): Promise<boolean> {
  const { folder, manifest } = await openTaskFolder(model);
  const { labels } = await readTextHead(folder, await readdir(folder), { manifest });
  const found = await labelsIn(data);
  const known = new Set([...(labels ?? []), ...(labels ?? []).map((_, index) => String(index))]);
  if (found.every((label) => known.has(label))) return false;
  if (found.length === 1) {
    const message = `The rows have the single label ${JSON.stringify(found[0])}; a classifier is trained for two labels or more.`;
    throw new LorikeetError("data_invalid", message, { found: 1, allowed: 2 });
  }
  await writeFile(to, JSON.stringify(found));
  return true;
}

/** In order. Lines that are not rows are left to the reader of the data, which tells what is wrong with them. */
async function labelsIn(folder: string): Promise<string[]> {
  const found = new Set<string>();
  for (const name of (await readdir(folder)).filter((each) => each.endsWith(".jsonl"))) {
    for await (const line of createInterface({ input: createReadStream(join(folder, name)) })) {
      const row = parsed(line);
      if (!isObject(row)) continue;
      for (const label of [row.label, row.labels, row.tags].flat()) if (isLabel(label)) found.add(String(label));
    }
  }
  return [...found].sort();
}

const isLabel = (value: unknown): boolean =>
  (typeof value === "string" && value.trim() !== "") || typeof value === "number" || typeof value === "boolean";

function parsed(line: string): unknown {
  try {
    return JSON.parse(line);
  } catch {
    return null;
  }
}
