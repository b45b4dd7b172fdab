/**
 * What the outputs of an adapter's head are called: `labels.json` beside it, a list or an object by index, or `id2label` of a config.json.
 * PEFT writes neither, so both are optional.
 */

import { join } from "node:path";
import { NotRegularFile, openRegular } from "../../base/files.js";
import { isObject, type Json } from "../../base/json.js";
import type { Faults } from "./faults.js";
import { labelsFile, modelConfigFile } from "./files.js";

const maxBytes = 2 ** 20;
const maxLength = 1000;

/** null if the folder names none. A labels.json that cannot be used is a fault. `outputs`: of the adapter's head; null if it has none. */
export async function readLabels(folder: string, outputs: number | null, faults: Faults): Promise<string[] | null> {
  const own = await readJson(join(folder, labelsFile));
  if (own !== null) {
    const labels = listOf(own.value);
    if (!labels) {
      faults.invalid(
        `${labelsFile} is not a list of names or an object of names by index; up to ${maxBytes} bytes of JSON with distinct names of 1 to ${maxLength} characters are allowed`,
      );
    } else if (outputs !== null && labels.length !== outputs) {
      faults.invalid(`${labelsFile} names ${labels.length} labels, but the head has ${outputs} outputs`);
    }
    return labels;
  }
  const named = await readConfigLabels(folder);
  return named && (outputs === null || named.length === outputs) ? named : null;
}

/** The warning about a head that comes without names; none for a single output, which is a score. */
export function unnamedLabels(outputs: number): string[] {
  if (outputs < 2) return [];
  const shown = outputs === 2 ? "LABEL_0 and LABEL_1" : `LABEL_0 to LABEL_${outputs - 1}`;
  return [
    `The adapter has a head of ${outputs} labels without their names, so answers say ${shown}; put labels.json, a list of the names, into its folder.`,
  ];
}

/** The labels of a config.json; null if it names none. */
export async function readConfigLabels(folder: string): Promise<string[] | null> {
  const config = await readJson(join(folder, modelConfigFile));
  return isObject(config?.value) ? listOf(config.value.id2label) : null;
}

/** Names by index, without gaps or repetitions. */
function listOf(value: unknown): string[] | null {
  const names = Array.isArray(value) ? value : isObject(value) ? inOrder(value) : null;
  if (!names || names.length === 0 || new Set(names).size < names.length) return null;
  const isName = (name: unknown): name is string =>
    typeof name === "string" && name.length > 0 && name.length <= maxLength;
  return names.every(isName) ? names : null;
}

function inOrder(byIndex: Json): unknown[] | null {
  const count = Object.keys(byIndex).length;
  const names = Array.from({ length: count }, (_, i) => byIndex[String(i)]);
  return names.includes(undefined) ? null : names;
}

/** null if the file is missing; a null value if it is not JSON within the bounds. */
async function readJson(path: string): Promise<{ readonly value: unknown } | null> {
  let text: string;
  try {
    await using handle = await openRegular(path, { follow: false });
    const { size } = await handle.stat();
    if (size > maxBytes) return { value: null };
    text = await handle.readFile("utf8");
  } catch (cause) {
    const isMissing = cause instanceof Error && "code" in cause && cause.code === "ENOENT";
    if (isMissing || cause instanceof NotRegularFile) return null;
    throw cause;
  }
  try {
    return { value: JSON.parse(text) };
  } catch {
    return { value: null };
  }
}
