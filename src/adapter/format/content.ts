/**
 * Reads the numbers of an adapter: checks that they are finite and change something, and hashes them. Reads bands of a few MiB, whatever
 * the tensors' sizes, unless a visitor needs the matrices.
 */

import { at } from "../../base/list.js";
import { dtypeSizes } from "../../tensor/dtype.js";
import type { SafetensorsFile } from "../../tensor/safetensors.js";
import { bandBytes, streamTensors } from "../../tensor/safetensors-stream.js";
import type { AdapterDigest } from "./digest.js";
import { type Faults, quote } from "./faults.js";
import { type Elements, elementsOf, type ModuleElements, peftLayout, type SavedElements } from "./layout.js";
import type { AdapterPlan, ModulePlan, SavedPlan, StoredArray, StoredMatrix, TokenPlan } from "./module-plan.js";
import { productFault, type Sized, SmallOrLarge } from "./products.js";
import { ValueScan, type ValueSummary } from "./values.js";

/** Called with each module whose values are valid. The arrays, in the file's layout, may only be used until it returns. */
export interface Visitor {
  adapted(module: ModulePlan, elements: ModuleElements): void;
  saved?(module: SavedPlan, elements: SavedElements): void;
  tokens?(plan: TokenPlan, rows: Elements): void;
}

export interface ContentOptions {
  readonly faults: Faults;
  /** null hashes nothing, for an adapter that is already refused. */
  readonly digest: AdapterDigest | null;
  /** null reads the matrices in bands. */
  readonly visit: Visitor | null;
}

/** Returns warnings. */
export async function readContent(
  file: SafetensorsFile,
  { modules, saved, tokens }: Pick<AdapterPlan, "modules" | "saved" | "tokens">,
  { faults, digest, visit }: ContentOptions,
): Promise<readonly string[]> {
  const byPath = [...modules, ...saved].sort((left, right) => (left.path < right.path ? -1 : 1));
  const tensors = [...byPath.flatMap(tensorsOf), ...tokens.map(({ rows }) => rows)];
  const reader = new TensorReader(file, tensors, { digest, whole: visit !== null });
  const notes = new SmallOrLarge(modules.filter(({ isIdle }) => !isIdle).length);
  for (const module of byPath) {
    if (!("a" in module)) await readSaved(reader, module, faults, visit);
    else {
      const { values, elements } = await readAdapted(reader, module);
      if (checkValues(module, values, faults) && !module.isIdle) notes.add(module, values);
      if (visit && faults.count === 0 && elements && !module.isIdle) visit.adapted(module, elements);
    }
  }
  for (const plan of tokens) {
    digest?.tokens(plan.path, plan.ids);
    const { values, elements } = await reader.read(plan.rows, `${plan.path}.trainable_tokens_delta`, plan.rows.shape);
    reportValues(plan.rows, values, 1, faults);
    if (visit?.tokens && faults.count === 0 && elements) visit.tokens(plan, elements);
  }
  return saved.length > 0 || tokens.length > 0 ? notes.largeWarnings() : notes.warnings();
}

function tensorsOf(module: ModulePlan | SavedPlan): StoredArray[] {
  const optional = "a" in module ? [module.a, module.b, module.extra, module.addedBias] : [module.weight, module.bias];
  return optional.flatMap((tensor) => (tensor ? [tensor] : []));
}

async function readAdapted(
  reader: TensorReader,
  module: ModulePlan,
): Promise<{ readonly values: Sized; readonly elements: ModuleElements | null }> {
  const { path, kind } = module;
  const marker = (letter: string): string =>
    kind === "table" ? `${path}.lora_embedding_${letter}` : `${path}.lora_${letter}.weight`;
  const a = await reader.read(module.a, marker("A"), module.a.peftShape);
  const b = await reader.read(module.b, marker("B"), module.b.peftShape);
  const extra = module.extra && (await reader.read(module.extra, marker(module.extra.spec.role), module.extra.shape));
  const bias = module.addedBias && (await reader.read(module.addedBias, `${path}.lora_B.bias`, module.addedBias.shape));
  const values = { a: a.values, b: b.values, extra: extra?.values ?? null, addedBias: bias?.values ?? null };
  if (!a.elements || !b.elements) return { values, elements: null };
  const optional = { extra: extra?.elements ?? null, addedBias: bias?.elements ?? null };
  return { values, elements: { a: a.elements, b: b.elements, ...optional } };
}

async function readSaved(
  reader: TensorReader,
  module: SavedPlan,
  faults: Faults,
  visit: Visitor | null,
): Promise<void> {
  const elements: { weight: Elements | null; bias: Elements | null } = { weight: null, bias: null };
  for (const part of ["weight", "bias"] as const) {
    const tensor = module[part];
    if (!tensor) continue;
    const read = await reader.read(tensor, `${module.path}.${part}`, tensor.shape);
    reportValues(tensor, read.values, 1, faults);
    elements[part] = read.elements;
  }
  if (visit?.saved && faults.count === 0) visit.saved(module, elements);
}

