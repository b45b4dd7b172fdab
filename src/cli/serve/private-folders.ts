/** The folders that a service uses. Its responses must not contain their paths. */

import { realpathSync } from "node:fs";
import { homedir, tmpdir } from "node:os";
import { dirname, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import type { BaseSettings, ServeSettings } from "./options.js";

/** As given in the settings, as absolute paths, and with links resolved. */
export function privateFoldersOf(settings: ServeSettings, bases: readonly BaseSettings[]): readonly string[] {
  const { adapters, loraPathRoot, responseStore, fineTuning, apiKeyFile } = settings;
  const ofBases = bases.flatMap(({ model, cacheDir }) => [model, cacheOf(resolve(model)), cacheDir]);
  const ofServer = [adapters, loraPathRoot, responseStore, fineTuning];
  const named = [...new Set([...ofBases, ...ofServer])].filter((path) => path !== null);
  const templates = bases.map(({ chatTemplate }) => chatTemplate);
  const files = [...templates, apiKeyFile].filter((path) => path !== null).map((path) => dirname(resolve(path)));
  const program = fileURLToPath(new URL("../../../..", import.meta.url));
  const absolute = [...named.map((path) => resolve(path)), ...files, tmpdir(), homedir(), process.cwd(), program];
  const folders = absolute.filter((path) => dirname(path) !== path);
  return [...new Set([...named, ...folders, ...folders.map(realPath)])];
}

/** The Hugging Face cache that a model's folder is a snapshot in, or its file lies in: its files are links to elsewhere there. */
function cacheOf(model: string): string | null {
  return /^(.+)[/\\]models--[^/\\]+[/\\]snapshots[/\\]/.exec(model)?.[1] ?? null;
}

function realPath(path: string): string {
  try {
    return realpathSync(path);
  } catch {
    return path; // does not exist yet
  }
}
