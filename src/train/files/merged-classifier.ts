/** A decoder that becomes a classifier when an adapter's classification head is merged: its tensors and its config.json. */

import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { HostHead } from "../../adapter/types.js";
import { LorikeetError } from "../../base/errors.js";
import { isWrapped } from "../../model/checkpoint/names.js";
import { classifierNamed } from "../../model/families/registry.js";
import { scoreWeight } from "../../model/modules.js";
import type { Checkpoint, DecoderConfig, TensorLocation } from "../../model/types.js";
import type { TensorToWrite } from "../../tensor/safetensors-write.js";
import { type FloatDtype, narrow } from "./model-files.js";

/** Throws `adapter_unsupported` for what a classifier of the family has no place for. */
export function requireMergeableHead(adapter: string, { bias }: HostHead, { family }: DecoderConfig): void {
  const refused = (clause: string): LorikeetError =>
    new LorikeetError(
      "adapter_unsupported",
      `${adapter} has a classification head (score) ${clause}; serve it unmerged.`,
      {
        param: adapter,
      },
    );
  if (bias) throw refused("with a bias, which the base has no place for");
  if (isWrapped(family))
    throw refused("over the language part of a larger model, for which transformers has no classifier class");
}

/** The base's tensors that stay: all but the head and a layer of its own. */
export function withoutHead({ config, tensors }: Checkpoint): TensorLocation[] {
  const { head, embedding } = config;
  const paths = [head.path, head.linear.path].filter((path) => path !== embedding.path);
  const gone = new Set([scoreWeight, ...paths.flatMap((path) => [`${path}.weight`, `${path}.bias`])]);
  return [...tensors.values()].filter(({ name }) => !gone.has(name));
}

export function scoreTensor({ weight, outFeatures }: HostHead, dtype: FloatDtype): TensorToWrite {
  const shape = [outFeatures, weight.length / outFeatures];
  return { name: scoreWeight, dtype, shape, data: () => narrow(weight, dtype) };
}

/** Names the classifier's class and its labels, as transformers does. */
export async function writeClassifierConfig(
  folder: string,
  { family }: DecoderConfig,
  { labels, outFeatures }: HostHead,
): Promise<void> {
  const path = join(folder, "config.json");
  const config: Record<string, unknown> = JSON.parse(await readFile(path, "utf8"));
  const names = labels ?? Array.from({ length: outFeatures }, (_, i) => `LABEL_${i}`);
  const classified = {
    ...config,
    architectures: [classifierNamed(family)],
    id2label: Object.fromEntries(names.map((label, i) => [i, label])),
    label2id: Object.fromEntries(names.map((label, i) => [label, i])),
  };
  await writeFile(path, `${JSON.stringify(classified, null, 2)}\n`);
}
