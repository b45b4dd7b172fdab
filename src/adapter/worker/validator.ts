/**
 * Checks adapters one at a time in a thread of their own, apart from the one that loads them: a check that passes its deadline ends
 * with its thread and delays no load. Clients take turns, however many checks one of them asks for, and few may wait.
 */

import { type Deferred, deferred } from "../../base/async.js";
import { LorikeetError } from "../../base/errors.js";
import type { BaseModule } from "../../model/blueprint.js";
import type { CheckedAdapter, CheckOptions } from "../format.js";
import { AdapterWorker } from "./worker.js";

export interface ValidationLimits {
  /** Of one check, from when it starts. */
  readonly timeoutMs: number;
  /** Checks of clients that may wait; one more is `validations_busy`. */
  readonly maxWaiting: number;
}

export const validationDefaults: ValidationLimits = { timeoutMs: 60_000, maxWaiting: 16 };

export type ValidationOutcome = "passed" | "refused" | "timeout" | "busy" | "failed";

export interface ValidatorOptions extends Partial<ValidationLimits> {
  /** Told of each check as it ends, with the seconds that it ran. Synchronous and cheap. */
  readonly observe?: (outcome: ValidationOutcome, seconds: number) => void;
  /** Runs the checks; a thread unless told otherwise. */
  readonly worker?: Pick<AdapterWorker, "check" | "close">;
}

interface Job {
  readonly run: () => Promise<CheckedAdapter>;
  readonly done: Deferred<CheckedAdapter>;
}

/** Whose turn checks of the operator's own folders take: they are never refused for being many. */
const operator = "";

export class Validator {
  readonly #limits: ValidationLimits;
  readonly #observe: NonNullable<ValidatorOptions["observe"]>;
  readonly #worker: Pick<AdapterWorker, "check" | "close">;
  /** By client, whoever is next first. */
  readonly #waiting = new Map<string, Job[]>();
  #isRunning = false;

  constructor(options: ValidatorOptions = {}) {
    this.#limits = { ...validationDefaults, ...options };
    this.#observe = options.observe ?? (() => {});
    this.#worker = options.worker ?? new AdapterWorker({ atOnce: 1, deadlineMs: this.#limits.timeoutMs });
  }

  /** Checks of clients that wait. */
  get waiting(): number {
    let waiting = 0;
    for (const [client, jobs] of this.#waiting) if (client !== operator) waiting += jobs.length;
    return waiting;
  }

  /** As `checkAdapter`. `client`: who asks; null for the operator. Rejects with `validations_busy` or `validation_timeout` too. */
  async check(
    folder: string,
    modules: readonly BaseModule[],
    options: CheckOptions = {},
    client: string | null = null,
  ): Promise<CheckedAdapter> {
    const { maxWaiting } = this.#limits;
    const { waiting } = this;
    if (client !== null && this.#isRunning && waiting >= maxWaiting) {
      this.#observe("busy", 0);
      const message = `${waiting} adapters wait to be checked; at most ${maxWaiting} are allowed.`;
      throw new LorikeetError("validations_busy", message, { found: waiting, allowed: maxWaiting });
    }
    const job = { run: () => this.#worker.check(folder, modules, options), done: deferred<CheckedAdapter>() };
    const key = client ?? operator;
    const jobs = this.#waiting.get(key);
    if (jobs) jobs.push(job);
    else this.#waiting.set(key, [job]);
    void this.#advance();
    return job.done.promise;
  }

  /** Checks that run or wait reject with `draining`. Idempotent. */
  async close(): Promise<void> {
    await this.#worker.close();
  }

  async #advance(): Promise<void> {
    if (this.#isRunning) return;
    this.#isRunning = true;
    for (let job = this.#next(); job; job = this.#next()) await this.#run(job);
    this.#isRunning = false;
  }

  /** Of the client whose turn it is, who then goes to the end of the line. */
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
