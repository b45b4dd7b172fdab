/**
 * Where a run lives: a hidden folder beside the result, locked by one process, that becomes the result by one rename. Knows
 * names, not what is in the files.
 *
 *     adapters/.training/plays/lock/    who trains adapters/plays
 *     adapters/.training/plays/run/     the run; at its end renamed to adapters/plays
 */
import { mkdir, rename, stat } from "node:fs/promises";
import { basename, dirname, join, resolve } from "node:path";
import { orMissing, removeTree, renameDurably, syncTree } from "../adapter/durable.js";
import { FolderLock } from "../adapter/lock.js";
import { lifeOf, ownerKey } from "../adapter/owner.js";
import { LorikeetError } from "../base/errors.js";

export type StartMode = "fresh" | "resume" | "overwrite";

export class RunFolder {
  /** The result, absolute. */
  readonly out: string;
  /** Where the run writes. */
  readonly path: string;
  readonly #home: string;

  constructor(out: string) {
    this.out = resolve(out);
    this.#home = join(dirname(this.out), ".training", basename(this.out));
    this.path = join(this.#home, "run");
  }

  /** Runs the task while no other process trains into the same folder. Throws `conflict` when one does. */
  async locked<T>(task: () => Promise<T>): Promise<T> {
    const folder = join(this.#home, "lock");
    await mkdir(folder, { recursive: true });
    let entered = false;
    const lock = new FolderLock({
      folder,
      key: ownerKey(),
      isAlive: async (key) => lifeOf(key) !== "dead",
      waitMs: 0,
    });
    try {
      return await lock.run(() => {
        entered = true;
        return task();
      });
    } catch (cause) {
      if (entered || !(cause instanceof LorikeetError) || cause.code !== "conflict") throw cause;
      throw new LorikeetError("conflict", `Another process is training into ${this.out}; one run at a time can.`, {
        param: "--out",
        found: this.out,
        cause,
      });
    }
  }

  /** Refuses what would be lost without a word, and makes the run's folder. Call it under the lock. */
  async start(mode: StartMode): Promise<void> {
    const [result, run] = [await exists(this.out), await exists(this.path)];
    if (mode === "overwrite") {
      await removeTree(this.path);
    } else {
      if (result) throw conflict(`${this.out} exists already; --overwrite replaces it.`, this.out);
      if (mode === "fresh" && run) {
        throw conflict(
          `An unfinished run into ${this.out} was found: --resume goes on with it, --overwrite begins anew.`,
          this.out,
        );
      }
      if (mode === "resume" && !run) throw conflict(`There is no unfinished run into ${this.out} to resume.`, this.out);
    }
    await mkdir(this.path, { recursive: true });
  }

  /** Makes the run the result, in place of one that is there. */
  async finish(): Promise<void> {
    await syncTree(this.path);
    const old = join(this.#home, "old");
    await removeTree(old);
    if (await exists(this.out)) await rename(this.out, old);
    await renameDurably(this.path, this.out);
    await removeTree(old);
  }
}

const exists = async (path: string): Promise<boolean> => (await orMissing(stat(path))) !== null;

function conflict(message: string, found: string): LorikeetError {
  return new LorikeetError("conflict", message, { param: "--out", found });
}
