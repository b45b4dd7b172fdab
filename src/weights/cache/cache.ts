/**
 * The cache folder of prepared weights. Each key has one file, written under a temporary name and renamed. If the folder exceeds
 * its limit, the least recently used files are removed, except those that a live process uses.
 */

import { randomBytes } from "node:crypto";
import { open, realpath, rename, rm, statfs, utimes, writeFile } from "node:fs/promises";
import { homedir } from "node:os";
import { isAbsolute, join } from "node:path";
import { LorikeetError } from "../../base/errors.js";
import { makeFolders } from "../../base/files.js";
import { type CacheFile, isHeld, listCache, ownMark } from "./files.js";

export interface WeightCacheOptions {
  /** Default `$XDG_CACHE_HOME/lorikeet`, or `~/.cache/lorikeet`. */
  readonly directory?: string;
  /** The largest total size of all files, in bytes. Default 64 GiB. */
  readonly maxBytes?: number;
}

export interface CacheRequest<T> {
  /** 64 hexadecimal digits. */
  readonly key: string;
  /** The size of the file that `fill` writes. */
  readonly bytes: number;
  /** Reads the file; undefined if it is incomplete or belongs to another key. */
  readonly verify: (file: string) => Promise<T | undefined>;
  /** Writes into an existing file of `bytes` zeros. */
  readonly fill: (file: string) => Promise<void>;
}

export interface CacheEntry<T> {
  readonly value: T;
  /** Absolute, without symbolic links. */
  readonly file: string;
  /** Whether the file existed. */
  readonly found: boolean;
  /** Lets the cache remove the file. Idempotent. */
  release(): Promise<void>;
}

const defaultMaxBytes = 64 * 2 ** 30;

/** `$XDG_CACHE_HOME/lorikeet`, or `~/.cache/lorikeet`. */
export function defaultCacheDirectory(env: NodeJS.ProcessEnv = process.env): string {
  const { XDG_CACHE_HOME: base } = env;
  return join(base && isAbsolute(base) ? base : join(homedir(), ".cache"), "lorikeet");
}

export class WeightCache {
  readonly directory: string;
  readonly maxBytes: number;

  private constructor(directory: string, maxBytes: number) {
    this.directory = directory;
    this.maxBytes = maxBytes;
  }

  /** Opens the folder, and creates it if missing. Throws `invalid_value` if it cannot be used. */
  static async open(options: WeightCacheOptions = {}): Promise<WeightCache> {
    const directory = options.directory ?? defaultCacheDirectory();
    try {
      await makeFolders(directory, 0o700);
      return new WeightCache(await realpath(directory), options.maxBytes ?? defaultMaxBytes);
    } catch (cause) {
      throw cause instanceof LorikeetError ? cause : unusable(directory, cause);
    }
  }

  /**
   * The file of a key, written if it is missing or invalid. Several processes may write it at once: the first to finish wins, and
   * the others use its file. Throws `store_full` if the disk or the limit has no room, and what `fill` throws.
   */
  async obtain<T>(request: CacheRequest<T>): Promise<CacheEntry<T>> {
    const file = join(this.directory, `${request.key}.safetensors`);
    const release = await this.#lease(request.key);
    try {
      const ready = await this.#find(file, request);
      if (ready !== undefined) return { value: ready, file, found: true, release };
      await this.#make(file, request);
      const value = await request.verify(file);
      if (value === undefined) throw new LorikeetError("internal", `The prepared file ${file} is not valid.`);
      return { value, file, found: false, release };
    } catch (error) {
      await release();
      throw error;
    }
  }