/** False if a fault was found. */
function checkValues(module: ModulePlan, { a, b, extra, addedBias }: Sized, faults: Faults): boolean {
  const before = faults.count;
  reportValues(module.a, a, extra?.finite && module.extra?.spec.isFoldedIntoA ? extra.largest : 1, faults);
  reportValues(module.b, b, module.scale, faults);
  if (module.extra && extra) reportValues(module.extra, extra, 1, faults);
  if (module.addedBias && addedBias) reportValues(module.addedBias, addedBias, module.scale, faults);
  const fault = faults.count === before ? productFault(module, { a, b, extra, addedBias }) : null;
  if (fault) faults.invalid(fault);
  return faults.count === before;
}

/** The values will be multiplied by `factor` before they are used in float32. */
function reportValues({ name }: StoredArray, { finite, largest }: ValueSummary, factor: number, faults: Faults): void {
  if (!finite) faults.invalid(`tensor ${quote(name)} holds NaN or infinity`);
  else if (!Number.isFinite(Math.fround(largest * factor))) {
    faults.invalid(`tensor ${quote(name)} times its scale ${factor} overflows float32 (largest value ${largest})`);
  }
}

interface ReadTensor {
  readonly values: ValueSummary;
  /** null if the tensors are read in bands. */
  readonly elements: Elements | null;
}

/** Reads the announced tensors in order, scans each and hashes it. */
class TensorReader {
  readonly #file: SafetensorsFile;
  readonly #digest: AdapterDigest | null;
  readonly #whole: boolean;
  readonly #stream: ReturnType<typeof streamTensors>;

  constructor(
    file: SafetensorsFile,
    tensors: readonly StoredArray[],
    { digest, whole }: { readonly digest: AdapterDigest | null; readonly whole: boolean },
  ) {
    this.#file = file;
    this.#digest = digest;
    this.#whole = whole;
    const streamed = tensors.filter((tensor) => !this.#isReordered(tensor)).map(({ name }) => name);
    this.#stream = streamTensors(file, streamed, { bands: !whole });
  }

  /** `name` and `shape` are PEFT's. */
  async read(tensor: StoredArray, name: string, shape: readonly number[]): Promise<ReadTensor> {
    const scan = new ValueScan(tensor.dtype);
    this.#digest?.begin(name, tensor.dtype, shape);
    if (this.#isReordered(tensor)) {
      await this.#readReordered(tensor, scan);
      return { values: scan.summary(), elements: null };
    }
    const { byteLength } = this.#file.tensor(tensor.name);
    let elements: Elements | null = null;
    for (let done = 0; ; ) {
      const { value } = await this.#stream.next();
      if (!value) break;
      scan.add(value.bytes);
      elements = elementsOf(tensor.dtype, value.bytes);
      this.#digest?.update(isTransposed(tensor) ? peftLayout(tensor, elements) : elements);
      done += value.bytes.length;
      if (done >= byteLength) break;
    }
    return { values: scan.summary(), elements: this.#whole ? elements : null };
  }

  /** Whether a tensor's order differs from the order of the hash and the tensor is too large to transpose in memory. */
  #isReordered(tensor: StoredArray): tensor is StoredMatrix {
    return !this.#whole && isTransposed(tensor) && this.#file.tensor(tensor.name).byteLength > bandBytes;
  }

  /** Stored as [rows, columns], hashed as [columns, rows]: reads all rows for a few columns at a time. */
  async #readReordered({ name, dtype, shape: [rows, columns] }: StoredMatrix, scan: ValueScan): Promise<void> {
    const size = dtypeSizes[dtype];
    const held = this.#digest ? Math.min(columns, Math.max(1, Math.floor(transposedBytes / (rows * size)))) : columns;
    const step = Math.max(1, Math.floor(bandBytes / (columns * size)));
    for (let first = 0; first < columns; first += held) {
      const count = Math.min(held, columns - first);
      const turned = this.#digest && elementsOf(dtype, new Uint8Array(count * rows * size));
      for (let row = 0; row < rows; row += step) {
        const end = Math.min(rows, row + step);
        const bytes = await this.#file.read(name, { begin: row * columns * size, end: end * columns * size });
        if (first === 0) scan.add(bytes);
        if (turned) scatter(elementsOf(dtype, bytes), turned, { row, rows, columns, first, count });
      }
      if (turned) this.#digest?.update(turned);
    }
  }
}

/** Memory for the columns that are transposed at a time. */
const transposedBytes = 8 * bandBytes;

interface Scatter {
  /** The first row of the band, and the number of all rows. */
  readonly row: number;
  readonly rows: number;
  readonly columns: number;
  /** The columns to copy. */
  readonly first: number;
  readonly count: number;
}

/** Copies a band [rows of the band, columns] into [count, rows]. */
function scatter(band: Elements, into: Elements, { row, rows, columns, first, count }: Scatter): void {
  for (let i = 0; i * columns < band.length; i++) {
    for (let j = 0; j < count; j++) into[j * rows + row + i] = at(band, i * columns + first + j);
  }
}

function isTransposed(tensor: StoredArray): tensor is StoredMatrix {
  return "transposed" in tensor && tensor.transposed === true;
}
