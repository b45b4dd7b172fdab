/**
 * Which name points at which digest: one small file per name, replaced as a whole. Its file's name is a hash, so that no
 * path comes from a name. Knows nothing of what a digest stands for.
 */

import { createHash } from "node:crypto";
import { rm, stat } from "node:fs/promises";
import { join } from "node:path";
import * as v from "valibot";
import { Semaphore } from "../base/async.js";
import { namesIn, orMissing, replaceFile, sync, textIn } from "./durable.js";
import { nameFault, nameKey } from "./names.js";

const digest = v.pipe(v.string(), v.regex(/^sha256:[0-9a-f]{64}$/));
const schema = v.object({
  name: v.pipe(
    v.string(),
    v.check((name) => nameFault(name) === null),
  ),
  digest,
  createdAt: v.number(),
  previous: v.array(digest),
});

export interface NameEntry {
  readonly name: string;
  readonly digest: string;
  /** Milliseconds since 1970. */
  readonly createdAt: number;
  /** Digests that the name pointed at before, the latest first; only these may be rolled back to. */
  readonly previous: readonly string[];
}

/** A file of the index, with its entry, or null where the file cannot be understood. */
interface IndexFile {
  readonly signature: string;
  readonly entry: NameEntry | null;
}

const filePattern = /^[0-9a-f]{64}\.json$/;
const settledMs = 1_000; // a folder's time is coarse: a change may hide within its grain

export class NameIndex {
  readonly #folder: string;
  /** One reading at a time, so that an older one never replaces a newer. */
  readonly #turn = new Semaphore(1);
  #files: ReadonlyMap<string, IndexFile> = new Map();
  #folderTime = -1n;

  constructor(folder: string) {
    this.#folder = folder;
  }

  /** Reads what changed since the last call, in this process or another; an entry that did not change stays the same object. */
  refresh(options: { readonly force: boolean }): Promise<void> {
    return this.#turn.run(() => this.#refresh(options.force));
  }

  entries(): NameEntry[] {
    return [...this.#files.values()].map((file) => file.entry).filter((entry) => entry !== null);
  }

  /** Files that hold no entry: damaged by something other than a crash. */
  damaged(): string[] {
    return [...this.#files].filter(([, file]) => file.entry === null).map(([name]) => join(this.#folder, name));
  }

  /** Call it under the lock, and `refresh` after it. */
  async write(entry: NameEntry, scratch: string): Promise<void> {
    await replaceFile(this.#path(entry.name), `${JSON.stringify(entry, null, 2)}\n`, scratch);
  }

  /** Call it under the lock, and `refresh` after it. */
  async remove(name: string): Promise<void> {
    await rm(this.#path(name), { force: true });
    await sync(this.#folder);
  }

  async #refresh(force: boolean): Promise<void> {
    const now = Date.now();
    const folder = await orMissing(stat(this.#folder, { bigint: true }));
    if (!force && folder?.mtimeNs === this.#folderTime) return;
    const files = new Map<string, IndexFile>();
    for (const file of await namesIn(this.#folder)) {
      if (!filePattern.test(file)) continue;
      const known = await this.#read(file);
      if (known) files.set(file, known);
    }
    this.#files = files;
    const settled = folder !== null && now - Number(folder.mtimeMs) > settledMs;
    this.#folderTime = settled ? folder.mtimeNs : -1n;
  }

  async #read(file: string): Promise<IndexFile | null> {
    const path = join(this.#folder, file);
    const status = await orMissing(stat(path, { bigint: true }));
    if (!status) return null;
    const signature = `${status.ino}:${status.mtimeNs}:${status.size}`;
    const known = this.#files.get(file);
    if (known?.signature === signature) return known;
    if (!status.isFile()) return { signature, entry: null };
    const text = await textIn(path);
    if (text === null) return null;
    const parsed = v.safeParse(v.pipe(v.string(), v.parseJson(), schema), text);
    const entry = parsed.success && fileOf(parsed.output.name) === file ? parsed.output : null;
    return { signature, entry };
  }

  #path(name: string): string {
    return join(this.#folder, fileOf(name));
  }
}

function fileOf(name: string): string {
  return `${createHash("sha256").update(nameKey(name)).digest("hex")}.json`;
}
