/** The server's fine-tuning API, as far as the page uses it. Times are seconds since 1970. */
import type { Call } from "./client.js";
import { bodyOf, isNoAnswer, noAnswer } from "./errors.js";

export type JobStatus = "validating_files" | "queued" | "running" | "paused" | "succeeded" | "failed" | "cancelled";

export interface Job {
  readonly id: string;
  readonly status: JobStatus;
  readonly model: string;
  readonly created_at: number;
  readonly finished_at: number | null;
  readonly estimated_finish: number | null;
  /** What requests name the product by; null until there is one. */
  readonly fine_tuned_model: string | null;
  readonly user_provided_suffix: string | null;
  readonly trained_tokens: number | null;
  readonly training_file: string;
  readonly validation_file: string | null;
  readonly seed: number;
  readonly metadata: Readonly<Record<string, string>> | null;
  readonly method: Readonly<Record<string, unknown>>;
  /** Which step's weights were published; null until they are. */
  readonly lorikeet?: {
    /** What it is trained for, by Hugging Face's name. */
    readonly task: string | null;
    readonly kept: { step: number; total_steps: number; best_step: number | null } | null;
  };
  readonly error: { readonly code: string; readonly message: string } | null;
}

export interface JobEvent {
  readonly id: string;
  readonly created_at: number;
  readonly level: "info" | "warn" | "error";
  readonly message: string;
  readonly type: "message" | "metrics";
  /** Figures of a step; `samples` of a message that has some. */
  readonly data: Readonly<Record<string, unknown>>;
}

export interface JobRequest {
  readonly model: string;
  /** What it is trained for, by Hugging Face's name; null: what is usual for the base. */
  readonly task: string | null;
  readonly suffix: string;
  /** What the adapter is for. */
  readonly description: string;
  /** Whether its card, which every key may read, shows a few short rows. */
  readonly showsRows: boolean;
  readonly method: "supervised" | "dpo";
  /** null: chosen by the server. */
  readonly epochs: number | null;
  readonly learningRateMultiplier: number | null;
}

interface Page<Item> {
  readonly data: readonly Item[];
  readonly has_more: boolean;
}

const jobsPath = "v1/fine_tuning/jobs";
const pageSize = 100;
/** Of a job; the oldest of a longer run are not read. */
const mostEvents = 2_000;

export class FineTuningClient {
  readonly #call: Call;

  constructor(call: Call) {
    this.#call = call;
  }

  /** Newest first. Throws ApiError `route_not_found` where the server trains nothing. */
  async jobs(): Promise<readonly Job[]> {
    return (await this.#json<Page<Job>>(`${jobsPath}?limit=${pageSize}`)).data;
  }

  /** Throws ApiError `job_not_found` for one that has gone, or is another key's. */
  job(id: string): Promise<Job> {
    return this.#json(`${jobsPath}/${encodeURIComponent(id)}`);
  }

  /** Oldest first. Of a job whose events are `known` up to one, only those after it are read. */
  async events(id: string, known: readonly JobEvent[] = []): Promise<readonly JobEvent[]> {
    const newest = known.at(-1)?.id;
    const events: JobEvent[] = [];
    for (let after = ""; events.length < mostEvents; ) {
      const path = `${jobsPath}/${id}/events?limit=${pageSize}${after === "" ? "" : `&after=${after}`}`;
      const { data, has_more: hasMore } = await this.#json<Page<JobEvent>>(path);
      const end = data.findIndex((event) => event.id === newest);
      if (end >= 0) return [...known, ...[...events, ...data.slice(0, end)].reverse()].slice(-mostEvents);
      events.push(...data);
      after = data.at(-1)?.id ?? "";
      if (!hasMore || data.length === 0) break;
    }
    return events.reverse();
  }

  /**
   * Uploads the rows and starts a job on them. If the job is refused, the server does not keep the rows. A `signal` that aborts before the job is
   * asked for ends it all, with ApiError `no_answer`.
   */
  async start(
    rows: File,
    { model, task, suffix, description, showsRows, method, epochs, learningRateMultiplier }: JobRequest,
    signal: AbortSignal | null = null,
  ): Promise<Job> {
    const form = new FormData();
    form.set("purpose", "fine-tune");
    form.set("file", rows, rows.name);
    const file = await this.#json<{ readonly id: string }>("v1/files", { method: "POST", body: form, signal });
    const forget = (): Promise<unknown> => this.#call(`v1/files/${file.id}`, { method: "DELETE" }).catch(() => {});
    if (signal?.aborted) {
      await forget();
      throw noAnswer();
    }
    const hyperparameters = {
      n_epochs: epochs ?? "auto",
      learning_rate_multiplier: learningRateMultiplier ?? "auto",
    };
    const body = {
      model,
      training_file: file.id,
      ...(task === null ? {} : { task }),
      ...(suffix === "" ? {} : { suffix }),
      metadata: { ...(description === "" ? {} : { description }), card_rows: showsRows ? "show" : "hide" },
      method: { type: method, [method]: { hyperparameters } },
    };
    try {
      return await this.#create(body);
    } catch (error) {
      // Without an answer, the job may have been made and need its rows.
      if (!isNoAnswer(error)) await forget();
      throw error;
    }
  }

  /** A job on the same rows with the same settings. Throws ApiError `file_not_found` where the server no longer keeps the rows. */
  startAgain(job: Job): Promise<Job> {
    const { model, training_file, validation_file, user_provided_suffix: suffix, seed, metadata, method } = job;
    const task = job.lorikeet?.task ?? null;
    const given = Object.entries({ validation_file, suffix, metadata, task }).filter(([, value]) => value !== null);
    return this.#create({ model, training_file, seed, method, ...Object.fromEntries(given) });
  }

  act(id: string, action: "pause" | "resume" | "cancel"): Promise<Job> {
    return this.#json(`${jobsPath}/${id}/${action}`, { method: "POST" });
  }

  #create(body: Readonly<Record<string, unknown>>): Promise<Job> {
    const headers = { "content-type": "application/json" };
    return this.#json(jobsPath, { method: "POST", headers, body: JSON.stringify(body) });
  }

  async #json<Answer>(path: string, init?: RequestInit): Promise<Answer> {
    return bodyOf((await this.#call(path, init)).json() as Promise<Answer>);
  }
}
