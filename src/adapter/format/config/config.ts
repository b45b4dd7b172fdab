/**
 * Reads `adapter_config.json`, PEFT's or mlx-lm's, within bounds. Collects every fault.
 */

import { handleShortage, openRegular } from "../../../base/files.js";
import { isObject } from "../../../base/json.js";
import { jsonBreak } from "../../../base/json-break.js";
import { foreignFormat } from "../../../tensor/foreign.js";
import { jsonBounds } from "../../../tensor/json-bounds.js";
import { type Faults, quoteList } from "../faults.js";
import type { FeatureLog } from "../features.js";
import { configFile } from "../files.js";
import type { FieldOptions, Fields } from "./fields.js";
import { readMlx } from "./mlx.js";
import { readPeft } from "./peft.js";
import type { ReadConfig } from "./read.js";

export type { CanonicalConfig } from "../canonical.js";
export type { ReadConfig } from "./read.js";

const maxDepth = 16;

/** null, with a fault, if it is not a readable adapter config. `trusted`: it was accepted before. */
export async function readConfig(
  path: string,
  maxBytes: number,
  faults: Faults,
  features: FeatureLog,
  warnings: string[],
  options: Pick<FieldOptions, "trusted"> = {},
): Promise<ReadConfig | null> {
  const fields = await readFields(path, maxBytes, faults);
  if (!fields) return null;
  if (fields.peft_type === undefined && isObject(fields.lora_parameters)) {
    return readMlx(fields, fields.lora_parameters, faults, warnings, options);
  }
  return readPeft(fields, faults, features, warnings, options);
}

/** null, with a fault, if it is not readable JSON. */
export async function readFields(path: string, maxBytes: number, faults: Faults): Promise<Fields | null> {
  let bytes: Buffer;
  try {
    bytes = await readBounded(path, maxBytes + 1);
  } catch (cause) {
    const shortage = handleShortage(cause);
    if (shortage) throw shortage;
    const reason = cause instanceof Error && "code" in cause ? cause.code : String(cause);
    if (reason !== "ENOENT") faults.invalid(`${configFile} cannot be read (${reason})`); // a missing file is reported elsewhere
    return null;
  }
  const refuse = (fault: string): null => {
    faults.invalid(`${configFile} ${fault}`);
    return null;
  };
  if (bytes.length > maxBytes) return refuse(`is longer than ${maxBytes} bytes`);
  let text: string;
  try {
    text = new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch {
    return refuse("is not UTF-8 text");
  }
  const foreign = foreignFormat(bytes);
  if (foreign) return refuse(foreign);
  const { depth, duplicates } = jsonBounds(text, { maxDepth, maxParts: maxBytes });
  if (depth > maxDepth) return refuse(`nests deeper than ${maxDepth} levels`);
  if (duplicates.length > 0) return refuse(`has duplicate keys: ${quoteList(duplicates)}`);
  try {
    const json: unknown = JSON.parse(text);
    return isObject(json) ? json : refuse("is not a JSON object");
  } catch {
    const [, number] = /[:[,]\s{0,9}(-?(?:NaN|Infinity))\b/.exec(text) ?? [];
    if (number) return refuse(`is not JSON: it holds ${number}, and only finite numbers are allowed`);
    return refuse(`is not JSON: ${jsonBreak(text)}`);
  }
}

/** At most `most` bytes of a regular file. */
async function readBounded(path: string, most: number): Promise<Buffer> {
  await using handle = await openRegular(path);
  const bytes = Buffer.alloc(Math.min((await handle.stat()).size, most));
  let length = 0;
  while (length < bytes.length) {
    const { bytesRead } = await handle.read(bytes, length, bytes.length - length, length);
    if (bytesRead === 0) break;
    length += bytesRead;
  }
  return bytes.subarray(0, length);
}
