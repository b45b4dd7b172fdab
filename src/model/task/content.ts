/**
 * Finds a weight of an ONNX file in the checkpoint that the file was exported from, by comparing numbers: equal up to a transposition
 * and, where a batch normalization was folded into a convolution, up to one factor for each output. Names that the export lost are
 * found this way, and so is the factor: gamma / sqrt(variance + epsilon).
 */

import { SafetensorsFile, type StoredTensor } from "../../tensor/safetensors.js";
import { sameShape } from "../../tensor/shape.js";
import type { StoredWeight } from "../blueprint.js";
import type { WeightFile } from "../checkpoint/files.js";
import { floatsOf, widened } from "./weight-values.js";
import type { WeightedNode } from "./weighted-nodes.js";

export interface ContentMatch {
  /** The checkpoint's name without `.weight`. */
  readonly path: string;
  /** One for each output; null if the weights are equal. */
  readonly factor: Float32Array | null;
  readonly stored: StoredWeight;
}

interface Candidate {
  readonly path: string;
  readonly name: string;
  readonly file: SafetensorsFile;
  readonly tensor: StoredTensor;
}

/** A bias of the checkpoint, or a weight of one axis. */
export interface StoredVector {
  /** The checkpoint's name without `.bias` or `.weight`. */
  readonly path: string;
  readonly values: Float32Array;
  readonly stored: StoredWeight;
}

/** A batch normalization of the checkpoint. */
export interface StoredNorm extends StoredVector {
  /** As the checkpoint has them; epsilon it does not say. */
  readonly scale: Float32Array;
  readonly mean: Float32Array;
  readonly variance: Float32Array;
}

/** Relative to a row's length: float32 rounding of a folded product, or the rounding of half-precision files. */
const tolerances = { float32: 1e-4, half: 4e-3 } as const;
/** Factors closer to one than this are none. */
const unit = 1e-5;
const bandElements = 1 << 22;

/** An open checkpoint. Reads what a comparison needs, when it needs it. */
export class CheckpointContent implements AsyncDisposable {
  readonly #files: readonly SafetensorsFile[];
  readonly #candidates: readonly Candidate[];
  readonly #firstRows = new Map<Candidate, Float32Array>();
  #biases: Promise<ReadonlyMap<string, StoredVector>> | null = null;
  #scales: Promise<ReadonlyMap<string, StoredVector>> | null = null;

  private constructor(files: readonly SafetensorsFile[]) {
    this.#files = files;
    this.#candidates = files.flatMap((file) =>
      [...file.tensors].flatMap(([name, tensor]) => {
        const isWeight = name.endsWith(".weight") && tensor.shape.length >= 2 && /^(F32|F16|BF16)$/.test(tensor.dtype);
        return isWeight ? [{ path: name.slice(0, -".weight".length), name, file, tensor }] : [];
      }),
    );
  }

  static async open(weights: readonly WeightFile[]): Promise<CheckpointContent> {
    const files: SafetensorsFile[] = [];
    for (const { path, label } of weights) {
      files.push(await SafetensorsFile.open(path, { code: "model_invalid", label }));
    }
    return new CheckpointContent(files);
  }

  /** Whether any tensor is the statistics of a batch normalization. */
  get hasBatchNorms(): boolean {
    return this.#files.some(({ tensors }) => [...tensors.keys()].some((name) => /var(iance)?$/.test(name)));
  }

  /** Every tensor that equals the node's weight; `mayBeScaled`: up to a factor for each output. */
  async match(target: WeightedNode, mayBeScaled = target.mayBeFolded): Promise<ContentMatch[]> {
    const values = await floatsOf(target.weight);
    const tolerance = target.weight.value.type === "float32" ? tolerances.float32 : tolerances.half;
    const matches: ContentMatch[] = [];
    for (const layout of layoutsOf(target)) {
      const rows = rowsOf(values, target, layout.transposed);
      for (const candidate of this.#candidates.filter(({ tensor }) => sameShape(tensor.shape, layout.shape))) {
        const factor = await this.#factorOf(candidate, rows, mayBeScaled, tolerance);
        if (!factor) continue;
        const isEqual = factor.every((f) => Math.abs(f - 1) < unit);
        matches.push({ path: candidate.path, factor: isEqual ? null : factor, stored: placeOf(candidate) });
      }
      if (matches.length > 0) break;
    }
    return matches;
  }

  /** The checkpoint's biases by their modules' paths: vectors named `<path>.bias`. */
  async biases(): Promise<ReadonlyMap<string, StoredVector>> {
    this.#biases ??= this.#readVectors(".bias");
    return await this.#biases;
  }

  /** The weights of one axis by their modules' paths, as normalizations have them: vectors named `<path>.weight`. */
  async scales(): Promise<ReadonlyMap<string, StoredVector>> {
    this.#scales ??= this.#readVectors(".weight");
    return await this.#scales;
  }

  async #readVectors(ending: string): Promise<ReadonlyMap<string, StoredVector>> {
    const found = new Map<string, StoredVector>();
    for (const file of this.#files) {
      for (const [name, tensor] of file.tensors) {
        if (!name.endsWith(ending)) continue;
        const values = await readVector(file, name);
        const path = name.slice(0, -ending.length);
        if (values) found.set(path, { path, values, stored: placeOf({ file, tensor }) });
      }
    }
    return found;
  }

  /** The checkpoint's batch normalizations that have a scale and a bias. */
  async batchNorms(): Promise<readonly StoredNorm[]> {
    const norms: StoredNorm[] = [];
    for (const bias of (await this.biases()).values()) {
      const read = async (part: string): Promise<Float32Array | null> => {
        const name = `${bias.path}.${part}`;
        const file = this.#files.find(({ tensors }) => tensors.has(name));
        return file ? await readVector(file, name) : null;
      };
      const mean = await read("running_mean");
      const variance = mean && (await read("running_var"));
      const scale = variance && (await read("weight"));
      const size = bias.values.length;
      if (mean?.length !== size || variance?.length !== size || scale?.length !== size) continue;
      norms.push({ ...bias, scale, mean, variance });
    }
    return norms;
  }

  /** The factors by which rows are the candidate's; null if they are not. */
  async #factorOf(
    candidate: Candidate,
    rows: Rows,
    mayScale: boolean,
    tolerance: number,
  ): Promise<Float32Array | null> {
    const first = this.#firstRows.get(candidate) ?? (await readRows(candidate, 0, 1));
    this.#firstRows.set(candidate, first);
    const factors = new Float32Array(rows.count);
    if (rowFactor(rows.row(0), first, mayScale, tolerance) === null) return null;
    const band = Math.max(1, Math.floor(bandElements / first.length));
    for (let begin = 0; begin < rows.count; begin += band) {
      const end = Math.min(begin + band, rows.count);
      const stored = await readRows(candidate, begin, end);
      for (let row = begin; row < end; row++) {
        const at = (row - begin) * first.length;
        const factor = rowFactor(rows.row(row), stored.subarray(at, at + first.length), mayScale, tolerance);
        if (factor === null) return null;
        factors[row] = factor;
      }
    }
    return factors;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const file of this.#files) await file.close();
  }
}

