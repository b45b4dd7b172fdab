/** The use case of running a task model: resolve, check, submit a job for each row, join their outputs, release everything at its one end. */

import type { LorikeetError } from "../../base/errors.js";
import type { Logger } from "../../base/log.js";
import type { TaskEngine, TaskResult, TaskTensor } from "../../engine/task/types.js";
import type { ActivityBook } from "../activity.js";
import type { Catalog, Target } from "../catalog.js";
import { Deadline, type DeadlineTimes } from "../deadline.js";
import { asFault } from "../fault.js";
import { type GatewayObserver, type RequestSummary, type Route, summaryOf } from "../observer.js";
import { checkInputs } from "./inputs.js";
import { joinRows, splitRows } from "./rows.js";

export interface InferRequest {
  /** null: the base. */
  readonly model: string | null;
  readonly inputs: ReadonlyMap<string, TaskTensor>;
}

export interface InferAnswer {
  /** The name that was asked for. */
  readonly model: string;
  readonly adapter: string | null;
  readonly outputs: ReadonlyMap<string, TaskTensor>;
}

export interface InferenceDeps {
  readonly engine: TaskEngine;
  readonly catalog: Catalog;
  readonly activity: ActivityBook;
  readonly observer: GatewayObserver;
  readonly logger: Logger;
  readonly times: DeadlineTimes;
  /** Rows of one request. */
  readonly maxRows: number;
}

/** What a request counts as, and how its body is read: a body that cannot be read is counted too. */
export interface InferReading {
  readonly route: Route;
  /** `signal` ends what reading takes long for. */
  read(signal: AbortSignal): InferRequest | Promise<InferRequest>;
}

export class Inference {
  readonly #deps: InferenceDeps;

  constructor(deps: InferenceDeps) {
    this.#deps = deps;
  }

  /** Rejects with a LorikeetError. `summary` is of a request that has ended, either way. */
  async infer(
    { route, read }: InferReading,
    client: AbortSignal,
    ended: (summary: RequestSummary) => void = () => {},
  ): Promise<InferAnswer> {
    const { activity, catalog, observer, logger, times } = this.#deps;
    const startedAt = performance.now();
    const deadline = new Deadline(times, client);
    let target: Target | null = null;
    let ticket: ReturnType<ActivityBook["begin"]> | null = null;
    let queueMs: number | null = null;
    let fault: LorikeetError | null = null;
    try {
      const request = await read(deadline.signal);
      target = catalog.resolve(request.model);
      ticket = activity.begin(target.adapter);
      catalog.prefetch(target);
      const results = await this.#run(request, target, deadline, () => ticket?.admit());
      queueMs = Math.max(...results.map((result) => result.queueMs));
      const { adapter } = target;
      return {
        model: request.model ?? target.model,
        adapter,
        outputs: joinRows(results.map(({ outputs }) => outputs)),
      };
    } catch (error) {
      fault = asFault(deadline.signal.aborted ? deadline.signal.reason : error);
      if (fault.status >= 500 && fault.code !== "draining" && fault.code !== "queue_timeout") {
        logger.error({ err: fault, adapter: target?.adapter ?? null }, "An inference failed");
      }
      throw fault;
    } finally {
      deadline.release();
      ticket?.end(null);
      target?.release();
      const end = { usage: null, queueMs, timeToFirstTokenMs: null };
      const summary = summaryOf(route, startedAt, target, fault, end);
      if (queueMs !== null) observer.queued?.(queueMs / 1000);
      observer.ended?.(summary);
      ended(summary);
    }
  }

  /** One job for each row. If one fails, the others are ended. */
  async #run({ inputs }: InferRequest, target: Target, deadline: Deadline, admit: () => void): Promise<TaskResult[]> {
    const { engine, maxRows } = this.#deps;
    const count = checkInputs(inputs, engine.signature, maxRows);
    const rows = count === null ? [inputs] : splitRows(inputs, count);
    const others = new AbortController();
    const signal = AbortSignal.any([deadline.signal, others.signal]);
    try {
      const jobs = rows.map((row) => engine.submit({ inputs: row, adapter: target.weightsDigest, signal }));
      void Promise.all(jobs.map(({ admitted }) => admitted)).then(
        () => {
          deadline.admitted();
          admit();
        },
        () => {},
      );
      return await Promise.all(jobs.map(({ result }) => result));
    } catch (error) {
      others.abort();
      throw error;
    }
  }
}
