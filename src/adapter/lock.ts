/**
 * The lock of a store's folder, taken for one write at a time by servers and commands alike. It outlives no process: the
 * lock of a dead one is passed over. Decides nothing about what is written.
 *
 * Each taking of the lock is a folder with the next number, made elsewhere and renamed into place, which fails where that
 * number is taken. Its file `owner` says who holds it; the owner's removal gives it back. The highest number alone counts
 * and is never removed, so two processes that saw the same dead holder cannot both follow it: only one can make the next
 * number, and one that comes so late that its number has been used and cleared away finds a higher one beside it. Whoever
 * holds the lock may take the whole folder away: the numbers then begin anew, and one that follows a number which is gone
 * begins anew too.
 */

import { mkdir, rename, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { Semaphore } from "../base/async.js";
import { LorikeetError } from "../base/errors.js";
import { hasCode, namesIn, removeTree, textIn } from "./durable.js";

const kept = 8; // past numbers that stay, so that a listing during a clean-up never misses all the higher ones
const pollMs = { first: 4, most: 50 };

export interface LockOptions {
  readonly folder: string;
  /** This process. */
  readonly key: string;
  readonly isAlive: (key: string) => Promise<boolean>;
  /** How long to wait for another process. */
  readonly waitMs: number;
}

export class FolderLock {
  readonly #options: LockOptions;
  readonly #turn = new Semaphore(1);
  #attempts = 0;

  constructor(options: LockOptions) {
    this.#options = options;
  }

  /** Runs the task while no other process, and no other task here, holds the lock. `conflict` when the wait is too long. */
  run<T>(task: () => Promise<T>): Promise<T> {
    return this.#turn.run(async () => {
      const number = await this.#acquire();
      try {
        return await task();
      } finally {
        await rm(this.#ownerFile(number), { force: true });
      }
    });
  }

  async #acquire(): Promise<number> {
    const started = performance.now();
    let pause = pollMs.first;
    for (;;) {
      const last = Math.max(0, ...(await this.#numbers()));
      const holder = await this.#holder(last);
      if (holder === null) {
        if (await this.#claim(last + 1)) return last + 1;
        continue;
      }
      const waited = performance.now() - started;
      if (waited > this.#options.waitMs) throw this.#busy(holder, waited);
      await sleep(pause * (0.5 + Math.random() / 2));
      pause = Math.min(pause * 2, pollMs.most);
    }
  }

  /** The live process that holds a number; null when it was given back or its holder has died. */
  async #holder(number: number): Promise<string | null> {
    const key = await textIn(this.#ownerFile(number));
    return key !== null && (await this.#options.isAlive(key)) ? key : null;
  }

  async #claim(number: number): Promise<boolean> {
    const { folder, key } = this.#options;
    const draft = join(folder, `${key}-${++this.#attempts}`);
    try {
      await mkdir(draft, { recursive: true });
      await writeFile(join(draft, "owner"), key);
      await writeFile(join(draft, "taken"), ""); // keeps the folder from being empty, which a rename would replace
      await rename(draft, join(folder, String(number)));
    } catch (cause) {
      await removeTree(draft);
      const isTaken =
        hasCode(cause, "ENOTEMPTY", "EEXIST") || (process.platform === "win32" && hasCode(cause, "EPERM"));
      if (isTaken || hasCode(cause, "ENOENT")) return false; // ENOENT: the folder was taken away meanwhile
      throw cause;
    }
    const numbers = await this.#numbers();
    const followsNone = number > 1 && !numbers.includes(number - 1);
    if (followsNone || numbers.some((other) => other > number)) {
      await removeTree(join(folder, String(number)));
      return false;
    }
    await this.#clean(number);
    return true;
  }

  /** Removes old numbers, and drafts of processes that died while they made them. */
  async #clean(current: number): Promise<void> {
    const { folder, isAlive } = this.#options;
    for (const name of await namesIn(folder)) {
      const number = numberOf(name);
      const stale = number === null ? !(await isAlive(name.split("-")[0] ?? "")) : number <= current - kept;
      if (stale) await removeTree(join(folder, name));
    }
  }

  async #numbers(): Promise<number[]> {
    return (await namesIn(this.#options.folder)).map(numberOf).filter((number) => number !== null);
  }

  #ownerFile(number: number): string {
    return join(this.#options.folder, String(number), "owner");
  }

  #busy(holder: string, waited: number): LorikeetError {
    const { waitMs } = this.#options;
    return new LorikeetError(
      "conflict",
      `Another process (id ${holder.split(".")[1] ?? "unknown"}) has been writing to the adapters folder for ${Math.round(waited)} ms; at most ${waitMs} ms are waited for it.`,
      { found: Math.round(waited), allowed: waitMs },
    );
  }
}

function numberOf(name: string): number | null {
  return /^[1-9][0-9]{0,14}$/.test(name) ? Number(name) : null;
}
