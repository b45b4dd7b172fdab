/** The gateway of a task model: tensors in, tensors out, with the adapters and names of every gateway. */

import { type Logger, silent } from "../../base/log.js";
import type { TaskEngine, TaskSignature } from "../../engine/task/types.js";
import type { ImagePreprocessor } from "../../image/preprocessor.js";
import type { RowTokenizer } from "../../text/tokenizer/row-tokenizer.js";
import { type BaseParts, type BaseServices, createBaseServices } from "../base-services.js";
import type { TextBounds } from "../body/text-inputs.js";
import type { BaseModel } from "../catalog.js";
import { type ModelGateway, modelStats } from "../model-gateway.js";
import { type GatewayOptions, gatewayDefaults, withinQueue } from "../options.js";
import { tasksOfRows } from "../served-tasks.js";
import { type Detector, usualDetector } from "./detections.js";
import { ImageTasks } from "./image-tasks.js";
import { Inference } from "./inference.js";
import { Signatures } from "./signatures.js";
import type { TaskParts } from "./task-parts.js";
import { type TextHead, TextTasks } from "./text-tasks.js";
import { TextTokens } from "./text-tokens.js";

/** A model that takes rows: of tensors, texts or pictures. */
export interface TaskModelParts {
  readonly engine: TaskEngine;
  /** Of this program. */
  readonly version: string;
  /** null: the model takes tensors only. */
  readonly tokenizer: RowTokenizer | null;
  readonly head: TextHead;
  /** null: the model takes no pictures. */
  readonly preprocessor: ImagePreprocessor | null;
  /** By Hugging Face's name. */
  readonly task: string;
  /** Default: as DETR. */
  readonly detector?: Detector;
  /** What the model is read from, in the words of the Open Inference Protocol. Default: onnx_onnxv1. */
  readonly platform?: string;
}

export interface TaskGatewayParts extends TaskModelParts, BaseParts {
  readonly engine: TaskEngine;
  /** The served name first, then its aliases. */
  readonly names: BaseModel["names"];
  /** Tokens of the longest row of a model without a tokenizer. Default: not bounded. */
  readonly maxContext?: number | null;
  readonly options?: Partial<GatewayOptions>;
}

export interface TaskUseCases {
  readonly infer: Inference["infer"];
  readonly signature: TaskSignature;
  /** The signature of a model by its name. */
  readonly signatureOf: Signatures["of"];
  readonly version: string;
  readonly platform: string;
  readonly limits: TaskEngine["limits"];
  readonly tokens: TextTokens;
  readonly texts: TextTasks;
  readonly textBounds: TextBounds;
  readonly parts: TaskParts;
}

export interface TaskGateway extends ModelGateway, TaskUseCases {}

/** What the use cases of every kind share. */
export interface TaskContext extends Pick<BaseServices, "catalog" | "activity" | "observer" | "encoding"> {
  readonly options: GatewayOptions;
  /** Tokens of the longest row; null: not known. */
  readonly maxContext: number | null;
  readonly logger: Logger;
}

export function createTaskGateway(parts: TaskGatewayParts): TaskGateway {
  const { engine, names, tokenizer, logger = silent } = parts;
  const options = withinQueue({ ...gatewayDefaults, ...parts.options }, engine.limits);
  const takesIds = engine.signature.inputs.some((port) => port.name === "input_ids");
  const maxContext = tokenizer?.maxLength ?? (takesIds ? (parts.maxContext ?? null) : null);
  const services = createBaseServices(parts, { names, maxContext, tasks: tasksOfRows(parts) }, options);
  const { catalog, observer, holder, adapters } = services;
  return {
    ...taskUseCases(parts, { ...services, options, maxContext, logger }),
    ...{ models: catalog, holder, adapters },
    stats: () => modelStats(names[0], engine.limits, holder, adapters),
    observe: (listener) => observer.add(listener),
    drain: (graceMs) => engine.drain(graceMs),
  };
}

const onnx = "onnx_onnxv1";

/** The use cases of a model that takes rows. */
export function taskUseCases(
  { engine, version, tokenizer, head, task, preprocessor, detector = usualDetector, platform = onnx }: TaskModelParts,
  { catalog, activity, observer, encoding, options, maxContext, logger }: TaskContext,
): TaskUseCases {
  const inference = new Inference({
    ...{ engine, catalog, activity, observer, logger },
    times: options,
    bounds: { maxRows: options.maxSequences, maxLength: maxContext },
  });
  const textBounds = {
    maxSequences: options.maxSequences,
    maxCharacters: options.maxPromptCharacters ?? 16 * (maxContext ?? 4096),
  };
  const signatures = new Signatures({ engine, catalog, times: options });
  const inputs = {
    texts: new TextTasks({
      ...{ tokenizer, head, encoding, signature: engine.signature },
      maxCharacters: textBounds.maxCharacters,
      maxTruncatedCharacters: options.maxPromptCharacters ?? Number.POSITIVE_INFINITY,
      signatureOf: (model, signal) => signatures.of(model, signal),
    }),
    textBounds,
  };
  return {
    infer: (reading, client, ended) => inference.infer(reading, client, ended),
    signature: engine.signature,
    signatureOf: (model, client) => signatures.of(model, client),
    ...{ version, platform },
    limits: engine.limits,
    tokens: new TextTokens({ ...{ tokenizer, catalog, observer }, texts: inputs.texts, times: options }),
    ...inputs,
    parts: {
      ...{ ...inputs, task, head, detector },
      images: new ImageTasks({ preprocessor, signature: engine.signature }),
    },
  };
}
