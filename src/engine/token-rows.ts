/** What task engines over a text engine share: rows of token ids in, and the endings of a sequence as those of a job. */

import { deferred } from "../base/async.js";
import { assert, LorikeetError } from "../base/errors.js";
import type { TaskJob, TaskPort, TaskRequest, TaskResult, TaskTensor } from "./task/types.js";
import { type Engine, type EngineEvent, type EngineRequest, greedy } from "./types.js";

const axes = ["batch", "length"] as const;

/** `input_ids` and `attention_mask`. */
export function tokenPorts(vocabSize: number): TaskPort[] {
  const input = (name: string, limit: number | null): TaskPort => ({ name, type: "int64", shape: axes, limit });
  return [input("input_ids", vocabSize), input("attention_mask", null)];
}

/** A row's tokens without padding. */
export function tokensOf(inputs: ReadonlyMap<string, TaskTensor>): number[] {
  const [ids, mask] = [inputs.get("input_ids"), inputs.get("attention_mask")];
  assert(ids && mask, "a row was checked against the signature");
  const tokens = Array.from(ids.data, Number).filter((_, place) => Number(mask.data[place]) !== 0);
  if (tokens.length > 0) return tokens;
  throw new LorikeetError("invalid_value", "A text has no tokens; one or more are allowed.", { param: "input" });
}

/** `run` gives the row's result, after `admit`. What it rejects with rejects the job. */
export function jobOf(run: (admit: () => void) => Promise<TaskResult>): TaskJob {
  const admitted = deferred<void>();
  const result = deferred<TaskResult>();
  admitted.promise.catch(() => {});
  run(() => admitted.resolve()).then(result.resolve, (cause: unknown) => {
    admitted.reject(cause);
    result.reject(cause);
  });
  return { admitted: admitted.promise, result: result.promise };
}

/** Runs a row as one sequence, by default a greedy one: its events, of which the last is its end. Calls `admit` when it starts; throws unless it ends well. */
export async function* eventsOfRow(
  engine: Engine,
  { adapter, signal }: TaskRequest,
  own: Pick<EngineRequest, "promptIds" | "maxTokens" | "stopIds" | "pooling" | "forcedEndId"> &
    Partial<Pick<EngineRequest, "sampling">>,
  admit: () => void,
): AsyncGenerator<EngineEvent> {
  const request = { ...{ sampling: greedy }, ...own, ...{ promptLogprobs: null, adapter }, ...(signal && { signal }) };
  for await (const event of engine.submit(request)) {
    if (event.type === "admitted") admit();
    if (event.type === "finish") throwIfFailed(event);
    yield event;
  }
}

function throwIfFailed({ reason, error }: Extract<EngineEvent, { type: "finish" }>): void {
  if (reason === "error") throw error ?? new LorikeetError("internal", "The engine ended a row without a reason.");
  if (reason === "cancelled") throw new LorikeetError("cancelled", "The request was cancelled.");
  if (reason === "shutdown") {
    throw new LorikeetError("draining", "The server is shutting down and ended this request.");
  }
}
