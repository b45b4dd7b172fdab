/** Validates the paths of a tar's entries: plain names, no duplicates, and few levels of what is unpacked. Knows no files. */

import { LorikeetError } from "../../base/errors.js";
import { configFile } from "../format.js";

export interface PathBounds {
  readonly entries: number;
  /** Levels of what is unpacked: 2 includes `folder/file`. */
  readonly depth: number;
}

export type EntryKind = "file" | "directory";

const namePattern = /^[A-Za-z0-9._+=@ -]{1,200}$/;

/** Validates entries one after the other. */
export class TarPaths {
  readonly #bounds: PathBounds;
  /** By lower-case path, since some file systems ignore case. */
  readonly #kinds = new Map<string, EntryKind>();
  #count = 0;

  constructor(bounds: PathBounds) {
    this.#bounds = bounds;
  }

  /** The levels of an entry's path; none for the root. null: too deep to be of an adapter, so it is skipped. Throws `invalid_upload`. */
  admit(name: string, type: string | null | undefined): string[] | null {
    const { entries, depth } = this.#bounds;
    const shown = JSON.stringify(name.slice(0, 200));
    if (++this.#count > entries) throw refused(`more than ${entries} entries`, `at most ${entries} entries`);
    if (type !== "file" && type !== "directory") {
      throw refused(`${shown}, a ${type ?? "thing of unknown type"}`, "only regular files and folders");
    }
    const levels = name
      .replace(/^(\.\/)+/, "")
      .replace(/\/$/, "")
      .split("/");
    if (type === "directory" && levels.length === 1 && (levels[0] === "." || levels[0] === "")) return [];
    for (const level of levels) {
      if (!namePattern.test(level) || /^\.+$/.test(level) || level.trim() !== level) {
        throw refused(`the path ${shown}`, "only relative paths of letters, digits, spaces and ._+=@-");
      }
    }
    if (levels.length > depth) return null;
    this.#claim(levels, type, shown);
    return levels;
  }

  #claim(levels: readonly string[], kind: EntryKind, shown: string): void {
    const key = levels.join("/").toLowerCase();
    const known = this.#kinds.get(key);
    if (known !== undefined && known !== kind) {
      const path = JSON.stringify(levels.join("/"));
      throw refused(`${path} both as a file and as a folder`, "paths that differ in more than case");
    }
    if (known === "file") throw refused(`${shown} twice`, "paths that differ in more than case");
    this.#kinds.set(key, kind);
    if (levels.length > 1) this.#claim(levels.slice(0, -1), "directory", shown);
  }
}

/** The only config lies too deep. */
export function configTooDeep(name: string, depth: number): LorikeetError {
  const found = `${configFile} only at ${JSON.stringify(name.slice(0, 200))}`;
  return refused(found, `paths of at most ${depth} levels`);
}

function refused(found: string, allowed: string): LorikeetError {
  const message = `The tar holds ${found}; ${allowed} are allowed.`;
  return new LorikeetError("invalid_upload", message, { param: "body", found, allowed });
}
