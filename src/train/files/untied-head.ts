/** A merged model whose head was tied to the embeddings and no longer is. */

import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { assert } from "../../base/errors.js";
import { isObject } from "../../base/json.js";
import { familyNamed } from "../../model/families/registry.js";
import type { DecoderConfig } from "../../model/types.js";

/** Says in config.json, wherever the family looks, that the head has weights of its own. */
export async function writeUntiedConfig(folder: string, { family }: DecoderConfig): Promise<void> {
  const path = join(folder, "config.json");
  const config: unknown = JSON.parse(await readFile(path, "utf8"));
  const { textConfig, synonyms = {} } = familyNamed(family) ?? {};
  assert(isObject(config), "an opened checkpoint has a config");
  const key = "tie_word_embeddings";
  const untied = (part: Record<string, unknown>): Record<string, unknown> => {
    const own = synonyms[key];
    return { ...part, [key]: false, ...(own !== undefined && own in part ? { [own]: false } : {}) };
  };
  const inner = textConfig && config[textConfig.key];
  const nested = textConfig && isObject(inner) ? { [textConfig.key]: untied(inner) } : {};
  await writeFile(path, `${JSON.stringify({ ...untied(config), ...nested }, null, 2)}\n`);
}
