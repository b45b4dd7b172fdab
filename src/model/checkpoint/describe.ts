/** Describes a checkpoint before it is served, as plain data. */

import { last } from "../../base/list.js";
import { attentions, layerModules, targetModulesWithHead } from "../modules.js";
import { cacheShape, kvBytesPerToken, stateBytesPerSlot } from "../serving/cache-shape.js";
import type { Checkpoint, DecoderConfig } from "../types.js";

export interface CheckpointDescription {
  readonly directory: string;
  readonly family: DecoderConfig["family"];
  readonly parameters: number;
  readonly weights: {
    /** Bytes of the used tensors in the files. */
    readonly bytes: number;
    /** Bytes of these tensors as float32. */
    readonly float32Bytes: number;
    readonly tensors: number;
    /** Number of tensors of each dtype. */
    readonly dtypes: Readonly<Record<string, number>>;
    readonly files: readonly string[];
  };
  readonly config: DecoderConfig;
  /** Layers with attention, and those of them with a sliding window. */
  readonly attentionLayers: number;
  readonly slidingLayers: number;
  /** Target modules of adapters; `allLinear` excludes the head, as PEFT's all-linear does. */
  readonly targetModules: { readonly total: number; readonly allLinear: number; readonly names: readonly string[] };
  /** Bytes of keys and values per token of context, in float32. */
  readonly kvBytesPerToken: number;
  /** Bytes that layers without attention keep for each sequence, whatever its length. */
  readonly stateBytesPerSlot: number;
  readonly generationDefaults: Checkpoint["generationDefaults"];
  readonly fingerprint: string;
}

/** Describes an open checkpoint. */
export function describeCheckpoint(checkpoint: Checkpoint): CheckpointDescription {
  const { config, directory, parameterCount, generationDefaults, fingerprint } = checkpoint;
  const tensors = [...checkpoint.tensors.values()];
  const dtypes: Record<string, number> = {};
  for (const { dtype } of tensors) dtypes[dtype] = (dtypes[dtype] ?? 0) + 1;
  const modules = targetModulesWithHead(config);
  return {
    directory,
    family: config.family,
    parameters: parameterCount,
    weights: {
      bytes: tensors.reduce((sum, { byteLength }) => sum + byteLength, 0),
      float32Bytes: 4 * parameterCount,
      tensors: tensors.length,
      dtypes,
      files: [...new Set(tensors.map(({ file }) => file))],
    },
    config,
    attentionLayers: attentions(config).length,
    slidingLayers: attentions(config).filter(({ window }) => window !== null).length,
    targetModules: {
      total: modules.length,
      allLinear: layerModules(config).length,
      names: [...new Set(modules.map(({ path }) => last(path.split(/\.\d+\./))))],
    },
    kvBytesPerToken: kvBytesPerToken(cacheShape(config)),
    stateBytesPerSlot: stateBytesPerSlot(cacheShape(config)),
    generationDefaults,
    fingerprint,
  };
}
