/**
 * Downloads one file into its blob. Bytes go into an `.incomplete` file, which a later attempt or process resumes. The file gets
 * the blob's name only after its hash is verified.
 */

import { randomBytes } from "node:crypto";
import { type FileHandle, open, rename, rm, stat } from "node:fs/promises";
import type { TryLock } from "../base/try-lock.js";
import type { RepositoryCache } from "./cache.js";
import type { Answer, HubConnection } from "./connection.js";
import { feedStart, startHash } from "./content-hash.js";
import { hubFault, TemporaryFault } from "./faults.js";
import { filePath, type HubFile } from "./listing.js";
import { acquireLock } from "./lock.js";
import type { Repository } from "./repository.js";
import { type RetryLimits, withRetries } from "./retry.js";

export interface TransferOptions {
  readonly connection: HubConnection;
  readonly cache: RepositoryCache;
  readonly repository: Repository;
  readonly commit: string;
  readonly tryLock: TryLock;
  readonly retries: RetryLimits;
  readonly signal: AbortSignal;
  /** Bytes of the file present so far. Drops to 0 when the transfer restarts. */
  readonly onBytes: (done: number) => void;
  /** Bytes of each piece that arrives over the network. */
  readonly onReceived: (bytes: number) => void;
  readonly onWait: () => void;
}

/** How long to wait for another process whose file does not grow. */
const lockPatienceMs = 60_000;
/** Complete transfers with a wrong hash before the download fails. */
const maxWrongHashes = 2;

/** Downloads a blob; false if another process has done so. Throws a LorikeetError, the system's disk-full error, or the signal's reason. */
export async function fetchBlob(file: HubFile, options: TransferOptions): Promise<boolean> {
  const { cache, signal } = options;
  const blob = cache.blob(file.etag);
  const shared = cache.incomplete(file.etag);
  await using lock = await acquireLock(cache.lock(file.etag), {
    tryLock: options.tryLock,
    signal,
    onWait: options.onWait,
    holderProgress: () => bytesOf(shared),
    patienceMs: lockPatienceMs,
  });
  if ((await bytesOf(blob)) === file.bytes) {
    options.onBytes(file.bytes);
    return false;
  }
  // Without the lock another process may write to the shared file, so this one uses its own file.
  const path = lock === null ? `${blob}.${randomBytes(4).toString("hex")}.incomplete` : shared;
  try {
    await using handle = await open(path, "a+").then(async (created) => {
      await created.close();
      return await open(path, "r+");
    });
    await new Transfer(file, handle, options).run();
    await handle.sync();
    await rename(path, blob);
    return true;
  } catch (error) {
    if (lock === null) await rm(path, { force: true });
    throw error;
  }
}

class Transfer {
  readonly #file: HubFile;
  readonly #handle: FileHandle;
  readonly #options: TransferOptions;
  #hash;
  #done = 0;
  /** Bytes received in all attempts, including discarded ones. */
  #received = 0;

  constructor(file: HubFile, handle: FileHandle, options: TransferOptions) {
    this.#file = file;
    this.#handle = handle;
    this.#options = options;
    this.#hash = startHash(file);
  }

  async run(): Promise<void> {
    const { retries, signal } = this.#options;
    await this.#resume();
    for (let wrong = 1; ; wrong++) {
      await withRetries(
        () => this.#receive(),
        retries,
        signal,
        () => this.#received,
      );
      if (this.#hash.digest("hex") === this.#file.etag) return;
      await this.#restart();
      if (wrong >= maxWrongHashes) throw this.#damaged();
    }
  }

  /** Continues from the bytes of an earlier transfer. */
  async #resume(): Promise<void> {
    const { size } = await this.#handle.stat();
    if (size > this.#file.bytes) return await this.#restart();
    await feedStart(this.#hash, this.#handle, size, this.#options.signal);
    this.#done = size;
    this.#options.onBytes(size);
  }

  async #restart(): Promise<void> {
    await this.#handle.truncate(0);
    this.#hash = startHash(this.#file);
    this.#done = 0;
    this.#options.onBytes(0);
  }

  async #receive(): Promise<void> {
    const { connection, repository, commit } = this.#options;
    if (this.#done === this.#file.bytes) return;
    const path = filePath(repository, commit, this.#file.name);
    const headers = this.#done > 0 ? { range: `bytes=${this.#done}-` } : {};
    using answer = await connection.get(path, repository, headers);
    if (this.#done > 0 && !this.#continues(answer)) {
      await this.#restart();
      if (answer.status !== 200) throw new TemporaryFault("the hub sent a different range than requested");
    }
    for await (const piece of answer.pieces()) await this.#append(piece);
    if (this.#done < this.#file.bytes) {
      throw new TemporaryFault(`${this.#file.name} ended after ${this.#done} of ${this.#file.bytes} bytes`);
    }
  }

  /** Whether the response starts where the partial file ends. */
  #continues({ status, headers }: Answer): boolean {
    const [, start, total] = /^bytes (\d+)-\d+\/(\d+|\*)$/.exec(headers.get("content-range") ?? "") ?? [];
    const isOfFile = total === "*" || Number(total) === this.#file.bytes;
    return status === 206 && Number(start) === this.#done && isOfFile;
  }

  async #append(piece: Uint8Array): Promise<void> {
    this.#received += piece.length;
    this.#options.onReceived(piece.length);
    if (this.#done + piece.length > this.#file.bytes) throw this.#damaged();
    for (let at = 0; at < piece.length; ) {
      const { bytesWritten } = await this.#handle.write(piece, at, piece.length - at, this.#done + at);
      at += bytesWritten;
    }
    this.#hash.update(piece);
    this.#done += piece.length;
    this.#options.onBytes(this.#done);
  }

  #damaged() {
    const { repository } = this.#options;
    const message = `${this.#file.name} of ${repository.id} differs from the hub's listing in size or hash.`;
    return hubFault("hub_invalid", `${message} A proxy may have changed it, or the hub did: rerun the command.`, {
      param: this.#file.name,
    });
  }
}

async function bytesOf(path: string): Promise<number | null> {
  return (await stat(path).catch(() => null))?.size ?? null;
}
