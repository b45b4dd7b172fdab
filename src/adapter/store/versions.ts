/**
 * The stored versions: one folder per digest, with the adapter's files and the results of its checks. A version in its folder never
 * changes. Knows no names, and never decides what to delete.
 */

import { readdir, rename, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import * as v from "valibot";
import {
  isFull,
  namesIn,
  orMissing,
  removeTree,
  renameDurably,
  replaceFile,
  sync,
  syncTree,
  textIn,
} from "../../base/durable.js";
import { LorikeetError } from "../../base/errors.js";
import type { AdapterSummary } from "../types.js";

/** The file with the summary, beside the adapter's files; not part of the adapter. */
export const summaryFile = "lorikeet-summary.json";

const digestPattern = /^sha256:([0-9a-f]{64})$/;
const folderPattern = /^sha256-([0-9a-f]{64})$/;

const text = v.string();
const count = v.pipe(v.number(), v.minValue(0));
const storedSchema = v.object({
  checkKey: text,
  summary: v.object({
    digest: v.pipe(text, v.regex(digestPattern)),
    weightsDigest: v.optional(v.pipe(text, v.regex(digestPattern))), // absent if it equals the version's digest
    rank: count,
    dora: v.optional(v.boolean(), false), // absent in summaries from before DoRA
    modules: count,
    bytes: count,
    activeBytes: count,
    scales: v.object({ min: v.number(), max: v.number() }),
    alphas: v.exactOptional(v.array(v.number())), // absent in older summaries
    labels: v.exactOptional(count),
    warnings: v.array(text),
    ignored: v.array(text),
  }),
});
const fileSchema = v.pipe(text, v.parseJson(), v.object({ checks: v.array(storedSchema) }));
const maxChecks = 4;

export interface StoredSummary {
  /** The base model that the summary is valid for: another one has another key. */
  readonly checkKey: string;
  readonly summary: AdapterSummary;
}

/** A version that has no folder yet; all of its bytes are on disk. */
export interface PreparedVersion {
  readonly folder: string;
  readonly bytes: number;
}

export class Versions {
  readonly #root: string;
  readonly #sizes = new Map<string, number>();
  #bytes = 0;

  constructor(root: string) {
    this.#root = root;
  }

  /** The folder of a version, stored or not. Throws `adapter_not_found` for text that is not a digest. */
  folder(digest: string): string {
    const hex = digestPattern.exec(digest)?.[1];
    if (hex) return join(this.#root, `sha256-${hex}`);
    throw new LorikeetError("adapter_not_found", `"${digest}" is not an adapter's digest.`, {
      found: digest,
      allowed: "sha256: and 64 hexadecimal digits",
    });
  }

  /** Reads the given versions again, or the list of all. Returns those that were added or removed. One call at a time. */
  async refresh(digests: Iterable<string> | null): Promise<string[]> {
    const changed: string[] = [];
    const there = digests === null ? new Set((await namesIn(this.#root)).flatMap(digestOf)) : null;
    for (const digest of digests ?? new Set([...this.#sizes.keys(), ...(there ?? [])])) {
      const known = this.#sizes.get(digest);
      if (known !== undefined && there?.has(digest)) continue;
      const isThere = there ? there.has(digest) : await this.has(digest);
      if (isThere !== (known !== undefined)) changed.push(digest);
      this.#set(digest, isThere ? await folderBytes(this.folder(digest)) : undefined);
    }
    return changed;
  }

  /** Every stored version's digest and bytes on disk, as of the last `refresh`. */
  get sizes(): ReadonlyMap<string, number> {
    return this.#sizes;
  }

  /** Bytes of all stored versions, as of the last `refresh`. */
  get bytes(): number {
    return this.#bytes;
  }

  #set(digest: string, bytes: number | undefined): void {
    this.#bytes += (bytes ?? 0) - (this.#sizes.get(digest) ?? 0);
    if (bytes === undefined) this.#sizes.delete(digest);
    else this.#sizes.set(digest, bytes);
  }

  async has(digest: string): Promise<boolean> {
    return (await this.identity(digest)) !== null;
  }

  /** Changes if the version's folder is replaced; null if the version is not stored. */
  async identity(digest: string): Promise<string | null> {
    const status = await orMissing(stat(this.folder(digest), { bigint: true }));
    return status && `${status.dev}:${status.ino}:${status.birthtimeNs}`;
  }

  /** Moves the kept files of a staged folder into a draft, adds the summary, and flushes both to disk. */
  async prepare(staged: string, draft: string, stored: StoredSummary): Promise<PreparedVersion> {
    const ignored = new Set(stored.summary.ignored);
    for (const entry of await readdir(staged, { withFileTypes: true })) {
      if (entry.isFile() && !ignored.has(entry.name)) await rename(join(staged, entry.name), join(draft, entry.name));
    }
    await writeFile(join(draft, summaryFile), summaryText([stored]));
    await syncTree(draft);
    return { folder: draft, bytes: await folderBytes(draft) };
  }

  /** Renames a prepared version into its folder, atomically. Call it under the lock. */
  async commit(digest: string, prepared: PreparedVersion): Promise<void> {
    await renameDurably(prepared.folder, this.folder(digest));
  }

  /** The result of a check under this key; null if there is none, or if the version is not stored. */
  async readSummary(digest: string, checkKey: string): Promise<AdapterSummary | null> {
    const summary = (await this.#readChecks(digest)).find((check) => check.checkKey === checkKey)?.summary;
    return summary?.digest === digest ? summary : null;
  }

  /** Adds a check's result. If there are too many, the oldest is dropped. */
  async addSummary(digest: string, stored: StoredSummary, scratch: string): Promise<void> {
    const others = (await this.#readChecks(digest)).filter((check) => check.checkKey !== stored.checkKey);
    const content = summaryText([stored, ...others].slice(0, maxChecks));
    await replaceFile(join(this.folder(digest), summaryFile), content, scratch);
  }

  /** Removes a version atomically by renaming it to `grave`; file by file if the disk is too full for a rename. Call it under the lock. */
  async remove(digest: string, grave: string): Promise<void> {
    try {
      await orMissing(rename(this.folder(digest), grave));
    } catch (cause) {
      if (!isFull(cause)) throw cause;
      await removeTree(this.folder(digest)); // a crash leaves a damaged version without a name: it is collected, or repaired by the next upload
    }
    await sync(this.#root);
    await removeTree(grave);
  }

  async #readChecks(digest: string): Promise<StoredSummary[]> {
    const source = await textIn(join(this.folder(digest), summaryFile));
    const parsed = v.safeParse(fileSchema, source);
    const checks = parsed.success ? parsed.output.checks : [];
    return checks.map(({ checkKey, summary }) => ({
      checkKey,
      summary: { ...summary, weightsDigest: summary.weightsDigest ?? summary.digest },
    }));
  }
}

function digestOf(folderName: string): string[] {
  const hex = folderPattern.exec(folderName)?.[1];
  return hex === undefined ? [] : [`sha256:${hex}`];
}

function summaryText(checks: readonly StoredSummary[]): string {
  return `${JSON.stringify({ checks }, null, 2)}\n`;
}

async function folderBytes(folder: string): Promise<number> {
  let bytes = 0;
  for (const name of await namesIn(folder)) bytes += (await orMissing(stat(join(folder, name))))?.size ?? 0;
  return bytes;
}
