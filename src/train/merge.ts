/** Folds an adapter into its base: a checkpoint directory that answers as the two did together. Knows no flag. */
import { mkdir, rename, stat } from "node:fs/promises";
import { basename, dirname, join, resolve } from "node:path";
import { orMissing, removeTree, syncTree } from "../adapter/durable.js";
import { loadAdapter } from "../adapter/format.js";
import type { HostSite } from "../adapter/types.js";
import { assert, LorikeetError } from "../base/errors.js";
import type { Progress } from "../base/log.js";
import { readSegment, toFloat32 } from "../model/convert-task.js";
import { linearSites } from "../model/sites.js";
import type { Checkpoint, TensorLocation } from "../model/types.js";
import { bfloat16ToFloat32, float16ToFloat32 } from "../tensor/half.js";
import { type TensorToWrite, writeSafetensors } from "../tensor/safetensors-write.js";
import { transpose } from "../tensor/transpose.js";
import { copyModelFiles, narrow } from "./model-files.js";

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
 * Writes the directory under another name and renames it: W + s B A for every adapted layer, all other files as they are.
 * Throws `conflict` when `out` exists, and what loading the adapter throws.
 */
export async function mergeAdapter(options: MergeOptions): Promise<Merged> {
  const { checkpoint, progress } = options;
  const out = resolve(options.out);
  if (!options.overwrite && (await orMissing(stat(out)))) {
    throw new LorikeetError("conflict", `${out} exists already; --overwrite replaces it.`, {
      param: "--out",
      found: out,
    });
  }
  const adapter = await loadAdapter(options.adapter, linearSites(checkpoint.config));
  const draft = join(dirname(out), `.${basename(out)}.merging`);
  await removeTree(draft);
  await mkdir(draft, { recursive: true });
  try {
    await copyModelFiles(checkpoint.directory, draft, { dtype: options.dtype });
    let done = 0;
    const tensors = [...checkpoint.tensors.values()].map((location): TensorToWrite => {
      const site = adapter.sites.get(location.name.replace(/\.weight$/, ""));
      return mergedTensor(location, site, options, () => progress?.("merging", ++done, checkpoint.tensors.size));
    });
    await writeSafetensors(join(draft, "model.safetensors"), tensors, { format: "pt" }, { fsync: true });
    await syncTree(draft);
    await removeTree(out);
    await rename(draft, out);
  } catch (cause) {
    await removeTree(draft);
    throw cause;
  }
  return { changed: adapter.sites.size, tensors: checkpoint.tensors.size };
}

function mergedTensor(
  location: TensorLocation,
  site: HostSite | undefined,
  { dtype, checkpoint }: MergeOptions,
  done: () => void,
): TensorToWrite {
  const { name, shape } = location;
  const kept = dtype === "same" && location.dtype !== "F64" ? location.dtype : "F32";
  const data = (): ArrayBufferView => {
    done();
    const bytes = readSegment(location);
    if (!site && kept === location.dtype) return bytes;
    const values = toFloat32(location.dtype, bytes);
    if (site) addProduct(values, site, checkpoint.config.family === "gpt2" && name !== "lm_head.weight");
    assert(kept === "F32" || kept === "F16" || kept === "BF16", `${name} is of a dtype that can be merged into`);
    return narrow(values, kept);
  };
  return { name, dtype: kept, shape, data };
}

/** W += s B A, W [out, in], or [in, out] when it is transposed. */
function addProduct(weight: Float32Array, site: HostSite, transposed: boolean): void {
  const { rank, scale } = site;
  const a = widen(site.a, site.dtype); // [in, rank]
  const b = widen(site.b, site.dtype); // [rank, out]
  const [inputs, outputs] = [a.length / rank, b.length / rank];
  // Rows of the weight are made of rows of one factor, weighed by columns of the other.
  const [rows, columns] = transposed ? [inputs, outputs] : [outputs, inputs];
  const rowFactors = transposed ? a : transpose(b, rank, outputs); // [rows, rank]
  const columnFactors = transposed ? b : transpose(a, inputs, rank); // [rank, columns]
  for (let row = 0; row < rows; row++) {
    for (let r = 0; r < rank; r++) {
      const factor = scale * (rowFactors[row * rank + r] ?? 0);
      const from = r * columns;
      const to = row * columns;
      for (let i = 0; i < columns; i++)
        weight[to + i] = (weight[to + i] ?? 0) + factor * (columnFactors[from + i] ?? 0);
    }
  }
}

function widen(values: Float32Array | Uint16Array, dtype: HostSite["dtype"]): Float32Array {
  if (values instanceof Float32Array) return values;
  return dtype === "F16" ? float16ToFloat32(values) : bfloat16ToFloat32(values);
}