  async #find<T>(file: string, { verify }: CacheRequest<T>): Promise<T | undefined> {
    const value = await verify(file);
    // The time of last use, for the order of removal. A read-only folder still works.
    if (value !== undefined) await utimes(file, new Date(), new Date()).catch(() => {});
    return value;
  }

  /** Marks a key as used by this process. */
  async #lease(key: string): Promise<() => Promise<void>> {
    const path = join(this.directory, `${key}.${ownMark()}.${randomBytes(6).toString("hex")}.lease`);
    try {
      await writeFile(path, "", { flag: "wx" });
    } catch (cause) {
      if (codeOf(cause) === "ENOSPC") throw this.#noRoom(1, 0, cause);
      throw unusable(this.directory, cause);
    }
    return () => rm(path, { force: true });
  }

  async #make<T>(file: string, { key, bytes, fill, verify }: CacheRequest<T>): Promise<void> {
    await this.#makeRoom(bytes);
    const temporary = join(this.directory, `${key}.${ownMark()}.${randomBytes(6).toString("hex")}.tmp`);
    try {
      await using handle = await open(temporary, "wx");
      await handle.truncate(bytes);
      await fill(temporary);
      await handle.sync();
      const isWon = (await verify(file)) === undefined;
      if (isWon) await rename(temporary, file);
      await this.#syncDirectory();
    } catch (cause) {
      if (cause instanceof LorikeetError) throw cause;
      if (codeOf(cause) === "ENOSPC" || codeOf(cause) === "EDQUOT")
        throw this.#noRoom(bytes, await this.#free(), cause);
      throw unusable(this.directory, cause);
    } finally {
      await rm(temporary, { force: true });
    }
  }

  /**
   * Removes what crashed processes left, then the least recently used files, until `bytes` more fit the limit and the disk. If they
   * cannot fit, no usable file is removed.
   */
  async #makeRoom(bytes: number): Promise<void> {
    const files: CacheFile[] = [];
    for (const file of await listCache(this.directory)) {
      if (file.kind === "temporary" && !file.isOwned) await rm(file.path, { force: true });
      else files.push(file);
    }
    const prepared = files.filter(({ kind }) => kind === "prepared").sort((left, right) => left.usedMs - right.usedMs);
    const idle: CacheFile[] = [];
    for (const file of prepared) {
      if (!(await isHeld(this.directory, file.key))) idle.push(file);
    }
    let total = totalBytes(files);
    const free = await this.#free();
    if (total - totalBytes(idle) + bytes > this.maxBytes) throw this.#overLimit(bytes, total - totalBytes(idle));
    if (bytes > free + totalBytes(idle)) throw this.#noRoom(bytes, free);
    for (const file of idle) {
      if (total + bytes <= this.maxBytes && bytes <= (await this.#free())) break;
      if (await isHeld(this.directory, file.key)) continue; // in use since
      await rm(file.path, { force: true });
      total -= file.bytes;
    }
    if (total + bytes > this.maxBytes) throw this.#overLimit(bytes, total);
  }

  async #free(): Promise<number> {
    const { bavail, bsize } = await statfs(this.directory);
    return bavail * bsize;
  }

  async #syncDirectory(): Promise<void> {
    if (process.platform === "win32") return; // folders cannot be opened there
    await using handle = await open(this.directory, "r");
    await handle.sync();
  }

  #overLimit(bytes: number, held: number): LorikeetError {
    return new LorikeetError(
      "store_full",
      `The cache folder ${this.directory} is limited to ${this.maxBytes} bytes, of which ${held} are in use; the prepared weights need ${bytes}. Raise the limit or use another folder.`,
      { param: this.directory, found: held + bytes, allowed: this.maxBytes },
    );
  }

  #noRoom(bytes: number, free: number, cause?: unknown): LorikeetError {
    return new LorikeetError(
      "store_full",
      `The disk of the cache folder ${this.directory} is full: the prepared weights need ${bytes} bytes and ${free} are free.`,
      { param: this.directory, found: free, allowed: bytes, cause },
    );
  }
}

function totalBytes(files: readonly CacheFile[]): number {
  return files.reduce((sum, { bytes }) => sum + bytes, 0);
}

function unusable(directory: string, cause: unknown): LorikeetError {
  const reason = codeOf(cause) ?? String(cause);
  return new LorikeetError(
    "invalid_value",
    `The cache folder ${directory} cannot be written (${reason}); prepared weights need a writable folder.`,
    { param: directory, found: reason, allowed: "a writable folder", cause },
  );
}

function codeOf(cause: unknown): string | undefined {
  return cause instanceof Error && "code" in cause && typeof cause.code === "string" ? cause.code : undefined;
}
