/** What the server and the process of a job say to each other. */
import type { BaseDtype } from "../../engine/start.js";
import type { TrainingEnd, TrainingReport, TrainingRun } from "../../jobs/types.js";

/** The base model, and the bounds of a process. */
export interface TrainingBase {
  readonly kind: "decoder" | "task";
  /** Of a decoder; of a task model also its ONNX file. */
  readonly folder: string;
  readonly dtype: BaseDtype;
  readonly chatTemplate: string | null;
  readonly cacheDir: string | null;
  readonly threads: number;
  /** Of the process: 0 to 19, the lowest priority. */
  readonly nice: number;
  /** After this time a run ends, with what it has. */
  readonly maxTimeMs: number;
}

export type ToProcess =
  | { readonly type: "start"; readonly base: TrainingBase; readonly run: TrainingRun }
  /** Save, and end. */
  | { readonly type: "stop" };

export type FromProcess =
  /** It listens. */
  | { readonly type: "ready" }
  | { readonly type: "report"; readonly report: TrainingReport }
  | { readonly type: "end"; readonly end: TrainingEnd };
