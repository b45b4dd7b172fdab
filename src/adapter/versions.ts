/**
 * The stored versions: one folder per digest with the adapter's files and what checking found out about them. A version
 * never changes once it has its folder. Knows nothing of names, and deletes only what it is told to.
 */

import { readdir, rename, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import * as v from "valibot";
import { LorikeetError } from "../base/errors.js";
import { namesIn, orMissing, removeTree, renameDurably, replaceFile, sync, syncTree, textIn } from "./durable.js";
import type { AdapterSummary } from "./types.js";

/** The file beside an adapter's own that holds its summary; not part of the adapter. */
export const summaryFile = "lorikeet-summary.json";

const digestPattern = /^sha256:([0-9a-f]{64})$/;
const folderPattern = /^sha256-([0-9a-f]{64})$/;

const text = v.string();
const count = v.pipe(v.number(), v.minValue(0));
const storedSchema = v.object({
  checkKey: text,
  summary: v.object({
    digest: v.pipe(text, v.regex(digestPattern)),
    weightsDigest: v.optional(v.pipe(text, v.regex(digestPattern))), // absent where it is the version's own
    rank: count,
    dora: v.optional(v.boolean(), false), // of before there was any
    modules: count,
    bytes: count,
    activeBytes: count,
    scales: v.object({ min: v.number(), max: v.number() }),
    alphas: v.exactOptional(v.array(v.number())), // of before there was any
    warnings: v.array(text),
    ignored: v.array(text),
  }),
});
const fileSchema = v.pipe(text, v.parseJson(), v.object({ checks: v.array(storedSchema) }));
const maxChecks = 4;

export interface StoredSummary {
  /** What the summary holds for: another base model has another key. */
  readonly checkKey: string;
  readonly summary: AdapterSummary;
}

/** A version that waits to be given its folder; all of its bytes are on the disk. */
export interface PreparedVersion {
  readonly folder: string;
  readonly bytes: number;
}

export class Versions {
  readonly #root: string;
  readonly #sizes = new Map<string, number>();

  constructor(root: string) {
    this.#root = root;
  }

  /** Where a version lies, stored or not. Throws `adapter_not_found` for what is no digest. */
  folder(digest: string): string {
    const hex = digestPattern.exec(digest)?.[1];
    if (hex) return join(this.#root, `sha256-${hex}`);
    throw new LorikeetError("adapter_not_found", `"${digest}" is not an adapter's digest.`, {
      found: digest,
      allowed: "sha256: and 64 hexadecimal digits",
    });
  }

  /** The digests of every stored version with their bytes on disk. */
  async list(): Promise<ReadonlyMap<string, number>> {
    const found = new Map<string, number>();
    for (const name of await namesIn(this.#root)) {
      const hex = folderPattern.exec(name)?.[1];
      if (!hex) continue;
      const digest = `sha256:${hex}`;
      found.set(digest, this.#sizes.get(digest) ?? (await folderBytes(join(this.#root, name))));
    }
    this.#sizes.clear();
    for (const [digest, bytes] of found) this.#sizes.set(digest, bytes);
    return found;
  }

  async has(digest: string): Promise<boolean> {
    return (await this.identity(digest)) !== null;
  }

  /** Changes when another folder takes the version's place; null when it is not stored. */
  async identity(digest: string): Promise<string | null> {
    const status = await orMissing(stat(this.folder(digest), { bigint: true }));
    return status && `${status.dev}:${status.ino}:${status.birthtimeNs}`;
  }

  /** Moves the kept files of a staged folder into a draft, with the summary, and flushes all of it. */
  async prepare(staged: string, draft: string, stored: StoredSummary): Promise<PreparedVersion> {
    const ignored = new Set(stored.summary.ignored);
    for (const entry of await readdir(staged, { withFileTypes: true })) {
      if (entry.isFile() && !ignored.has(entry.name)) await rename(join(staged, entry.name), join(draft, entry.name));
    }
    await writeFile(join(draft, summaryFile), summaryText([stored]));
    await syncTree(draft);
    return { folder: draft, bytes: await folderBytes(draft) };
  }

  /** Gives a prepared version its folder, in one step. Call it under the lock. */
  async commit(digest: string, prepared: PreparedVersion): Promise<void> {
    await renameDurably(prepared.folder, this.folder(digest));
  }

  /** What a check under this key found out; null where there was none, or the version is not stored. */
  async readSummary(digest: string, checkKey: string): Promise<AdapterSummary | null> {
    const summary = (await this.#readChecks(digest)).find((check) => check.checkKey === checkKey)?.summary;
    return summary?.digest === digest ? summary : null;
  }

  /** Adds what another check found out; the oldest of too many goes. */
  async addSummary(digest: string, stored: StoredSummary, scratch: string): Promise<void> {
    const others = (await this.#readChecks(digest)).filter((check) => check.checkKey !== stored.checkKey);
    const content = summaryText([stored, ...others].slice(0, maxChecks));
    await replaceFile(join(this.folder(digest), summaryFile), content, scratch);
  }

  /** Takes a version away in one step, by way of `grave`. Call it under the lock. */
  async remove(digest: string, grave: string): Promise<void> {
    await orMissing(rename(this.folder(digest), grave));
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

function summaryText(checks: readonly StoredSummary[]): string {
  return `${JSON.stringify({ checks }, null, 2)}\n`;
}

async function folderBytes(folder: string): Promise<number> {
  let bytes = 0;
  for (const name of await namesIn(folder)) bytes += (await orMissing(stat(join(folder, name))))?.size ?? 0;
  return bytes;
}
