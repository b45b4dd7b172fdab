/**
 * The processes that have a store open, one small file each: a sign of life that other machines can see too, and the
 * versions that lost their names but are still held there. Decides nothing about what is deleted.
 */

import { rename, rm, stat, utimes, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { hasCode, namesIn, orMissing, textIn } from "../../base/durable.js";
import { lifeOf } from "../../base/owner.js";

const beatMs = 3_000;
const scratchMark = "~";
/** A process on another machine or in another container that gave no sign of life for so long is taken for dead. */
export const silentMs = 20_000;

export interface StoreUser {
  readonly key: string;
  /** Digests without a name that the process still needs. */
  readonly holds: ReadonlySet<string>;
}

export class StoreUsers {
  readonly key: string;
  readonly #folder: string;
  #timer: NodeJS.Timeout | undefined;
  #published = "";

  constructor(folder: string, key: string) {
    this.#folder = folder;
    this.key = key;
  }

  /** Registers this process and keeps its sign of life fresh until `leave`. Idempotent. */
  async enter(): Promise<void> {
    if (this.#timer) {
      if (!(await orMissing(stat(join(this.#folder, this.key))))) await this.#write(this.#holds()); // it was taken away
      return;
    }
    await this.#write([]);
    this.#timer = setInterval(() => void this.#beat(), beatMs);
    this.#timer.unref();
  }

  /** Tells the others which nameless versions are needed here. */
  async publish(holds: readonly string[]): Promise<void> {
    if (this.#timer && holds.join() !== this.#published) await orMissing(this.#write(holds));
  }

  /** The other live processes. The files of dead ones are removed. */
  async others(): Promise<StoreUser[]> {
    const users: StoreUser[] = [];
    for (const file of await namesIn(this.#folder)) {
      const key = file.replace(scratchMark, "");
      if (key === this.key) continue;
      if (!(await this.isAlive(key, file))) await rm(join(this.#folder, file), { force: true });
      else if (file === key) {
        const text = (await textIn(join(this.#folder, key))) ?? "";
        users.push({ key, holds: new Set(text.split(",").filter(Boolean)) });
      }
    }
    return users;
  }

  /** Whether the process of a key lives: seen directly on this machine, by its sign of life on another. */
  async isAlive(key: string, file = key): Promise<boolean> {
    const life = lifeOf(key);
    if (life !== "elsewhere") return life === "alive";
    const sign = await orMissing(stat(join(this.#folder, file)));
    return sign !== null && Date.now() - sign.mtimeMs < silentMs;
  }

  async leave(): Promise<void> {
    clearInterval(this.#timer);
    this.#timer = undefined;
    await rm(join(this.#folder, this.key), { force: true });
  }

  #holds(): string[] {
    return this.#published.split(",").filter(Boolean);
  }

  async #write(holds: readonly string[]): Promise<void> {
    const path = join(this.#folder, this.key);
    await writeFile(path + scratchMark, holds.join());
    await rename(path + scratchMark, path); // whole or not at all: a list read too short would free what is needed
    this.#published = holds.join();
  }

  async #beat(): Promise<void> {
    const now = new Date();
    try {
      await utimes(join(this.#folder, this.key), now, now);
    } catch (cause) {
      // Removed by a process that took this one for dead, or the folder is gone: say it again where that is possible.
      if (hasCode(cause, "ENOENT") && this.#timer) {
        await this.#write(this.#holds()).catch(() => {});
      }
    }
  }
}
