/**
 * SHA-256 digests of weight files. A file is read once; then its digest is remembered by path, size, times and a sample of its
 * bytes. So a copy is recognized, and another model at the same path is not mistaken for the first.
 */

import { createHash, randomBytes } from "node:crypto";
import { type FileHandle, rename, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { LorikeetError } from "../../base/errors.js";
import { openRegular, readRegular } from "../../base/files.js";

const recordName = "contents.json";
const maxRecords = 256;
const chunkBytes = 4 * 2 ** 20;
const samples = 16;
const sampleBytes = 4096;

/** A file as it was when it was read, with its digest. */
type Entry = readonly [file: string, stamp: string, digest: string];

export interface ReadOptions {
  /** Called with the size of each chunk read. */
  readonly onBytes?: (bytes: number) => void;
  readonly signal?: AbortSignal | undefined;
}

export class WeightContents {
  readonly #path: string;
  readonly #entries: Map<string, Entry>;
  #isNew = false;

  private constructor(path: string, entries: readonly Entry[]) {
    this.#path = path;
    this.#entries = new Map(entries.map((entry) => [entry[0], entry]));
  }

  /** Loads the digests saved in the cache folder, if they can be read. */
  static async open(directory: string): Promise<WeightContents> {
    const path = join(directory, recordName);
    return new WeightContents(path, parse(await readRegular(path).then(String, () => "")));
  }

  /** The digest of a file, 64 hexadecimal digits. Throws `model_invalid` if the file cannot be read, `cancelled` if the signal aborts. */
  async digest(file: string, options: ReadOptions = {}): Promise<string> {
    try {
      await using handle = await openRegular(file);
      const stamp = await stampOf(handle);
      const known = this.#entries.get(file);
      if (known?.[1] === stamp) return known[2];
      const digest = await hashOf(handle, options);
      this.#entries.delete(file);
      this.#entries.set(file, [file, stamp, digest]);
      this.#isNew = true;
      return digest;
    } catch (cause) {
      if (cause instanceof LorikeetError) throw cause;
      const reason = cause instanceof Error && "code" in cause ? String(cause.code) : String(cause);
      throw new LorikeetError("model_invalid", `The file ${file} cannot be read (${reason}).`, { param: file, cause });
    }
  }

  /** Saves the digests for the next start. Does nothing in a read-only folder. */
  async save(): Promise<void> {
    if (!this.#isNew) return;
    const scratch = `${this.#path}.${randomBytes(6).toString("hex")}`;
    try {
      await writeFile(scratch, JSON.stringify([...this.#entries.values()].slice(-maxRecords)));
      await rename(scratch, this.#path);
      this.#isNew = false;
    } catch {
      await rm(scratch, { force: true }).catch(() => {});
    }
  }
}

function parse(text: string): readonly Entry[] {
  try {
    const value: unknown = JSON.parse(text);
    return Array.isArray(value) ? value.filter(isEntry) : [];
  } catch {
    return [];
  }
}

function isEntry(value: unknown): value is Entry {
  return Array.isArray(value) && value.length === 3 && value.every((part) => typeof part === "string");
}

async function stampOf(handle: FileHandle): Promise<string> {
  const { dev, ino, size, mtimeNs, ctimeNs } = await handle.stat({ bigint: true });
  const hash = createHash("sha256");
  const bytes = Buffer.alloc(sampleBytes);
  for (let i = 0n; i < samples; i++) {
    const { bytesRead } = await handle.read(bytes, 0, sampleBytes, Number((size * i) / BigInt(samples)));
    hash.update(bytes.subarray(0, bytesRead));
  }
  return [dev, ino, size, mtimeNs, ctimeNs, hash.digest("hex")].join(":");
}

async function hashOf(handle: FileHandle, { onBytes, signal }: ReadOptions): Promise<string> {
  const hash = createHash("sha256");
  const buffer = Buffer.alloc(chunkBytes);
  for (let offset = 0; ; ) {
    if (signal?.aborted) throw new LorikeetError("cancelled", "Reading the weights was stopped.");
    const { bytesRead } = await handle.read(buffer, 0, chunkBytes, offset);
    if (bytesRead === 0) return hash.digest("hex");
    hash.update(buffer.subarray(0, bytesRead));
    offset += bytesRead;
    onBytes?.(bytesRead);
  }
}
