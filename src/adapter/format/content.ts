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
import { type Elements, elementsOf, type ModuleElements, peftLayout } from "./layout.js";
import type { Role } from "./methods/method.js";
import type { ModulePlan, StoredExtra, StoredMatrix } from "./module-plan.js";
import { productFault, type Sized, SmallOrLarge } from "./products.js";
import { ValueScan, type ValueSummary } from "./values.js";

/** Called with each module whose values are valid. The arrays, in the file's layout, may only be used until it returns. */
export type Visitor = (module: ModulePlan, elements: ModuleElements) => void;

export interface ContentOptions {
  readonly faults: Faults;
  /** null hashes nothing, for an adapter that is already refused. */
  readonly digest: AdapterDigest | null;
  /** null reads the matrices in bands. */
  readonly visit: Visitor | null;
}

type Tensor = StoredMatrix | StoredExtra;

/** Returns warnings. */
export async function readContent(
  file: SafetensorsFile,
  modules: readonly ModulePlan[],
  { faults, digest, visit }: ContentOptions,
): Promise<readonly string[]> {
  const byPath = [...modules].sort((left, right) => (left.path < right.path ? -1 : 1));
  const reader = new TensorReader(file, byPath.flatMap(tensorsOf), { digest, whole: visit !== null });
  const notes = new SmallOrLarge(modules.length);
  for (const module of byPath) {
    const { path, rank, inFeatures, outFeatures } = module;
    const a = await reader.read(module.a, path, "A", [rank, inFeatures]);
    const b = await reader.read(module.b, path, "B", [outFeatures, rank]);
    const extra = module.extra && (await reader.read(module.extra, path, module.extra.spec.role, module.extra.shape));
    const values = { a: a.values, b: b.values, extra: extra?.values ?? null };
    if (checkValues(module, values, faults)) notes.add(module, values);
    if (!visit || faults.count > 0 || !a.elements || !b.elements) continue;
    visit(module, { a: a.elements, b: b.elements, extra: extra?.elements ?? null });
  }
  return notes.warnings();
}

const tensorsOf = ({ a, b, extra }: ModulePlan): Tensor[] => [a, b, ...(extra ? [extra] : [])];

/** False if a fault was found. */
function checkValues(module: ModulePlan, { a, b, extra }: Sized, faults: Faults): boolean {
  const before = faults.count;
  reportValues(module.a, a, extra?.finite && module.extra?.spec.isFoldedIntoA ? extra.largest : 1, faults);
  reportValues(module.b, b, module.scale, faults);
  if (module.extra && extra) reportValues(module.extra, extra, 1, faults);
  const fault = faults.count === before ? productFault(module, { a, b, extra }) : null;
  if (fault) faults.invalid(fault);
  return faults.count === before;
}

/** The values will be multiplied by `factor` before they are used in float32. */
function reportValues({ name }: Tensor, { finite, largest }: ValueSummary, factor: number, faults: Faults): void {
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
    tensors: readonly Tensor[],
    { digest, whole }: { readonly digest: AdapterDigest | null; readonly whole: boolean },
  ) {
    this.#file = file;
    this.#digest = digest;
    this.#whole = whole;
    const streamed = tensors.filter((tensor) => !this.#isReordered(tensor)).map(({ name }) => name);
    this.#stream = streamTensors(file, streamed, { bands: !whole });
  }

  async read(tensor: Tensor, path: string, role: Role, shape: readonly number[]): Promise<ReadTensor> {
    const scan = new ValueScan(tensor.dtype);
    this.#digest?.begin(path, role, tensor.dtype, shape);
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
  #isReordered(tensor: Tensor): tensor is StoredMatrix {
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

function isTransposed(tensor: Tensor): tensor is StoredMatrix {
  return "transposed" in tensor && tensor.transposed;
}
