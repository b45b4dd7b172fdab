/**
 * Scratch folders on the store's disk, so that a rename moves their files into the store. Each has its process's key in its name:
 * those of dead processes are removed. Does not read their files.
 */

import { constants } from "node:fs";
import { copyFile, lstat, mkdir, readdir, realpath, stat, writeFile } from "node:fs/promises";
import { join, sep } from "node:path";
import { namesIn, orMissing, removeTree } from "../../base/durable.js";
import { LorikeetError } from "../../base/errors.js";
import { at } from "../../base/list.js";
import { isKeptFile } from "../format.js";
import { followsLinks } from "./kept-files.js";

const maxFiles = 4096;

export interface ImportOptions {
  readonly maxBytes: number;
  /** Files whose real path is not below this folder are refused. */
  readonly within?: string;
}

export class Staging {
  readonly #root: string;
  readonly #key: string;
  #count = 0;

  constructor(root: string, key: string) {
    this.#root = root;
    this.#key = key;
  }

  /** A new path. */
  fresh(): string {
    return join(this.#root, `${this.#key}-${++this.#count}`);
  }

  /** Whether a path is a scratch path of this process. */
  owns(path: string): boolean {
    return path.startsWith(join(this.#root, `${this.#key}-`)) && !path.includes(`${sep}..`);
  }

  /** Creates an empty folder, which the caller removes. */
  async make(): Promise<string> {
    const folder = this.fresh();
    await mkdir(folder, { recursive: true });
    return folder;
  }

  /**
   * Copies an adapter's folder into a new one: the files that a store keeps, and an empty file in place of each other one, so that the
   * check can name it. Follows links of config and weights, and skips other links. Throws `invalid_value` or `store_full`.
   */
  async copy(source: string, options: ImportOptions): Promise<string> {
    const files = await this.#survey(source, options);
    const target = await this.make();
    try {
      for (const [name, path] of files) {
        if (path === null) await writeFile(join(target, name), "");
        else await copyFile(path, join(target, name), constants.COPYFILE_FICLONE);
      }
      return target;
    } catch (cause) {
      await removeTree(target);
      throw cause;
    }
  }

  /** Removes the scratch folders of dead processes. */
  async sweep(isAlive: (key: string) => Promise<boolean>): Promise<void> {
    for (const name of await namesIn(this.#root)) {
      const owner = at(name.split("-"), 0);
      if (owner !== this.#key && !(await isAlive(owner))) await removeTree(join(this.#root, name));
    }
  }

  /** Each file's real path by name; null for a file that is not kept. */
  async #survey(source: string, { maxBytes, within }: ImportOptions): Promise<Map<string, string | null>> {
    const names = await orMissing(readdir(source));
    if (names === null) throw refused(`The folder ${source} does not exist`, source, "an adapter's folder");
    if (names.length > maxFiles) {
      throw refused(`The folder ${source} holds ${names.length} files`, names.length, `at most ${maxFiles} files`);
    }
    const root = within === undefined ? null : await realpath(within);
    const files = new Map<string, string | null>();
    let bytes = 0;
    for (const name of names) {
      const file = await orMissing(stat(join(source, name)));
      if (!file?.isFile()) continue;
      const isOwn = followsLinks(name) || (await lstat(join(source, name))).isFile();
      if (!isKeptFile(name) || !isOwn) {
        if (!isKeptFile(name)) files.set(name, null);
        continue;
      }
      const path = await realpath(join(source, name));
      if (root !== null && !path.startsWith(join(root, sep))) {
        throw refused(`The file ${name} of ${source} lies outside ${root}`, path, `a path below ${root}`);
      }
      files.set(name, path);
      bytes += file.size;
    }
    if (bytes > maxBytes) {
      const message = `The adapter in ${source} has ${bytes} bytes; the store holds at most ${maxBytes}.`;
      throw new LorikeetError("store_full", message, { found: bytes, allowed: maxBytes });
    }
    return files;
  }
}

function refused(clause: string, found: unknown, allowed: string): LorikeetError {
  return new LorikeetError("invalid_value", `${clause}; ${allowed} is expected.`, { param: "path", found, allowed });
}
