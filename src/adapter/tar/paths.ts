/** Validates the paths of a tar's entries: plain names, few levels, no duplicates. Knows no files. */

import { LorikeetError } from "../../base/errors.js";

export interface PathBounds {
  readonly entries: number;
  /** Levels of a path: 2 allows `folder/file`. */
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

  /** The levels of an entry's path; none for the root. Throws `invalid_upload`. */
  admit(name: string, type: string | null | undefined): string[] {
    const { entries, depth } = this.#bounds;
    const shown = JSON.stringify(name.slice(0, 200));
    if (++this.#count > entries) throw refused(`more than ${entries} entries`, `at most ${entries} entries`);
    if (type !== "file" && type !== "directory") {
      throw refused(`${shown}, a ${type ?? "thing of unknown type"}`, "regular files and folders only");
    }
    const levels = name
      .replace(/^(\.\/)+/, "")
      .replace(/\/$/, "")
      .split("/");
    if (type === "directory" && levels.length === 1 && (levels[0] === "." || levels[0] === "")) return [];
    for (const level of levels) {
      if (!namePattern.test(level) || /^\.+$/.test(level) || level.trim() !== level) {
        throw refused(`the path ${shown}`, "relative paths of letters, digits, spaces and ._+=@- only");
      }
    }
    if (levels.length > depth) throw refused(`the path ${shown} of ${levels.length} levels`, `at most ${depth} levels`);
    this.#claim(levels, type, shown);
    return levels;
  }

  #claim(levels: readonly string[], kind: EntryKind, shown: string): void {
    const key = levels.join("/").toLowerCase();
    const known = this.#kinds.get(key);
    if (known !== undefined && known !== kind) {
      const path = JSON.stringify(levels.join("/"));
      throw refused(`${path} both as a file and as a folder`, "each path once, ignoring case");
    }
    if (known === "file") throw refused(`${shown} twice`, "each path once, ignoring case");
    this.#kinds.set(key, kind);
    if (levels.length > 1) this.#claim(levels.slice(0, -1), "directory", shown);
  }
}

function refused(found: string, allowed: string): LorikeetError {
  const message = `The tar holds ${found}; ${allowed} ${allowed.startsWith("at most") ? "are" : "is what is"} allowed.`;
  return new LorikeetError("invalid_upload", message, { param: "body", found, allowed });
}
