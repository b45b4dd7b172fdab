/** Merges an adapter into its base model and writes the result as a checkpoint directory. */
import { join, resolve } from "node:path";
import { loadAdapter } from "../../adapter/format.js";
import type { HostModule, HostTable, HostTokens } from "../../adapter/types.js";
import { assert, LorikeetError } from "../../base/errors.js";
import { at, float32At } from "../../base/list.js";
import type { Progress } from "../../base/log.js";
import { addTokenRow } from "../../engine/adapters/token-rows.js";
import { layerNorms, storedModules, transposedPaths } from "../../model/modules.js";
import type { Checkpoint, TensorLocation } from "../../model/types.js";
import { type TensorToWrite, writeSafetensors } from "../../tensor/safetensors-write.js";
import { readSegment, toFloat32 } from "../../weights/convert/task.js";
import { rescale } from "../dora.js";
import { addProduct } from "./low-rank.js";
import { requireMergeableHead, scoreTensor, withoutHead, writeClassifierConfig } from "./merged-classifier.js";
import { replaceFolder, requireReplaceable } from "./merged-folder.js";
import { copyModelFiles, floatOf, narrow } from "./model-files.js";
import { writeUntiedConfig } from "./untied-head.js";

export interface MergeOptions {
  readonly checkpoint: Checkpoint;
  /** A PEFT folder. */
  readonly adapter: string;
  readonly out: string;
  /** `same`: each tensor in its own dtype, which rounds; `fp32`: all in float32. */
  readonly dtype: "same" | "fp32";
  readonly overwrite: boolean;
  readonly progress?: Progress;
}

export interface Merged {
  /** Tensors that the adapter changed. */
  readonly changed: number;
  readonly tensors: number;
}

/**
 * Writes a draft and renames it: W + s B A for every target module (DoRA: each output scaled to its magnitude), the adapter's biases, and all other files
 * unchanged; the rows of trained tokens take the place of the base's. A head that is tied to the embeddings gets weights of its own if the adapter changes one of the two. An adapter's
 * classification head takes the place of the head. Throws `conflict` if `out` exists, and what loading the adapter throws.
 */
export async function mergeAdapter(options: MergeOptions): Promise<Merged> {
  const { checkpoint, progress } = options;
  const out = resolve(options.out);
  const marker = { file: "config.json", noun: "checkpoint" };
  await requireReplaceable({ out, overwrite: options.overwrite, marker });
  const {
    modules,
    head,
    embedding,
    tokens = [],
  } = await loadAdapter(options.adapter, storedModules(checkpoint), {
    baseNames: checkpoint.names,
  });
  const isWithoutBias = ([path, { shift }]: [string, HostModule]): boolean =>
    shift !== undefined && !checkpoint.tensors.has(`${path}.bias`);
  if ([...modules].some(isWithoutBias)) {
    const message = `${options.adapter} has biases on lora_B (lora_bias), which the base has no place for; serve it unmerged.`;
    throw new LorikeetError("adapter_unsupported", message, { param: options.adapter });
  }
  const { config } = checkpoint;
  const offsets = new Map(layerNorms(config).map(({ path, offset }) => [path, offset]));
  const changesOne =
    (modules.get(config.head.path)?.rank ?? 0) > 0 ||
    embedding !== undefined ||
    tokens.some(({ inEmbeddings, inHead }) => inEmbeddings !== inHead);
  const unties = config.head.tied && !head && changesOne;
  if (head) requireMergeableHead(options.adapter, head, checkpoint.config);
  await replaceFolder(out, async (draft) => {
    await copyModelFiles(checkpoint.directory, draft, { dtype: options.dtype });
    if (head) await writeClassifierConfig(draft, config, head);
    if (unties) await writeUntiedConfig(draft, config);
    const stored = head ? withoutHead(checkpoint) : [...checkpoint.tensors.values()];
    const table = `${config.embedding.path}.weight`;
    const copies = stored.filter(({ name }) => unties && name === table);
    const kept = [...stored, ...copies.map((location) => ({ ...location, name: `${config.head.path}.weight` }))];
    const scores = head ? [scoreTensor(head, options.dtype === "fp32" ? "F32" : floatOf(at(kept, 0).dtype))] : [];
    let done = 0;
    const transposed = transposedPaths(config);
    const tensors = kept.map((location): TensorToWrite => {
      const path = location.name.replace(/\.(weight|bias)$/, "");
      const isTable = location.name === table;
      const module = isTable ? embedding && asModule(embedding) : modules.get(path);
      const isHead = location.name === `${config.head.path}.weight`;
      const rows = tokens.filter(({ inEmbeddings, inHead }) => (isTable && inEmbeddings) || (isHead && inHead));
      const target = { module, rows, offset: offsets.get(path) ?? 0, transposed: isTable || transposed.has(path) };
      return mergedTensor(location, target, options, () => progress?.("merging", ++done, kept.length));
    });
    const others = checkpoint.foreign.map(
      (location): TensorToWrite => ({ ...location, data: () => readSegment(location) }),
    );
    await writeSafetensors(
      join(draft, "model.safetensors"),
      [...tensors, ...scores, ...others],
      { format: "pt" },
      { fsync: true },
    );
  });
  const changed = modules.size + (embedding ? 1 : 0) + tokens.length;
  return { changed, tensors: checkpoint.tensors.size + (unties ? 1 : 0) };
}

/** A table's rows are the inputs of its product. */
const asModule = ({ rank, a, b }: HostTable): HostModule => ({ rank, dtype: "F32", a, b, scale: 1 });

interface MergedTarget {
  readonly module: HostModule | undefined;
  /** Of single tokens. */
  readonly rows: readonly HostTokens[];
  /** Of a norm: what it adds to its weight. */
  readonly offset: number;
  readonly transposed: boolean;
}

function mergedTensor(
  location: TensorLocation,
  { module, rows, offset, transposed }: MergedTarget,
  { dtype }: MergeOptions,
  done: () => void,
): TensorToWrite {
  const { name, shape } = location;
  const kept = dtype === "same" && location.dtype !== "F64" ? location.dtype : "F32";
  const data = (): ArrayBufferView => {
    done();
    const bytes = readSegment(location);
    if (!module && rows.length === 0 && kept === location.dtype) return bytes;
    const values = toFloat32(location.dtype, bytes);
    if (module) (name.endsWith(".bias") ? mergeBias : mergeWeight)(values, module, { offset, transposed });
    for (const tokens of rows) addRows(values, tokens, at(shape, 1));
    assert(kept === "F32" || kept === "F16" || kept === "BF16", `${name} is of a dtype that can be merged into`);
    return narrow(values, kept);
  };
  return { name, dtype: kept, shape, data };
}

function mergeWeight(
  values: Float32Array,
  module: HostModule,
  { offset, transposed }: Pick<MergedTarget, "offset" | "transposed">,
): void {
  module.gain?.forEach((gain, i) => {
    values[i] = (float32At(values, i) + offset) * (1 + gain) - offset; // of a norm: DoRA still has its magnitudes
  });
  if (module.rank > 0) addProduct(values, module, transposed);
  if (module.magnitude) rescale(values, module.magnitude, transposed);
}

function addRows(values: Float32Array, tokens: HostTokens, dim: number): void {
  for (const id of tokens.ids) addTokenRow(tokens, id, values.subarray(id * dim, (id + 1) * dim));
}

function mergeBias(values: Float32Array, { shift }: HostModule): void {
  shift?.forEach((value, i) => {
    values[i] = float32At(values, i) + value;
  });
}
