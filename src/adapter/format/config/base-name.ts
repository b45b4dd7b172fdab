/** The base model that an adapter's config names, read before the adapter is checked. */

import { join } from "node:path";
import { Faults } from "../faults.js";
import { configFile } from "../files.js";
import { readFields } from "./config.js";

/** null where the config names none, or cannot be read: the check says why. */
export async function readBaseName(folder: string, maxConfigBytes = 2 ** 20): Promise<string | null> {
  const fields = await readFields(join(folder, configFile), maxConfigBytes, new Faults());
  const name = fields?.base_model_name_or_path ?? fields?.model;
  return typeof name === "string" ? name : null;
}
