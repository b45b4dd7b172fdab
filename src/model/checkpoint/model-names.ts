/** The names of a model: of its folder, and those that adapters may use for it. */

import { basename } from "node:path";
import { isObject } from "../../base/json.js";

/** The model's name, and other names that adapters may use for it. `json`: its config.json. */
export function modelNames(path: string, json: unknown): readonly [string, ...string[]] {
  const stated = isObject(json) && typeof json._name_or_path === "string" ? json._name_or_path : "";
  const [name, ...others] = [...new Set([repositoryOf(path), basename(path), stated])].filter((other) => other !== "");
  return [name ?? path, ...others];
}

/** `owner/name` of a model in a Hugging Face cache, models--owner--name/snapshots/<revision>; empty for any other folder. */
function repositoryOf(path: string): string {
  return /[/\\]models--([^/\\]+)[/\\]snapshots[/\\][^/\\]+$/.exec(path)?.[1]?.replace("--", "/") ?? "";
}
