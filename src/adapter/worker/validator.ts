/**
 * Checks adapters one at a time, in a separate thread from the one that loads them: a check that exceeds its deadline ends with its
 * thread and delays no load. Clients take turns, however many checks each requests, and a bounded number may wait.
 */

import { type Deferred, deferred } from "../../base/async.js";
import { LorikeetError } from "../../base/errors.js";
import type { AdapterBase, CheckedAdapter, CheckOptions } from "../format.js";
import { AdapterWorker } from "./worker.js";

export interface ValidationLimits {
  /** Deadline of one check, from its start. */
  readonly timeoutMs: number;
  /** Checks that clients may have waiting; one more throws `validations_busy`. */
  readonly maxWaiting: number;
}

export const validationDefaults: ValidationLimits = { timeoutMs: 60_000, maxWaiting: 16 };

export type ValidationOutcome = "passed" | "refused" | "timeout" | "busy" | "failed";

export interface ValidatorOptions extends Partial<ValidationLimits> {
  /** Called when a check ends, with its duration in seconds. Must be synchronous and cheap. */
  readonly observe?: (outcome: ValidationOutcome, seconds: number) => void;
  /** Runs the checks. Default: a worker thread. */
  readonly worker?: Pick<AdapterWorker, "check" | "close">;
}

interface Job {
  readonly run: () => Promise<CheckedAdapter>;
  readonly done: Deferred<CheckedAdapter>;
}

/** The operator's turn. Checks of operators' folders are never refused for their number. */
const operator = "";

export class Validator {
  readonly #limits: ValidationLimits;
  readonly #observe: NonNullable<ValidatorOptions["observe"]>;
  readonly #worker: Pick<AdapterWorker, "check" | "close">;
  /** Waiting checks by client, the next client first. */
  readonly #waiting = new Map<string, Job[]>();
  #isRunning = false;

  constructor(options: ValidatorOptions = {}) {
    this.#limits = { ...validationDefaults, ...options };
    this.#observe = options.observe ?? (() => {});
    this.#worker = options.worker ?? new AdapterWorker({ atOnce: 1, deadlineMs: this.#limits.timeoutMs });
  }

  /** Waiting checks of clients. */
  get waiting(): number {
    let waiting = 0;
    for (const [client, jobs] of this.#waiting) if (client !== operator) waiting += jobs.length;
    return waiting;
  }

  /** Like `checkAdapter`. `client` is null for the operator. May also reject with `validations_busy` or `validation_timeout`. */
  async check(
    folder: string,
    base: AdapterBase,
    options: CheckOptions = {},
    client: string | null = null,
  ): Promise<CheckedAdapter> {
    const { maxWaiting } = this.#limits;
    const { waiting } = this;
    if (client !== null && this.#isRunning && waiting >= maxWaiting) {
      this.#observe("busy", 0);
      const message = `${waiting} adapters are waiting to be checked; at most ${maxWaiting} are allowed.`;
      throw new LorikeetError("validations_busy", message, { found: waiting, allowed: maxWaiting });
    }
    const job = { run: () => this.#worker.check(folder, base, options), done: deferred<CheckedAdapter>() };
    const key = client ?? operator;
    const jobs = this.#waiting.get(key);
    if (jobs) jobs.push(job);
    else this.#waiting.set(key, [job]);
    void this.#advance();
    return job.done.promise;
  }

  /** Running and waiting checks reject with `draining`. Idempotent. */
  async close(): Promise<void> {
    await this.#worker.close();
  }

  async #advance(): Promise<void> {
    if (this.#isRunning) return;
    this.#isRunning = true;
    for (let job = this.#next(); job; job = this.#next()) await this.#run(job);
    this.#isRunning = false;
  }

  /** The next check of the client whose turn it is. The client then moves to the end of the queue. */
  #next(): Job | undefined {
    const [first] = this.#waiting;
    if (!first) return undefined;
    const [client, [job, ...others]] = first;
    this.#waiting.delete(client);
    if (others.length > 0) this.#waiting.set(client, others);
    return job;
  }

  async #run({ run, done }: Job): Promise<void> {
    const started = performance.now();
    const ended = (outcome: ValidationOutcome): void => this.#observe(outcome, (performance.now() - started) / 1000);
    try {
      const checked = await run();
      ended("passed");
      done.resolve(checked);
    } catch (error) {
      ended(outcomeOf(error));
      done.reject(error);
    }
  }
}

function outcomeOf(error: unknown): ValidationOutcome {
  if (!(error instanceof LorikeetError)) return "failed";
  if (error.code === "validation_timeout") return "timeout";
  return error.status < 500 ? "refused" : "failed";
}
