/**
 * What the largest values of a module's matrices say about s·B(A x): that it changes nothing, may overflow, or must overflow. Bounds,
 * not computed products.
 */

import { elementCount } from "../../tensor/shape.js";
import { quote } from "./faults.js";
import type { ModulePlan } from "./module-plan.js";
import type { ValueSummary } from "./values.js";

/** Norms square their inputs: above the square root of float32's largest number the square is infinite and the output zero. */
const largest = Math.sqrt(3.4028234663852886e38);
/** The factor that a module's activations, and sums over them, may add. */
const headroom = 1e6;

/** The values of a module's tensors, each finite. */
export interface Sized {
  readonly a: ValueSummary;
  readonly b: ValueSummary;
  readonly extra: ValueSummary | null;
  readonly addedBias: ValueSummary | null;
}

/** A clause if an entry of s·B·A may be too large to compute with in float32. */
export function productFault(module: ModulePlan, values: Sized): string | null {
  const { path, scale } = module;
  const [left, right] = [largestOfA(module, values), values.b.largest * Math.abs(scale)];
  if (left * right <= largest) return null;
  return `the products of module ${path} overflow float32: values up to ${brief(left)} in lora_A meet values up to ${brief(right)} in lora_B times its scale; products up to ${brief(largest)} are allowed`;
}

/** Collects modules whose products are zero or nearly overflow float32. */
export class SmallOrLarge {
  readonly #modules: number;
  /** Names of zero tensors in idle modules. */
  readonly #zero = new Set<string>();
  #idleModules = 0;
  #large = 0;
  #firstLarge: string | null = null;

  /** `modules` is the number of all modules. */
  constructor(modules: number) {
    this.#modules = modules;
  }

  add(module: ModulePlan, values: Sized): void {
    const { a, b, extra, addedBias } = values;
    const changesAlone =
      (module.extra !== null && !module.extra.spec.isFoldedIntoA) || (addedBias !== null && !addedBias.zero);
    if (!changesAlone && (a.zero || b.zero || extra?.zero)) {
      this.#idleModules++;
      if (a.zero) this.#zero.add("lora_A");
      if (b.zero) this.#zero.add("lora_B");
      if (module.extra && extra?.zero) this.#zero.add(module.extra.spec.words.the);
    }
    if (reachOf(module, values) <= largest / headroom) return;
    this.#large++;
    this.#firstLarge ??= module.path;
  }

  warnings(): string[] {
    const warnings = this.largeWarnings();
    const zero = [...this.#zero].sort();
    const idle = this.#idleModules;
    if (idle > 0 && idle === this.#modules) {
      warnings.unshift(`The adapter changes nothing: every ${zero.join(" or ")} is zero.`);
    } else if (idle > 0) {
      const them = idle === 1 ? "1 of" : `${idle} of`;
      warnings.unshift(`${them} ${this.#modules} modules change nothing: their ${zero.join(" or ")} is zero.`);
    }
    return warnings;
  }

  largeWarnings(): string[] {
    if (this.#large === 0) return [];
    const more = this.#large > 1 ? ` and ${this.#large - 1} more` : "";
    return [`Values are so large that products may overflow float32, in ${quote(this.#firstLarge)}${more}.`];
  }
}

/** Bound on A x and s·B(A x) for inputs of 1. */
function reachOf(module: ModulePlan, values: Sized): number {
  const { rank, scale } = module;
  return largestOfA(module, values) * fanIn(module) * Math.max(1, values.b.largest * Math.abs(scale) * rank);
}

/** How many values of an input an output sums. A table is read one row at a time. */
const fanIn = ({ kind, inFeatures, kernel }: ModulePlan): number =>
  kind === "table" ? 1 : inFeatures * elementCount(kernel);

/** Including what is folded into it. */
const largestOfA = ({ extra }: ModulePlan, values: Sized): number =>
  extra?.spec.isFoldedIntoA && values.extra ? values.a.largest * values.extra.largest : values.a.largest;

const brief = (value: number): string => Number(value.toPrecision(3)).toString();
