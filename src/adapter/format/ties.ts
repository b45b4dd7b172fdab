/**
 * `ensure_weight_tying`: PEFT gives a head that is tied to the embeddings their adapter, transposed, as one pair of parameters, and saves
 * both. A file in which they differ has two values for one parameter.
 */

import { dtypeSizes } from "../../tensor/dtype.js";
import type { SafetensorsFile } from "../../tensor/safetensors.js";
import type { ModuleIndex } from "./base.js";
import { type Faults, quote } from "./faults.js";
import { elementsOf, widen } from "./layout.js";
import type { ModulePlan, StoredMatrix, TiePlan } from "./module-plan.js";

const bandElements = 1 << 20;

/** The adapted embeddings with the tied head. One without the other is a fault. */
export function findTies(modules: readonly ModulePlan[], targetModules: ModuleIndex, faults: Faults): TiePlan[] {
  const isHead = (path: string): boolean => targetModules.isTiedHead(path);
  const head = modules.find(({ path }) => isHead(path));
  const table = modules.find(({ kind }) => kind === "table");
  if (head && table) return [{ table, head }];
  const [found, lacking] = head ? [head.path, "the embeddings"] : [table?.path, "the head that is tied to them"];
  if (found !== undefined && (head || targetModules.modules().some(isHead))) {
    faults.invalid(`ensure_weight_tying is set, but the file adapts ${found} without ${lacking}`);
  }
  return [];
}

/** Reports adapters of a head that are not those of the embeddings. */
export async function checkTies(file: SafetensorsFile, ties: readonly TiePlan[], faults: Faults): Promise<void> {
  for (const { table, head } of ties) {
    for (const [own, other] of [
      [head.a, table.b],
      [head.b, table.a],
    ] as const) {
      if (await areTransposed(file, own, other)) continue;
      faults.invalid(
        `tensors ${quote(own.name)} and ${quote(other.name)} are one parameter (ensure_weight_tying), but they differ`,
      );
    }
  }
}

/** Reads bands of rows of `left` and the same columns of `right`. */
async function areTransposed(file: SafetensorsFile, left: StoredMatrix, right: StoredMatrix): Promise<boolean> {
  const [rows, columns] = left.shape;
  if (left.dtype !== right.dtype || right.shape[0] !== columns || right.shape[1] !== rows) return false;
  const size = dtypeSizes[left.dtype];
  const read = async ({ name, dtype }: StoredMatrix, begin: number, end: number): Promise<Float32Array> =>
    widen(dtype, elementsOf(dtype, await file.read(name, { begin: begin * size, end: end * size })));
  const band = Math.max(1, Math.floor(bandElements / Math.max(1, columns)));
  for (let first = 0; first < rows; first += band) {
    const end = Math.min(rows, first + band);
    const own = await read(left, first * columns, end * columns);
    for (let column = 0; column < columns; column++) {
      const other = await read(right, column * rows + first, column * rows + end);
      if (other.some((value, i) => value !== own[i * columns + column])) return false;
    }
  }
  return true;
}
