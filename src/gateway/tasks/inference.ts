/** The use case of running a task model: resolve, check, submit a job for each row, join their outputs, release everything at its one end. */

import { setMaxListeners } from "node:events";
import { LorikeetError } from "../../base/errors.js";
import type { Logger } from "../../base/log.js";
import type { TaskEngine, TaskResult, TaskTensor } from "../../engine/task/types.js";
import type { ActivityBook } from "../activity.js";
import type { Catalog, Target } from "../catalog.js";
import { Deadline, type DeadlineTimes } from "../deadline.js";
import { asFault } from "../fault.js";
import { type GatewayObserver, type RequestSummary, type Route, summaryOf } from "../observer.js";
import type { Usage } from "../parts.js";
import { checkInputs, type InputBounds, tooManyRows } from "./inputs.js";
import { splitRows } from "./rows.js";
import { NotNumbers } from "./values.js";

export interface InferRequest {
  /** null: the base. */
  readonly model: string | null;
  /** Batches, whose sizes may differ; each has one or more rows. */
  readonly inputs: readonly ReadonlyMap<string, TaskTensor>[];
  /** Tokens of its texts, if it has any. */
  readonly tokens?: number;
}

export interface InferAnswer {
  /** The name that was asked for. */
  readonly model: string;
  /** Outputs by name, of each row in order. */
  readonly rows: readonly ReadonlyMap<string, TaskTensor>[];
  /** What the adapter calls its labels; null: as the base does. */
  readonly labels: readonly string[] | null;
}

/** A request with what its answer becomes, which is part of the call: a model that does not fit a route refuses there. */
export interface AnsweredRequest<Result> extends InferRequest {
  answer(found: InferAnswer): Result;
}

export interface InferenceDeps {
  readonly engine: TaskEngine;
  readonly catalog: Catalog;
  readonly activity: ActivityBook;
  readonly observer: GatewayObserver;
  readonly logger: Logger;
  readonly times: DeadlineTimes;
  readonly bounds: InputBounds;
}

/** What a request counts as, and how its body is read: a body that cannot be read is counted too. */
export interface InferReading<Result> {
  readonly route: Route;
  /** `signal` ends what reading takes long for. */
  read(signal: AbortSignal): AnsweredRequest<Result> | Promise<AnsweredRequest<Result>>;
}

export class Inference {
  readonly #deps: InferenceDeps;

  constructor(deps: InferenceDeps) {
    this.#deps = deps;
  }

  /** Rejects with a LorikeetError. `summary` is of a request that has ended, either way. */
  async infer<Result>(
    { route, read }: InferReading<Result>,
    client: AbortSignal,
    ended: (summary: RequestSummary) => void = () => {},
  ): Promise<Result> {
    const { activity, catalog, observer, logger, times } = this.#deps;
    const startedAt = performance.now();
    const deadline = new Deadline(times, client);
    let target: Target | null = null;
    let ticket: ReturnType<ActivityBook["begin"]> | null = null;
    let queueMs: number | null = null;
    let usage: Usage | null = null;
    let fault: LorikeetError | null = null;
    try {
      const request = await read(deadline.signal);
      target = catalog.resolve(request.model);
      ticket = activity.begin(target.adapter);
      catalog.prefetch(target);
      const results = await this.#run(request, target, deadline, () => ticket?.admit());
      queueMs = Math.max(...results.map((result) => result.queueMs));
      if (request.tokens !== undefined) {
        usage = { promptTokens: request.tokens, completionTokens: 0, cachedTokens: 0, reasoningTokens: 0 };
      }
      const rows = results.map(({ outputs }) => outputs);
      return request.answer({ model: request.model ?? target.model, rows, labels: results[0]?.labels ?? null });
    } catch (error) {
      fault = asFault(deadline.signal.aborted ? deadline.signal.reason : namingAdapter(error, target));
      if (fault.status >= 500 && fault.code !== "draining" && fault.code !== "queue_timeout") {
        logger.error({ err: fault, adapter: target?.adapter ?? null }, "An inference failed");
      }
      throw fault;
    } finally {
      deadline.release();
      ticket?.end(usage);
      target?.release();
      const end = { usage, queueMs, timeToFirstTokenMs: null };
      const summary = summaryOf(route, startedAt, target, fault, end);
      if (queueMs !== null) observer.queued?.(queueMs / 1000);
      observer.ended?.(summary);
      ended(summary);
    }
  }

  /** One job for each row. If one fails, the others are ended. */
  async #run({ inputs }: InferRequest, target: Target, deadline: Deadline, admit: () => void): Promise<TaskResult[]> {
    const { engine, bounds } = this.#deps;
    const { maxRows } = bounds;
    const rows: ReadonlyMap<string, TaskTensor>[] = [];
    for (const batch of inputs) {
      const count = checkInputs(batch, engine.signature, bounds);
      rows.push(...(count === null ? [batch] : splitRows(batch, count)));
      if (rows.length > maxRows) throw tooManyRows(rows.length, maxRows);
    }
    const others = new AbortController();
    const signal = AbortSignal.any([deadline.signal, others.signal]);
    setMaxListeners(0, signal); // one of each row
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

/** What is no number with an adapter is the adapter's fault. */
function namingAdapter(error: unknown, target: Target | null): unknown {
  const adapter = target?.adapter ?? null;
  if (adapter === null || !(error instanceof NotNumbers)) return error;
  const { found, allowed } = error;
  const message = `With the adapter "${adapter}" the model computed ${found} in place of ${allowed}: products with the adapter's weights overflow float32.`;
  return new LorikeetError("adapter_invalid", message, { param: "model", found, allowed, cause: error });
}
