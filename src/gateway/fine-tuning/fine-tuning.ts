/** The calls of OpenAI's files and fine-tuning API. Each caller sees its own files and jobs only. */
import type { IntakeLimits } from "../../adapter/upload/intake.js";
import { type UploadBody, type Uploads, uploadDefaults } from "../../adapter/upload/upload.js";
import { LorikeetError } from "../../base/errors.js";
import type { FileStore } from "../../jobs/file-store.js";
import type { JobStats, Jobs } from "../../jobs/jobs.js";
import type { JobRecord } from "../../jobs/types.js";
import { parseJob } from "./job-input.js";
import { type PageQuery, pageOf, readPageQuery } from "./list-page.js";
import { checkpointObject, eventObject, fileObject, jobObject } from "./objects.js";
import { receiveFile } from "./receive-file.js";

export interface FineTuningParts {
  readonly files: FileStore;
  readonly jobs: Jobs;
  /** Bounds of uploads that run at once. */
  readonly uploads: Uploads;
  /** Bounds of one upload. */
  readonly limits?: Partial<IntakeLimits>;
}

export interface FineTuningStats extends JobStats {
  readonly files: ReturnType<FileStore["stats"]>;
}

const fileRules = { limit: 10_000, maxLimit: 10_000, also: ["order", "purpose"] } as const;
const jobRules = { limit: 20, maxLimit: 100, also: ["metadata"] } as const;
const eventRules = { limit: 20, maxLimit: 1_000, also: [] } as const;
const checkpointRules = { limit: 10, maxLimit: 100, also: [] } as const;

export class FineTuning {
  readonly #parts: FineTuningParts;

  constructor(parts: FineTuningParts) {
    this.#parts = parts;
  }

  /** Receives a file. Throws what receiving and storing throw. */
  async upload(owner: string, upload: UploadBody, signal: AbortSignal) {
    const { files, uploads, limits } = this.#parts;
    const release = uploads.admit(upload.client);
    try {
      return fileObject(await receiveFile(files, owner, upload, { ...uploadDefaults, ...limits }, signal));
    } finally {
      release();
    }
  }

  listFiles(owner: string, query: URLSearchParams) {
    const asked = readPageQuery(query, fileRules);
    const files = this.#parts.files.list(owner).filter(({ purpose }) => (asked.purpose ?? purpose) === purpose);
    const { data, has_more } = pageOf(files, asked);
    return {
      object: "list" as const,
      data: data.map(fileObject),
      first_id: data[0]?.id ?? "",
      last_id: data.at(-1)?.id ?? "",
      has_more,
    };
  }

  /** Throws LorikeetError `file_not_found`. */
  file(owner: string, id: string) {
    return fileObject(this.#parts.files.get(owner, id));
  }

  /** Throws LorikeetError `file_not_found`. */
  async removeFile(owner: string, id: string) {
    await this.#parts.files.remove(owner, id);
    return { id, object: "file" as const, deleted: true };
  }

  /** The file's bytes, and its size. Throws LorikeetError `file_not_found`. */
  content(owner: string, id: string) {
    const { files } = this.#parts;
    return { bytes: files.get(owner, id).bytes, content: files.content(owner, id) };
  }

  /** Throws what reading the body and queueing the job throw. */
  async createJob(owner: string, body: unknown) {
    return this.#object(await this.#parts.jobs.create(owner, parseJob(body)));
  }

  listJobs(owner: string, query: URLSearchParams) {
    const asked = readPageQuery(query, jobRules);
    const jobs = this.#parts.jobs.list(owner).filter((job) => hasMetadata(job, asked));
    const { data, has_more } = pageOf(jobs, asked);
    return { object: "list" as const, data: data.map((job) => this.#object(job)), has_more };
  }

  /** Throws LorikeetError `job_not_found`. */
  job(owner: string, id: string) {
    return this.#object(this.#parts.jobs.get(owner, id));
  }

  /** Throws LorikeetError `job_not_found`, or what the call throws for a job in another state. */
  async changeJob(owner: string, id: string, call: "cancel" | "pause" | "resume") {
    return this.#object(await this.#parts.jobs[call](owner, id));
  }

  /** The newest first. Throws LorikeetError `job_not_found` or `invalid_value`. */
  async events(owner: string, id: string, query: URLSearchParams) {
    const asked = readPageQuery(query, eventRules);
    const { data, has_more } = pageOf(await this.#parts.jobs.events(owner, id), asked);
    return { object: "list" as const, data: data.map(eventObject), has_more };
  }

  /** The newest first. Throws LorikeetError `job_not_found` or `invalid_value`. */
  checkpoints(owner: string, id: string, query: URLSearchParams) {
    const { jobs } = this.#parts;
    const job = jobs.get(owner, id);
    const { data, has_more } = pageOf(job.checkpoints, readPageQuery(query, checkpointRules));
    return {
      object: "list" as const,
      data: data.map((each) => checkpointObject(each, job, jobs.baseNameOf(job))),
      first_id: data[0]?.id ?? null,
      last_id: data.at(-1)?.id ?? null,
      has_more,
    };
  }

  /** What jobs train for a base of this name, the usual task first; empty: nothing. */
  tasksOf(base: string): readonly string[] {
    return this.#parts.jobs.tasksOf(base);
  }

  stats(): FineTuningStats {
    return { ...this.#parts.jobs.stats(), files: this.#parts.files.stats() };
  }

  #object(job: JobRecord) {
    const { jobs } = this.#parts;
    return jobObject(job, jobs.baseNameOf(job), jobs.tasksOf(job.model)[0] ?? null);
  }
}

function hasMetadata({ metadata }: JobRecord, { metadata: asked }: PageQuery): boolean {
  return [...asked].every(([key, value]) => metadata?.[key] === value);
}

/** What the routes answer where the operator has not turned them on. */
export function fineTuningOff(): LorikeetError {
  const message = "Files and fine-tuning are off; the operator turns them on with `--fine-tuning <folder>`.";
  return new LorikeetError("route_not_found", message);
}
