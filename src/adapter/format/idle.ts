/**
 * Modules of an adapter that an ONNX file does not have, such as a pooler that the export left out: with `all-linear` PEFT adapts every layer
 * of the model, and what no output depends on keeps its lora_B of zeros. Such modules change nothing.
 */

import { dtypeSizes } from "../../tensor/dtype.js";
import type { SafetensorsFile } from "../../tensor/safetensors.js";
import { elementCount } from "../../tensor/shape.js";
import type { ModuleIndex } from "./base.js";
import { quote } from "./faults.js";
import { type KeyContext, parseKey } from "./keys.js";
import { isMatrixDtype } from "./layout.js";
import { ValueScan } from "./values.js";

const bandElements = 1 << 20;

/** The paths of modules that the base lacks and whose lora_B is all zeros. None if the base has none of the adapter's modules. */
export async function idleModules(
  file: SafetensorsFile,
  context: Omit<KeyContext, "tableNames">,
  index: ModuleIndex,
): Promise<ReadonlySet<string>> {
  const candidates = new Map<string, string>();
  let isKnown = false;
  for (const name of file.tensors.keys()) {
    const key = parseKey(name, { ...context, tableNames: index.tableNames });
    if (key.kind !== "matrix") continue;
    if (index.has(key.path)) isKnown = true;
    else if (key.role === "B") candidates.set(key.path, name);
  }
  const idle = new Set<string>();
  if (!isKnown) return idle;
  for (const [path, name] of candidates) if (await isZero(file, name)) idle.add(path);
  return idle;
}

export function idleWarning(idle: ReadonlySet<string>): string[] {
  const [first] = idle;
  if (first === undefined) return [];
  const more = idle.size === 1 ? "" : `, and ${idle.size - 1} more likewise`;
  return [`The ONNX file lacks the module ${quote(first)}, whose lora_B is zero, so it changes nothing${more}.`];
}

/** Reads until the first value that is not. */
async function isZero(file: SafetensorsFile, name: string): Promise<boolean> {
  const { dtype, shape } = file.tensor(name);
  if (!isMatrixDtype(dtype)) return false;
  const count = elementCount(shape);
  const size = dtypeSizes[dtype];
  for (let first = 0; first < count; first += bandElements) {
    const scan = new ValueScan(dtype);
    scan.add(await file.read(name, { begin: first * size, end: Math.min(count, first + bandElements) * size }));
    if (!scan.summary().zero) return false;
  }
  return true;
}
