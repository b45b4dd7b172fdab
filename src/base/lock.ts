/**
 * The lock of a store's folder, held by servers and commands for one write at a time. The lock of a dead process is ignored.
 * It also keeps a history: each turn lists what it changed, so that a reader knows what is stale since it last looked.
 *
 * A turn is a folder named by the next number. It is created elsewhere and renamed into place, which fails if the number is
 * taken. Its file `owner` names the holder; removing that file releases the lock. Only the highest number counts, and it is
 * never removed. So two processes that saw the same dead holder cannot both succeed it: only one can create the next number,
 * and a process so late that its number was used and cleaned up finds a higher number beside it. The holder may remove the
 * whole folder: the numbers then start over, and a process whose predecessor number is gone starts over too.
 *
 * On a full disk, where names can still be removed, the turn is a symbolic link instead. Its target names the holder and needs
 * no block of its own. The target lies below the link itself, so that opening a file in it fails with ELOOP.
 */

import { mkdir, readlink, rename, rm, stat, symlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { Semaphore } from "./async.js";
import { hasCode, isFull, namesIn, orMissing, removeTree, textIn } from "./durable.js";
import { LorikeetError } from "./errors.js";
import { at } from "./list.js";

const kept = 64; // past turns kept with their changes; so many that a listing during a clean-up never misses all of them
const pollMs = { first: 4, most: 50 };
const nobody = "nobody";

export interface LockOptions {
  readonly folder: string;
  /** The key of this process. */
  readonly key: string;
  readonly isAlive: (key: string) => Promise<boolean>;
  /** How long to wait for another process. */
  readonly waitMs: number;
}

/** One turn of holding the lock. */
export interface LockTurn {
  readonly number: number;
  /** What this turn changed, one line each; other processes read it. */
  readonly changes: Set<string>;
}

/** A moment in the history of a lock. */
export interface LockMark {
  readonly folder: string;
  readonly number: number;
}

export interface LockHistory {
  /** The last turn that has ended. */
  readonly mark: LockMark;
  /** null: anything may have changed. */
  readonly changes: ReadonlySet<string> | null;
  /** A turn is in progress. */
  readonly isBusy: boolean;
}

export class FolderLock {
  readonly #options: LockOptions;
  readonly #turn = new Semaphore(1);
  #attempts = 0;

  constructor(options: LockOptions) {
    this.#options = options;
  }

  /** Runs the task while holding the lock, against other processes and other tasks of this one. Throws `conflict` after `waitMs`. */
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

  /** What the turns since a mark changed, without turn `own`, which the caller holds. */
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
      if (text === null) return { mark, changes: null, isBusy }; // cleaned up, or its holder died
      for (const line of text.split("\n").filter(Boolean)) changes.add(line);
    }
    return { mark, changes, isBusy };
  }

  /** The mark after the turn that the caller holds; null if the turn's changes will not be recorded. */
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

  /** The live process that holds a turn; null if the turn was released or its holder has died. */
  async #holder(number: number): Promise<string | null> {
    const key = (await this.#textIn(number, "owner")) ?? (await this.#linkedOwner(number));
    return key !== null && (await this.#options.isAlive(key)) ? key : null;
  }

  async #linkedOwner(number: number): Promise<string | null> {
    const target = await orMissing(readlink(this.#path(number)).catch(noneIfFolder));
    return target?.split("/")[1] ?? null;
  }

  /** Takes a number; null if another process has it. */
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
      await this.#clean(number - 2); // all but the last: each frees some space
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
      if (isTaken || hasCode(cause, "ENOENT")) return false; // ENOENT: the folder was removed meanwhile
      throw cause;
    }
  }

  /** Throws `full`, the reason why no folder could be created, if no link can be created either. */
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
    // Without it others reread the whole store, so a full disk blocks nobody.
    await writeFile(join(this.#path(number), "changes"), [...changes].join("\n")).catch(() => {});
    await rm(join(this.#path(number), "owner"), { force: true });
  }

  /** Keeps the number, if possible, as a turn that nobody holds. */
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

  /** Removes the numbers up to `last`, and the drafts of dead processes. */
  async #clean(last: number): Promise<void> {
    const { folder, isAlive } = this.#options;
    for (const name of await namesIn(folder)) {
      const number = numberOf(name);
      const stale = number === null ? !(await isAlive(at(name.split("-"), 0))) : number <= last;
      if (stale) await removeTree(join(folder, name));
    }
  }

  async #numbers(): Promise<number[]> {
    return (await namesIn(this.#options.folder)).map(numberOf).filter((number) => number !== null);
  }

  /** Differs after the folder was removed and created again. */
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
    `Another process (id ${holder.split(".")[1] ?? "unknown"}) has been writing to the adapters folder for ${Math.round(waited)} ms; this one waits at most ${waitMs} ms.`,
    { found: Math.round(waited), allowed: waitMs },
  );
}

function noneIfLink(cause: unknown): null {
  if (hasCode(cause, "ELOOP")) return null;
  throw cause;
}

function noneIfFolder(cause: unknown): null {
  if (hasCode(cause, "EINVAL", "UNKNOWN")) return null; // not a link
  throw cause;
}

function numberOf(name: string): number | null {
  return /^[1-9][0-9]{0,14}$/.test(name) ? Number(name) : null;
}
