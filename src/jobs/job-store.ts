/**
 * Jobs in a folder, one folder each: `job.json`, replaced whole at every change, and `events.jsonl`, which grows. `data` and `work` hold what
 * a run needs until the job ends. Knows nothing of processes.
 */
import { appendFile, mkdir } from "node:fs/promises";
import { join } from "node:path";
import { namesIn, removeTree, replaceFile, storageFault, textIn } from "../base/durable.js";
import { LorikeetError } from "../base/errors.js";
import { isObject } from "../base/json.js";
import { isId, newEventId } from "./ids.js";
import type { JobEvent, JobRecord } from "./types.js";

/** Where the parts of a job lie. */
export interface JobPlaces {
  readonly data: string;
  /** The run, and its product below `work/adapter`. */
  readonly work: string;
  readonly product: string;
}

/** The last events of a job that are kept. */
const maxEvents = 5_000;

export class JobStore {
  readonly #folder: string;
  readonly #jobs = new Map<string, JobRecord>();
  /** Writes to a job's folder run one after another. */
  readonly #writing = new Map<string, Promise<unknown>>();

  private constructor(folder: string) {
    this.#folder = folder;
  }

  /** Opens a folder that this process has locked. */
  static async open(folder: string): Promise<JobStore> {
    await mkdir(folder, { recursive: true });
    const store = new JobStore(folder);
    const found: JobRecord[] = [];
    for (const name of await namesIn(folder)) {
      if (!isId(name)) continue;
      const job = readJob(await textIn(join(folder, name, "job.json")));
      if (job) found.push(job);
      else await removeTree(join(folder, name)); // created, or removed, when the process ended
    }
    for (const job of found.sort((a, b) => a.createdAt - b.createdAt)) store.#jobs.set(job.id, job);
    return store;
  }

  /** All jobs, oldest first. */
  list(): JobRecord[] {
    return [...this.#jobs.values()];
  }

  find(id: string): JobRecord | null {
    return this.#jobs.get(id) ?? null;
  }

  /** Throws LorikeetError `job_not_found`, also for a job of another owner. */
  get(owner: string, id: string): JobRecord {
    const job = this.#jobs.get(id);
    if (job && job.owner === owner) return job;
    throw new LorikeetError("job_not_found", "There is no fine-tuning job with this id.", {
      param: "fine_tuning_job_id",
    });
  }

  placesOf(id: string): JobPlaces {
    const work = join(this.#folder, id, "work");
    return { data: join(this.#folder, id, "data"), work, product: join(work, "adapter") };
  }

  /** Creates a job's folder, which `fill` gives its data; nothing remains if that fails. */
  async add(job: JobRecord, fill: (places: JobPlaces) => Promise<void>): Promise<void> {
    const places = this.placesOf(job.id);
    try {
      await mkdir(places.data, { recursive: true });
      await mkdir(places.work);
      await fill(places);
      await this.#write(job);
    } catch (cause) {
      await removeTree(join(this.#folder, job.id));
      throw storageFault(cause, this.#folder, "fine-tuning folder");
    }
    this.#jobs.set(job.id, job);
  }

  /** Changes a job, in memory at once and on disk when this resolves. Throws LorikeetError `store_full`, or another fault of the disk. */
  async change(id: string, changes: Partial<JobRecord>): Promise<JobRecord> {
    const job = this.#jobs.get(id);
    if (!job) throw new LorikeetError("internal", "A fine-tuning job was removed while it changed.");
    const changed = { ...job, ...changes };
    this.#jobs.set(id, changed);
    await this.#after(id, () => this.#write(this.#jobs.get(id) ?? changed));
    return changed;
  }

  /** Adds an event. A disk that takes none loses it. */
  async note(id: string, event: Omit<JobEvent, "id" | "createdAt">, now: number): Promise<void> {
    const whole: JobEvent = { id: newEventId(), createdAt: now, ...event };
    await this.#after(id, () => appendFile(this.#eventsOf(id), `${JSON.stringify(whole)}\n`).catch(() => {}));
  }

  /** A job's events, oldest first. */
  async events(id: string): Promise<JobEvent[]> {
    await this.#writing.get(id);
    const text = (await textIn(this.#eventsOf(id))) ?? "";
    return text.split("\n").flatMap(readEvent).slice(-maxEvents);
  }

  /** Removes what only a running job needs. */
  async clear(id: string): Promise<void> {
    const { data, work } = this.placesOf(id);
    await removeTree(data);
    await removeTree(work);
  }

  async remove(id: string): Promise<void> {
    this.#jobs.delete(id);
    await this.#after(id, () => removeTree(join(this.#folder, id)));
    this.#writing.delete(id);
  }

  #write(job: JobRecord): Promise<void> {
    const path = join(this.#folder, job.id, "job.json");
    return replaceFile(path, `${JSON.stringify(job)}\n`, `${path}.draft`).catch((cause: unknown) => {
      throw storageFault(cause, this.#folder, "fine-tuning folder");
    });
  }

  #eventsOf(id: string): string {
    return join(this.#folder, id, "events.jsonl");
  }

  #after<T>(id: string, task: () => Promise<T>): Promise<T> {
    const turn = (this.#writing.get(id) ?? Promise.resolve()).then(task);
    this.#writing.set(
      id,
      turn.catch(() => {}),
    );
    return turn;
  }
}

function readEvent(line: string): JobEvent[] {
  try {
    const value: unknown = JSON.parse(line);
    return isObject(value) && isEvent(value) ? [value] : [];
  } catch {
    return []; // cut off by a crash
  }
}

const isEvent = (value: object): value is JobEvent => "id" in value && "level" in value && "message" in value;

function readJob(text: string | null): JobRecord | null {
  try {
    const value: unknown = JSON.parse(text ?? "null");
    return isObject(value) && isJob(value) ? value : null;
  } catch {
    return null;
  }
}

const isJob = (value: object): value is JobRecord => "id" in value && "owner" in value && "status" in value;
