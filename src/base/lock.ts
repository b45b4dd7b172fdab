/**
 * The lock of a store's folder, taken for one write at a time by servers and commands alike. It outlives no process: the
 * lock of a dead one is passed over. Decides nothing about what is written, but remembers what was: whoever reads the folder
 * next learns from the last turns what has changed since it looked.
 *
 * Each taking of the lock is a folder with the next number, made elsewhere and renamed into place, which fails where that
 * number is taken. Its file `owner` says who holds it; the owner's removal gives it back. The highest number alone counts
 * and is never removed, so two processes that saw the same dead holder cannot both follow it: only one can make the next
 * number, and one that comes so late that its number has been used and cleared away finds a higher one beside it. Whoever
 * holds the lock may take the whole folder away: the numbers then begin anew, and one that follows a number which is gone
 * begins anew too.
 *
 * On a full disk, where a name may still be removed, the number is a symbolic link instead: its target, which no file
 * system keeps in a block of its own, says who holds it. The target lies below the link itself, so that looking for a file
 * in it fails loudly.
 */

import { mkdir, readlink, rename, rm, stat, symlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { Semaphore } from "./async.js";
import { hasCode, isFull, namesIn, orMissing, removeTree, textIn } from "./durable.js";
import { LorikeetError } from "./errors.js";

const kept = 64; // past turns that stay, with what they changed; never all of them are missed by a listing during a clean-up
const pollMs = { first: 4, most: 50 };
const nobody = "nobody";

export interface LockOptions {
  readonly folder: string;
  /** This process. */
  readonly key: string;
  readonly isAlive: (key: string) => Promise<boolean>;
  /** How long to wait for another process. */
  readonly waitMs: number;
}

/** One holding of the lock. */
export interface LockTurn {
  readonly number: number;
  /** What was changed, one line each; other processes read it. */
  readonly changes: Set<string>;
}

/** A moment in the history of a lock. */
export interface LockMark {
  readonly folder: string;
  readonly number: number;
}

export interface LockHistory {
  /** The last turn that is over. */
  readonly mark: LockMark;
  /** null: anything may have changed. */
  readonly changes: ReadonlySet<string> | null;
  /** A turn is under way. */
  readonly isBusy: boolean;
}

export class FolderLock {
  readonly #options: LockOptions;
  readonly #turn = new Semaphore(1);
  #attempts = 0;

  constructor(options: LockOptions) {
    this.#options = options;
  }

  /** Runs the task while no other process, and no other task here, holds the lock. `conflict` when the wait is too long. */
  run<T>(task: (turn: LockTurn) => Promise<T>, waitMs = this.#options.waitMs): Promise<T> {
    return this.#turn.run(async () => {
      const { number, isLink } = await this.#acquire(waitMs);
      const changes = new Set<string>();
      try {
        return await task({ number, changes });
      } finally {
        if (isLink) await this.#releaseLink(number);
        else await this.#release(number, changes);
      }
    });
  }

  /** What the turns since a mark changed, but for the one of number `own`, which the caller holds. */
  async historySince(since: LockMark | null, own?: number): Promise<LockHistory> {
    const folder = await this.#identity();
    const numbers = (await this.#numbers()).filter((number) => number !== own);
    const last = Math.max(0, ...numbers);
    const isBusy = (await this.#holder(last)) !== null;
    const mark = { folder, number: isBusy ? last - 1 : last };
    if (since === null || since.folder !== folder || since.number > mark.number) return { mark, changes: null, isBusy };
    const changes = new Set<string>();
    for (let number = since.number + 1; number <= mark.number; number++) {
      const text = await this.#textIn(number, "changes");
      if (text === null) return { mark, changes: null, isBusy }; // cleared away, or its holder died
      for (const line of text.split("\n").filter(Boolean)) changes.add(line);
    }
    return { mark, changes, isBusy };
  }

  /** The mark after a turn that is held, whose changes the caller knows; null where they will not be remembered. */
  async markOf({ number }: LockTurn): Promise<LockMark | null> {
    const isFolder = (await orMissing(stat(this.#path(number)).catch(noneIfLink))) !== null;
    return isFolder ? { folder: await this.#identity(), number } : null;
  }

  async #acquire(waitMs: number): Promise<{ readonly number: number; readonly isLink: boolean }> {
    const started = performance.now();
    let pause = pollMs.first;
    for (;;) {
      const last = Math.max(0, ...(await this.#numbers()));
      const holder = await this.#holder(last);
      if (holder === null) {
        const claimed = await this.#claim(last + 1);
        if (claimed) return { number: last + 1, isLink: claimed === "link" };
        continue;
      }
      const waited = performance.now() - started;
      if (waited > waitMs) throw busy(holder, waited, waitMs);
      await sleep(pause * (0.5 + Math.random() / 2));
      pause = Math.min(pause * 2, pollMs.most);
    }
  }

  /** The live process that holds a number; null when it was given back or its holder has died. */
  async #holder(number: number): Promise<string | null> {
    const key = (await this.#textIn(number, "owner")) ?? (await this.#linkedOwner(number));
    return key !== null && (await this.#options.isAlive(key)) ? key : null;
  }

  async #linkedOwner(number: number): Promise<string | null> {
    const target = await orMissing(readlink(this.#path(number)).catch(noneIfFolder));
    return target?.split("/")[1] ?? null;
  }

  /** null where another has the number. */
  async #claim(number: number): Promise<"folder" | "link" | null> {
    const kind = await this.#make(number);
    if (kind === null) return null;
    const numbers = await this.#numbers();
    const followsNone = number > 1 && !numbers.includes(number - 1);
    if (followsNone || numbers.some((other) => other > number)) {
      await removeTree(this.#path(number));
      return null;
    }
    await this.#clean(number - kept);
    return kind;
  }

  async #make(number: number): Promise<"folder" | "link" | null> {
    try {
      return (await this.#makeFolder(number)) ? "folder" : null;
    } catch (cause) {
      if (!isFull(cause)) throw cause;
      await this.#clean(number - 2); // all but the last: each gives some room back
      return (await this.#makeLink(number, cause)) ? "link" : null;
    }
  }

  async #makeFolder(number: number): Promise<boolean> {
    const draft = this.#draft();
    try {
      await mkdir(draft, { recursive: true });
      await writeFile(join(draft, "owner"), this.#options.key);
      await writeFile(join(draft, "taken"), ""); // keeps the folder from being empty, which a rename would replace
      await rename(draft, this.#path(number));
      return true;
    } catch (cause) {
      await removeTree(draft);
      const isTaken =
        hasCode(cause, "ENOTEMPTY", "EEXIST", "ENOTDIR") || (process.platform === "win32" && hasCode(cause, "EPERM"));
      if (isTaken || hasCode(cause, "ENOENT")) return false; // ENOENT: the folder was taken away meanwhile
      throw cause;
    }
  }

  /** Throws `full`, the reason why no folder could be made, where there can be no link either. */
  async #makeLink(number: number, full: unknown): Promise<boolean> {
    try {
      await symlink(join(String(number), this.#options.key), this.#path(number));
      return true;
    } catch (cause) {
      if (hasCode(cause, "EEXIST")) return false;
      throw full;
    }
  }

  async #release(number: number, changes: ReadonlySet<string>): Promise<void> {
    // Without it others read the whole store, so a disk that is full keeps nobody from anything.
    await writeFile(join(this.#path(number), "changes"), [...changes].join("\n")).catch(() => {});
    await rm(join(this.#path(number), "owner"), { force: true });
  }

  /** Leaves the number where that is possible, held by nobody. */
  async #releaseLink(number: number): Promise<void> {
    const draft = this.#draft();
    try {
      await symlink(join(String(number), nobody), draft);
      await rename(draft, this.#path(number));
    } catch {
      await rm(draft, { force: true });
      await rm(this.#path(number), { force: true });
    }
  }

  /** Removes numbers up to a last one, and drafts of processes that died while they made them. */
  async #clean(last: number): Promise<void> {
    const { folder, isAlive } = this.#options;
    for (const name of await namesIn(folder)) {
      const number = numberOf(name);
      const stale = number === null ? !(await isAlive(name.split("-")[0] ?? "")) : number <= last;
      if (stale) await removeTree(join(folder, name));
    }
  }

  async #numbers(): Promise<number[]> {
    return (await namesIn(this.#options.folder)).map(numberOf).filter((number) => number !== null);
  }

  /** Another where the folder was taken away. */
  async #identity(): Promise<string> {
    const status = await orMissing(stat(this.#options.folder, { bigint: true }));
    return status ? `${status.dev}:${status.ino}:${status.birthtimeNs}` : "";
  }

  #textIn(number: number, file: string): Promise<string | null> {
    return textIn(join(this.#path(number), file)).catch(noneIfLink);
  }

  #path(number: number): string {
    return join(this.#options.folder, String(number));
  }

  #draft(): string {
    return join(this.#options.folder, `${this.#options.key}-${++this.#attempts}`);
  }
}

function busy(holder: string, waited: number, waitMs: number): LorikeetError {
  return new LorikeetError(
    "conflict",
    `Another process (id ${holder.split(".")[1] ?? "unknown"}) has been writing to the adapters folder for ${Math.round(waited)} ms; at most ${waitMs} ms are waited for it.`,
    { found: Math.round(waited), allowed: waitMs },
  );
}

function noneIfLink(cause: unknown): null {
  if (hasCode(cause, "ELOOP")) return null;
  throw cause;
}

function noneIfFolder(cause: unknown): null {
  if (hasCode(cause, "EINVAL", "UNKNOWN")) return null; // what is no link
  throw cause;
}

function numberOf(name: string): number | null {
  return /^[1-9][0-9]{0,14}$/.test(name) ? Number(name) : null;
}
