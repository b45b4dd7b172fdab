/** The fp32 checkpoint equivalent to a quantized base: the weights that its products multiply by. */
import assert from "node:assert/strict";
import { copyFile } from "node:fs/promises";
import { join } from "node:path";
import { openCheckpoint } from "../../src/model/checkpoint/open.js";
import type { Checkpoint, TensorLocation } from "../../src/model/types.js";
import { type WeightSource, weightOf } from "../../src/model/weights.js";
import { viewAs } from "../../src/tensor/dtype.js";
import { SafetensorsFile } from "../../src/tensor/safetensors.js";
import { writeSafetensors } from "../../src/tensor/safetensors-write.js";
import { readSegment, toFloat32 } from "../../src/weights/convert/task.js";
import { dequantizeBlocks, dequantizeRows } from "../../src/weights/quantize.js";

/** A quantized weight, [out, in]. */
export function dequantized(weights: WeightSource, name: string): Float32Array {
  const { form, data, scales } = weightOf(weights, name);
  const values = readSegment(data);
  const steps = viewAs("F32", readSegment(scales ?? data));
  if (form === "int8row") {
    const [columns = 0, rows = 0] = data.shape;
    return dequantizeRows(viewAs("I8", values), steps, rows, columns);
  }
  const [rows = 0] = data.shape;
  const columns = widthOf(weights, name);
  return dequantizeBlocks(values, steps, rows, columns, form === "int4" ? 4 : 8);
}

/** The inputs of a weight: blocks may be padded. */
function widthOf(weights: WeightSource, name: string): number {
  const { shape, transposed } = weightOf(weights, name);
  return (transposed ? shape[0] : shape[1]) ?? 0;
}

/** Writes it into an empty folder and opens it. */
export async function dequantizedCheckpoint(
  checkpoint: Checkpoint,
  weights: WeightSource,
  folder: string,
): Promise<Checkpoint> {
  const parts = new Map<string, Float32Array>();
  for (const { name, form, sources, transposed } of weights.values()) {
    if (form === "fp32" || form === "raw" || name.includes(".backward.")) continue;
    const whole = dequantized(weights, name);
    const width = widthOf(weights, name);
    let row = 0;
    for (const source of sources) {
      const rows = (checkpoint.tensors.get(source)?.shape[transposed ? 1 : 0] ?? 0) | 0;
      const part = whole.slice(row * width, (row + rows) * width);
      parts.set(source, transposed ? turn(part, rows, width) : part);
      row += rows;
    }
  }
  return changedCheckpoint(checkpoint, parts, folder);
}

/** The same base, whose layers (not the head) pass back through fp32 copies of their rounded weights. Written into an empty folder. */
export async function exactBackward(weights: WeightSource, folder: string): Promise<WeightSource> {
  const copies = [...weights.keys()].filter((name) => name.includes(".backward.") && !name.includes("embed_tokens"));
  const tensors = copies
    .filter((name) => !/^(lm_head|transformer\.wte)\./.test(name))
    .map((name) => {
      const forwards = name.replace(".backward.", ".");
      const data = dequantized(weights, forwards);
      const width = widthOf(weights, forwards);
      return { name, dtype: "F32" as const, shape: [data.length / width, width], data };
    });
  const path = join(folder, "backward.safetensors");
  await writeSafetensors(path, tensors, { format: "pt" });
  await using file = await SafetensorsFile.open(path);
  const exact = new Map(weights);
  for (const { name, shape } of tensors) {
    const place = file.tensors.get(name);
    assert(place, `${name} was written`);
    const { scales: _, ...rest } = weightOf(weights, name);
    const data: TensorLocation = { ...place, name, file: path };
    exact.set(name, { ...rest, form: "fp32", shape, transposed: true, data });
  }
  return exact;
}

/** Writes a checkpoint with other values for some tensors, in fp32, into an empty folder and opens it. */
export async function changedCheckpoint(
  checkpoint: Checkpoint,
  changed: ReadonlyMap<string, Float32Array>,
  folder: string,
): Promise<Checkpoint> {
  const tensors = [...checkpoint.tensors.values()].map((location) => {
    const { name, shape, dtype } = location;
    return { name, shape, dtype: "F32" as const, data: changed.get(name) ?? toFloat32(dtype, readSegment(location)) };
  });
  await writeSafetensors(join(folder, "model.safetensors"), tensors, { format: "pt" });
  await copyFile(join(checkpoint.directory, "config.json"), join(folder, "config.json"));
  return openCheckpoint(folder);
}

function turn(values: Float32Array, rows: number, columns: number): Float32Array {
  return Float32Array.from(values, (_, i) => values[(i % rows) * columns + Math.floor(i / rows)] ?? 0);
}
