/**
 * The folder of a run: hidden next to the result, locked by one process, and renamed to become the result.
 *
 *     adapters/.training/plays/lock/    held by the process that trains adapters/plays
 *     adapters/.training/plays/run/     the run; renamed to adapters/plays at the end
 *     adapters/.training/plays/options.json   the run's options, for --resume
 *
 * A run that was rejected or has ended leaves none of these. A result keeps its checkpoints, so that a run can be extended.
 */
import { cp, mkdir, readFile, rename, rmdir, stat } from "node:fs/promises";
import { basename, dirname, join, relative, resolve } from "node:path";
import { namesIn, orMissing, removeTree, renameDurably, replaceFile, syncTree } from "../../base/durable.js";
import { hasCode, LorikeetError } from "../../base/errors.js";
import { makeFolders } from "../../base/files.js";
import { FolderLock } from "../../base/lock.js";
import { lifeOf, ownerKey } from "../../base/owner.js";
import { reportsFolder } from "../reports/reports.js";
import { recordFile } from "./record.js";

export type StartMode = "fresh" | "resume" | "overwrite";

export class RunFolder {
  /** Absolute path of the result. */
  readonly outputDir: string;
  /** The folder that the run writes to. */
  readonly path: string;
  readonly #home: string;

  constructor(outputDir: string) {
    this.outputDir = resolve(outputDir);
    this.#home = join(dirname(this.outputDir), ".training", basename(this.outputDir));
    this.path = join(this.#home, "run");
  }

  /** The run's checkpoints. */
  get checkpoints(): string {
    return join(this.path, "checkpoints");
  }

  /** The folder from which a run resumes: the unfinished run, or else the result. */
  async origin(): Promise<string> {
    return (await exists(this.path)) ? this.path : this.outputDir;
  }

  /** Runs the task with the folder locked. Throws `conflict` if another process trains into it. */
  async locked<T>(task: () => Promise<T>): Promise<T> {
    const folder = join(this.#home, "lock");
    const created = await makeFolders(folder);
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
          if (!(await exists(this.path))) await this.#leave(key, created);
        }
      });
    } catch (cause) {
      if (entered || !hasCode(cause, "conflict")) throw cause;
      const where = isElsewhere
        ? ` It runs on another machine or in another container. If it is gone, delete ${folder}.`
        : "";
      const message = `Another process is training into ${this.outputDir}; only one run at a time can.${where}`;
      throw new LorikeetError("conflict", message, { param: "--output-dir", found: this.outputDir, cause });
    }
  }

  /** Removes the run's files, including the lock, and the folders that were created for it; `created` is the topmost of these. */
  async #leave(key: string, created: string | undefined): Promise<void> {
    const gone = `${this.#home}.${key}`;
    await rename(this.#home, gone);
    await removeTree(gone);
    let folder = dirname(this.#home);
    while (
      (await removeEmpty(folder)) &&
      created !== undefined &&
      !relative(created, dirname(folder)).startsWith("..")
    ) {
      folder = dirname(folder);
    }
  }

  /** Throws `conflict` if a run or result would be lost. Changes nothing. */
  async check(mode: StartMode): Promise<void> {
    const [result, run] = [await exists(this.outputDir), await exists(this.path)];
    if (mode === "overwrite") {
      if (!result || (await isResult(this.outputDir))) return;
      const why = `${this.outputDir} is not the result of a run (it has no ${recordFile}), so it is not replaced: choose another --output-dir.`;
      throw conflict(why, this.outputDir);
    }
    if (mode === "resume") {
      if (!run && (await namesIn(join(this.outputDir, "checkpoints"))).length === 0)
        throw nothingToResume(this.outputDir);
    } else if (run) {
      throw conflict(
        `There is an unfinished run into ${this.outputDir}: --resume continues it, --overwrite starts over.`,
        this.outputDir,
      );
    } else if (result) {
      throw conflict(`${this.outputDir} already exists; --overwrite replaces it.`, this.outputDir);
    }
  }

  /**
   * Creates the run's folder. On resume it keeps its contents, or copies what the result has kept. `options` are stored first, so
   * that a run always has them, whenever the process or the disk fails.
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
      const from = join(this.outputDir, name);
      if (await exists(from)) await cp(from, join(draft, name), { recursive: true });
    }
    await syncTree(draft);
    await renameDurably(draft, this.path);
  }

  /** The options of an unfinished run; null if there is none. */
  async recall(): Promise<Readonly<Record<string, unknown>> | null> {
    const text = (await exists(this.path)) ? await orMissing(readFile(this.#optionsFile, "utf8")) : null;
    const value: unknown = text === null ? null : JSON.parse(text);
    return typeof value === "object" && value !== null ? { ...value } : null;
  }

  get #optionsFile(): string {
    return join(this.#home, "options.json");
  }

  /** Renames the run to the result, replacing an existing one. */
  async finish(): Promise<void> {
    await syncTree(this.path);
    const old = join(this.#home, "old");
    await removeTree(old);
    if (await exists(this.outputDir)) await rename(this.outputDir, old);
    await renameDurably(this.path, this.outputDir);
    await removeTree(old);
    await removeTree(this.#optionsFile);
  }
}

/** What a result keeps so that a run can be extended. */
const keptForRuns = ["checkpoints", "training.jsonl", reportsFolder, recordFile];

/** Whether the folder is a run's result, or empty, so that it can be replaced. */
async function isResult(path: string): Promise<boolean> {
  if (!(await stat(path)).isDirectory()) return false;
  const names = await namesIn(path);
  return names.length === 0 || names.includes(recordFile);
}

/** Removes the folder if it is empty; returns whether it was. */
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
