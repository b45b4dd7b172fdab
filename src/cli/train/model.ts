/** Opens what `train` and `eval` share: checkpoint, tokenizer and data. */

import { LorikeetError } from "../../base/errors.js";
import type { Progress } from "../../base/log.js";
import { openCheckpoint } from "../../model/checkpoint/open.js";
import type { Checkpoint } from "../../model/types.js";
import { loadTokenizer } from "../../text/tokenizer/tokenizer.js";
import type { LoadedTokenizer } from "../../text/types.js";
import { type DataOptions, type DataSet, loadData } from "../../train/data/dataset.js";
import { type Encoding, parseLabelTemplate } from "../../train/data/encode.js";
import { hintAtPath } from "../options/nearby.js";
import type { ProgressStream } from "../progress.js";
import { printLine } from "../terminal.js";
import { UsageError } from "../usage.js";

export interface TrainModel extends AsyncDisposable {
  readonly checkpoint: Checkpoint;
  readonly tokenizer: LoadedTokenizer;
  /** The token that ends texts and completions. */
  readonly endId: number | null;
  /** Replaces an empty prompt, as in the server. */
  readonly bosId: number | null;
}

/** `model` is a folder. Throws a UsageError if it has no tokenizer, which training on text needs. */
export async function openTrainModel(model: string, chatTemplate: string | null): Promise<TrainModel> {
  const checkpoint = await openCheckpoint(model);
  if (checkpoint.config.classifier) {
    const message = `${model} is a classifier, which has no head to train or to measure text with; lorikeet serve ${model} serves it.`;
    throw new LorikeetError("model_unsupported", message, { param: model });
  }
  const tokenizer = await loadTokenizer(checkpoint.directory, { chatTemplateFile: chatTemplate ?? undefined });
  if (!tokenizer) throw new UsageError([`${model} has no tokenizer.json, which is required to read data.`]);
  return {
    checkpoint,
    tokenizer,
    endId: tokenizer.eosTokenId ?? checkpoint.config.stopIds[0] ?? null,
    bosId: checkpoint.config.bosId ?? tokenizer.bosTokenId,
    [Symbol.asyncDispose]: () => tokenizer.close(),
  };
}

export type ReadOptions = Pick<
  DataOptions,
  "path" | "maxLength" | "seed" | "validationSplit" | "maxEvalSamples" | "wants" | "trainOn"
> & {
  readonly labelTemplate: string;
  readonly progress: Progress;
};

export async function readData(
  { checkpoint, tokenizer, endId, bosId }: TrainModel,
  options: ReadOptions,
): Promise<DataSet> {
  const hint = await hintAtPath(options.path, "file");
  if (hint !== null) {
    throw new LorikeetError("data_invalid", `The data ${options.path} does not exist. ${hint}`, { param: "--data" });
  }
  const { vocabSize } = checkpoint.config;
  const labelTemplate = readTemplate(options.labelTemplate);
  return await loadData({ ...options, tokenizer, endId, bosId, vocabSize, labelTemplate });
}

export function printWarnings({ warnings }: DataSet, stderr: ProgressStream): void {
  for (const warning of warnings) printLine(stderr, `warning: ${warning}`);
}

export function encodingOf({ tokenizer, endId, bosId }: TrainModel, template: string): Encoding {
  return { tokenizer, endId, bosId, labelTemplate: readTemplate(template) };
}

function readTemplate(template: string) {
  try {
    return parseLabelTemplate(template);
  } catch (error) {
    throw new UsageError([`--label-template ${error instanceof Error ? error.message : "is wrong"}.`]);
  }
}
