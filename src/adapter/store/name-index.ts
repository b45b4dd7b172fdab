/**
 * Which name points at which digest: one small file per name, replaced atomically. The file's name is a hash, so no path is built from
 * a name. Knows digests only as text.
 */

import { createHash } from "node:crypto";
import { rm, stat } from "node:fs/promises";
import { join } from "node:path";
import * as v from "valibot";
import { namesIn, orMissing, replaceFile, sync, textIn } from "../../base/durable.js";
import { nameFault, nameKey } from "../names.js";

const digest = v.pipe(v.string(), v.regex(/^sha256:[0-9a-f]{64}$/));
const schema = v.object({
  name: v.pipe(
    v.string(),
    v.check((name) => nameFault(name) === null),
  ),
  digest,
  createdAt: v.number(),
  previous: v.array(digest),
  base: v.exactOptional(v.string()),
  job: v.exactOptional(v.string()),
});

export interface NameEntry {
  readonly name: string;
  readonly digest: string;
  /** Milliseconds since 1970. */
  readonly createdAt: number;
  /** Earlier digests of the name, latest first. A rollback accepts only these. */
  readonly previous: readonly string[];
  /** The served name of the adapter's base; absent: it was stored where there was only one. */
  readonly base?: string;
  /** The fine-tuning job of this server that trained it. */
  readonly job?: string;
}

/** A file of the index, with its entry; null if the file is damaged. */
interface IndexFile {
  readonly signature: string;
  readonly entry: NameEntry | null;
  /** For a damaged file: the digests that it may refer to, as far as known. */
  readonly suspects: readonly string[];
}

/** A name that is new, is gone, or points at another digest. */
export interface NameChange {
  readonly before: NameEntry | null;
  readonly now: NameEntry | null;
}

const filePattern = /^[0-9a-f]{64}\.json$/;

export class NameIndex {
  readonly folder: string;
  readonly #files = new Map<string, IndexFile>();
  readonly #damaged = new Set<string>();
  /** The number of names that point at a digest. */
  readonly #pointing = new Map<string, number>();

  constructor(folder: string) {
    this.folder = folder;
  }

  /** Reads files of the index again, or the whole index. One call at a time. */
  async refresh(files: Iterable<string> | null): Promise<NameChange[]> {
    const all = files ?? new Set([...this.#files.keys(), ...(await namesIn(this.folder))]);
    const changes: NameChange[] = [];
    for (const file of all) {
      if (!filePattern.test(file)) continue;
      const before = this.#files.get(file);
      const now = await this.#read(file, before);
      if (now === before) continue;
      this.#set(file, now);
      changes.push({ before: before?.entry ?? null, now: now?.entry ?? null });
    }
    return changes;
  }

  /** Files without a valid entry, damaged by something other than a crash, with the digests that they may refer to. */
  damaged(): ReadonlyMap<string, readonly string[]> {
    return new Map([...this.#damaged].map((file) => [file, this.#files.get(file)?.suspects ?? []]));
  }

  isPointedAt(digest: string): boolean {
    return this.#pointing.has(digest);
  }

  /** Call it under the lock, and `refresh` after it. */
  async write(entry: NameEntry, scratch: string): Promise<void> {
    await replaceFile(join(this.folder, nameFile(entry.name)), `${JSON.stringify(entry, null, 2)}\n`, scratch);
  }

  /** Call it under the lock, and `refresh` after it. */
  async remove(name: string): Promise<void> {
    await rm(join(this.folder, nameFile(name)), { force: true });
    await sync(this.folder);
  }

  #set(file: string, now: IndexFile | undefined): void {
    this.#count(this.#files.get(file)?.entry, -1);
    this.#count(now?.entry, 1);
    if (now) this.#files.set(file, now);
    else this.#files.delete(file);
    if (now && now.entry === null) this.#damaged.add(file);
    else this.#damaged.delete(file);
  }

  #count(entry: NameEntry | null | undefined, by: number): void {
    if (!entry) return;
    const count = (this.#pointing.get(entry.digest) ?? 0) + by;
    if (count > 0) this.#pointing.set(entry.digest, count);
    else this.#pointing.delete(entry.digest);
  }

  /** Returns `known` itself if the file has not changed; undefined if there is no file. */
  async #read(file: string, known: IndexFile | undefined): Promise<IndexFile | undefined> {
    const path = join(this.folder, file);
    const status = await orMissing(stat(path, { bigint: true }));
    if (!status) return undefined;
    const signature = `${status.ino}:${status.mtimeNs}:${status.ctimeNs}:${status.size}`;
    if (known?.signature === signature) return known;
    const text = status.isFile() ? await textIn(path) : "";
    if (text === null) return undefined;
    const parsed = v.safeParse(v.pipe(v.string(), v.parseJson(), schema), text);
    if (parsed.success && nameFile(parsed.output.name) === file)
      return { signature, entry: parsed.output, suspects: [] };
    const legible = text.match(/sha256:[0-9a-f]{64}/g) ?? [];
    return { signature, entry: null, suspects: [...new Set([...legible, ...digestsOf(known)])] };
  }
}

function digestsOf(known: IndexFile | undefined): readonly string[] {
  return known?.entry ? [known.entry.digest] : (known?.suspects ?? []);
}

/** The file of a name, below the folder of the index. */
export function nameFile(name: string): string {
  return `${createHash("sha256").update(nameKey(name)).digest("hex")}.json`;
}