/** null: it is not a vector of floats. */
async function readVector(file: SafetensorsFile, name: string): Promise<Float32Array | null> {
  const tensor = file.tensors.get(name);
  if (tensor?.shape.length !== 1 || !isFloat(tensor.dtype)) return null;
  return widened(tensor.dtype, await file.read(name));
}

const isFloat = (dtype: string): dtype is "F32" | "F16" | "BF16" => /^(F32|F16|BF16)$/.test(dtype);

/** Whether a file's vector is the checkpoint's, within the rounding of its type. */
export function isSameVector(own: Float32Array, stored: Float32Array, type: string): boolean {
  const tolerance = type === "float32" ? tolerances.float32 : tolerances.half;
  const isNear = (value: number, i: number): boolean => {
    const expected = stored[i] as number;
    return Math.abs(value - expected) <= tolerance * Math.abs(expected) + 1e-7;
  };
  return own.length === stored.length && own.every(isNear);
}

function placeOf({ file, tensor }: Pick<Candidate, "file" | "tensor">): StoredWeight {
  const { dtype, shape, offset, byteLength } = tensor;
  return { file: file.path, dtype, shape, offset, byteLength };
}

/** The shapes that the weight can have in a checkpoint: [out, in], or [in, out] as GPT-2's Conv1D has it. */
function layoutsOf({ kind, weight, inFeatures, outFeatures, outFirst }: WeightedNode) {
  if (kind !== "linear") return [{ shape: weight.value.shape.map(Number), transposed: false }];
  return [
    { shape: [outFeatures, inFeatures], transposed: !outFirst },
    { shape: [inFeatures, outFeatures], transposed: outFirst },
  ];
}

interface Rows {
  readonly count: number;
  row(index: number): Float32Array;
}

function rowsOf(values: Float32Array, { weight }: WeightedNode, transposed: boolean): Rows {
  const [first = 0, second = 0] = weight.value.shape.map(Number);
  if (!transposed) {
    const length = values.length / first;
    return { count: first, row: (index) => values.subarray(index * length, (index + 1) * length) };
  }
  return {
    count: second,
    row: (index) => Float32Array.from({ length: first }, (_, i) => values[i * second + index] ?? 0),
  };
}

/** The factor of a row against a stored one; null if they differ by more than a factor, or by one where `mayScale` is false. */
function rowFactor(row: Float32Array, stored: Float32Array, mayScale: boolean, tolerance: number): number | null {
  let product = 0;
  let square = 0;
  for (let i = 0; i < row.length; i++) {
    product += (row[i] as number) * (stored[i] as number);
    square += (stored[i] as number) ** 2;
  }
  // A row of one value is a multiple of any other.
  const factor = mayScale && square > 0 && row.length > 1 ? product / square : 1;
  const allowed = tolerance * Math.abs(factor) * Math.sqrt(square / row.length);
  for (let i = 0; i < row.length; i++) {
    const expected = factor * (stored[i] as number);
    if (!(Math.abs((row[i] as number) - expected) <= allowed + tolerance * Math.abs(expected))) return null;
  }
  return factor;
}

async function readRows({ file, name, tensor }: Candidate, begin: number, end: number): Promise<Float32Array> {
  const rowBytes = tensor.byteLength / (tensor.shape[0] ?? 1);
  const bytes = await file.read(name, { begin: begin * rowBytes, end: end * rowBytes });
  return widened(tensor.dtype as "F32" | "F16" | "BF16", bytes);
}
