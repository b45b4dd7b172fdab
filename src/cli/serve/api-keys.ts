/** Reads API keys from a file or the environment, never from the command line, which every user of the machine can see. */

import { readFileSync } from "node:fs";
import { tokenVariables } from "../../hub/environment.js";
import { isLoopback } from "../../server/access/loopback.js";
import { UsageError } from "../usage.js";
import type { ServeSettings } from "./options.js";

type Environment = Readonly<Record<string, string | undefined>>;

/** Variables that hold keys. Diagnostic reports and child processes must not see them. */
export const secretVariables = ["LORIKEET_API_KEYS", "LORIKEET_API_KEY", ...tokenVariables] as const;

/**
 * The keys that a server accepts, from `--api-key-file` and `LORIKEET_API_KEYS`; empty if it needs none.
 * Throws a UsageError for a server that other machines can reach without keys, unless --no-auth allows that.
 */
export function readServerKeys(settings: ServeSettings, environment: Environment): readonly string[] {
  const variable = environment.LORIKEET_API_KEYS || null;
  const keys = [
    ...(settings.apiKeyFile === null ? [] : readKeyFile(settings.apiKeyFile)),
    ...(variable === null ? [] : checkKeys("LORIKEET_API_KEYS", variable.split(/[\s,]+/))),
  ];
  if (keys.length > 0 && settings.noAuth) {
    throw new UsageError(["--no-auth cannot be used together with --api-key-file or LORIKEET_API_KEYS."]);
  }
  if (keys.length === 0 && !settings.noAuth && !isLoopback(settings.host)) {
    throw new UsageError([
      `--host ${settings.host} can be reached from other machines, but there is no API key: give a file of keys as --api-key-file (or LORIKEET_API_KEY_FILE), set LORIKEET_API_KEYS, or allow everyone with --no-auth.`,
    ]);
  }
  return [...new Set(keys)];
}

/** The key that a command sends: the first in `--api-key-file`, else LORIKEET_API_KEY, else the first in LORIKEET_API_KEY_FILE. */
export function readClientKey(file: string | null, environment: Environment): string | null {
  const variable = environment.LORIKEET_API_KEY || null;
  const named = file ?? (variable === null ? environment.LORIKEET_API_KEY_FILE || null : null);
  if (named !== null) return readKeyFile(named)[0] ?? null;
  return variable === null ? null : (checkKeys("LORIKEET_API_KEY", [variable.trim()])[0] ?? null);
}

/** One key per line; empty lines and lines that start with # are skipped. */
function readKeyFile(path: string): readonly string[] {
  let content: string;
  try {
    content = readFileSync(path, "utf8");
  } catch (error) {
    const code = error instanceof Error && "code" in error ? String(error.code) : "unknown error";
    throw new UsageError([`--api-key-file ${path} cannot be read (${code}).`]);
  }
  const lines = content.replace(/^\uFEFF/, "").split("\n");
  return checkKeys(
    `--api-key-file ${path}`,
    lines.map((line) => line.trim()).filter((line) => !line.startsWith("#")),
  );
}

/** Checks that every key can be sent in a header. Messages never contain a key. */
function checkKeys(source: string, words: readonly string[]): readonly string[] {
  const keys = words.filter((word) => word !== "");
  if (keys.length === 0) throw new UsageError([`${source} holds no key.`]);
  const bad = keys.findIndex((key) => !/^[\x21-\x7e]+$/.test(key));
  if (bad >= 0) {
    throw new UsageError([
      `${source}: key ${bad + 1} has a character that an HTTP header cannot carry; letters, digits and ASCII punctuation are allowed, without spaces.`,
    ]);
  }
  return keys;
}
