/** Opens what training and evaluating a decoder's classification head share: checkpoint, tokenizer, and what reads its data. */

import { readdir } from "node:fs/promises";
import { LorikeetError } from "../../base/errors.js";
import { openCheckpoint } from "../../model/checkpoint/open.js";
import { readTextHead, type TextHead } from "../../model/task/text-head.js";
import type { Checkpoint } from "../../model/types.js";
import { loadTokenizer } from "../../text/tokenizer/tokenizer.js";
import type { OpenedHead } from "../../train/files/adapter-files.js";
import { trainDefaults } from "../../train/settings.js";
import { labelledTextReader } from "../../train/tasks/setups/classification.js";
import type { RowReader } from "../../train/tasks/task-data.js";
import { UsageError } from "../usage.js";
import { requireLength } from "./checks.js";

export interface ScoreBase extends AsyncDisposable {
  readonly checkpoint: Checkpoint;
  readonly reader: RowReader;
  /** Tokens of the longest text. */
  readonly maxLength: number;
  /** The base's own layer; null if it has a head in its place. */
  readonly head: OpenedHead | null;
}

/** The loss is that of a softmax. Throws `model_unsupported` for a classifier that is served with sigmoids. */
function requireExclusive({ isExclusive, labels }: TextHead): void {
  if (isExclusive && labels?.length !== 1) return;
  const found =
    labels?.length === 1 ? "has a single label" : "scores each label by itself (multi_label_classification)";
  const message = `The model ${found}; decoders are trained and evaluated only with labels that exclude one another.`;
  throw new LorikeetError("model_unsupported", message, { param: "--model" });
}

/** `maxLength`: of --max-length. Throws what opening the model's files throws. */
export async function openScoreBase(folder: string, maxLength: number | null): Promise<ScoreBase> {
  const checkpoint = await openCheckpoint(folder);
  const { classifier, maxPositions } = checkpoint.config;
  requireLength(maxLength ?? 0, maxPositions);
  const { directory } = checkpoint;
  const head = await readTextHead(directory, await readdir(directory));
  if (classifier) requireExclusive(head);
  const length = maxLength ?? Math.min(trainDefaults.maxLength, maxPositions);
  const tokenizer = await loadTokenizer(directory);
  if (!tokenizer) throw new UsageError([`${folder} has no tokenizer.json, which is required to read data.`]);
  return {
    ...{ checkpoint, maxLength: length },
    reader: labelledTextReader(tokenizer.rows(length), length),
    head: classifier ? { ...classifier, labels: head.labels } : null,
    [Symbol.asyncDispose]: () => tokenizer.close(),
  };
}
