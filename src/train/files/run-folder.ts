/**
 * Where a run lives: a hidden folder beside the result, locked by one process, that becomes the result by one rename. Knows
 * names, not what is in the files.
 *
 *     adapters/.training/plays/lock/    who trains adapters/plays
 *     adapters/.training/plays/run/     the run; at its end renamed to adapters/plays
 *     adapters/.training/plays/options.json   what the run was asked for, so that it can go on
 *
 * All of it goes with the run: a run that was refused or has ended leaves none of it. A result keeps its checkpoints, so that a
 * run can begin from there again.
 */
import { cp, mkdir, readFile, rename, rmdir, stat } from "node:fs/promises";
import { basename, dirname, join, relative, resolve } from "node:path";
import { namesIn, orMissing, removeTree, renameDurably, replaceFile, syncTree } from "../../base/durable.js";
import { LorikeetError } from "../../base/errors.js";
import { makeFolders } from "../../base/files.js";
import { FolderLock } from "../../base/lock.js";
import { lifeOf, ownerKey } from "../../base/owner.js";
import { reportsFolder } from "../reports/reports.js";
import { recordFile } from "./record.js";

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

  /** The run's checkpoints. */
  get checkpoints(): string {
    return join(this.path, "checkpoints");
  }

  /** Where a run that resumes has its checkpoints: the unfinished run, or else the result. */
  async origin(): Promise<string> {
    return (await exists(this.path)) ? this.path : this.out;
  }

  /** Runs the task while no other process trains into the same folder. Throws `conflict` when one does. */
  async locked<T>(task: () => Promise<T>): Promise<T> {
    const folder = join(this.#home, "lock");
    const made = await makeFolders(folder);
    const key = ownerKey();
    let entered = false;
    let isElsewhere = false;
    const isAlive = async (other: string): Promise<boolean> => {
      const life = lifeOf(other);
      isElsewhere ||= life === "elsewhere";
      return life !== "dead";
    };
    const lock = new FolderLock({ folder, key, isAlive, waitMs: 0 });
    try {
      return await lock.run(async () => {
        entered = true;
        try {
          return await task();
        } finally {
          if (!(await exists(this.path))) await this.#leave(key, made);
        }
      });
    } catch (cause) {
      if (entered || !(cause instanceof LorikeetError) || cause.code !== "conflict") throw cause;
      const where = isElsewhere
        ? ` It was begun on another machine or in another container: if it is gone, delete ${folder}.`
        : "";
      const message = `Another process is training into ${this.out}; one run at a time can.${where}`;
      throw new LorikeetError("conflict", message, { param: "--output-dir", found: this.out, cause });
    }
  }

  /** Takes away what only a run needs, lock and all; `made` is the first folder on the way that was not there before. */
  async #leave(key: string, made: string | undefined): Promise<void> {
    const gone = `${this.#home}.${key}`;
    await rename(this.#home, gone);
    await removeTree(gone);
    let folder = dirname(this.#home);
    while ((await removeEmpty(folder)) && made !== undefined && !relative(made, dirname(folder)).startsWith("..")) {
      folder = dirname(folder);
    }
  }

  /** Refuses what would be lost without a word. Changes nothing. */
  async check(mode: StartMode): Promise<void> {
    const [result, run] = [await exists(this.out), await exists(this.path)];
    if (mode === "overwrite") {
      if (!result || (await isResult(this.out))) return;
      const why = `${this.out} is not the result of a run (it has no ${recordFile}), and is not replaced: choose another --output-dir.`;
      throw conflict(why, this.out);
    }
    if (mode === "resume") {
      if (!run && (await namesIn(join(this.out, "checkpoints"))).length === 0) throw nothingToResume(this.out);
    } else if (run) {
      throw conflict(
        `An unfinished run into ${this.out} was found: --resume goes on with it, --overwrite begins anew.`,
        this.out,
      );
    } else if (result) {
      throw conflict(`${this.out} exists already; --overwrite replaces it.`, this.out);
    }
  }

  /**
   * Makes the run's folder; only a run that resumes keeps what is in it, or takes a copy of what its result has kept. `options`:
   * what it was asked for, kept until it is finished. There is no run without them, whenever the process or the disk ends.
   */
  async start(mode: StartMode, options: Readonly<Record<string, unknown>>): Promise<void> {
    if (mode !== "resume") await removeTree(this.path);
    await replaceFile(this.#optionsFile, `${JSON.stringify(options, null, 2)}\n`, `${this.#optionsFile}.draft`);
    if (mode === "resume" && !(await exists(this.path))) await this.#copyResult();
    await mkdir(this.path, { recursive: true });
  }

  async #copyResult(): Promise<void> {
    const draft = `${this.path}.draft`;
    await removeTree(draft);
    await mkdir(draft, { recursive: true });
    for (const name of keptForRuns) {
      const from = join(this.out, name);
      if (await exists(from)) await cp(from, join(draft, name), { recursive: true });
    }
    await syncTree(draft);
    await renameDurably(draft, this.path);
  }

  /** The options of an unfinished run; null where there is none. */
  async recall(): Promise<Readonly<Record<string, unknown>> | null> {
    const text = (await exists(this.path)) ? await orMissing(readFile(this.#optionsFile, "utf8")) : null;
    const value: unknown = text === null ? null : JSON.parse(text);
    return typeof value === "object" && value !== null ? { ...value } : null;
  }

  get #optionsFile(): string {
    return join(this.#home, "options.json");
  }

  /** Makes the run the result, in place of one that is there. */
  async finish(): Promise<void> {
    await syncTree(this.path);
    const old = join(this.#home, "old");
    await removeTree(old);
    if (await exists(this.out)) await rename(this.out, old);
    await renameDurably(this.path, this.out);
    await removeTree(old);
    await removeTree(this.#optionsFile);
  }
}

/** What a result keeps for a run that resumes from it. */
const keptForRuns = ["checkpoints", "training.jsonl", reportsFolder, recordFile];

/** A folder that a run has made, or an empty one: nobody else's work is lost with it. */
async function isResult(path: string): Promise<boolean> {
  if (!(await stat(path)).isDirectory()) return false;
  const names = await namesIn(path);
  return names.length === 0 || names.includes(recordFile);
}

/** Whether the folder was empty, and is gone. */
async function removeEmpty(folder: string): Promise<boolean> {
  try {
    await rmdir(folder);
    return true;
  } catch {
    return false;
  }
}

const exists = async (path: string): Promise<boolean> => (await orMissing(stat(path))) !== null;

const nothingToResume = (out: string): LorikeetError =>
  conflict(`There is neither an unfinished run into ${out} nor a result with checkpoints to resume from.`, out);

function conflict(message: string, found: string): LorikeetError {
  return new LorikeetError("conflict", message, { param: "--output-dir", found });
}
