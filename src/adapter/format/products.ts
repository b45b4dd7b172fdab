/**
 * What the largest values of a module's matrices say about s·B(A x): that it changes nothing, that it may overflow, that it must.
 * Bounds, not computed products.
 */

import { quote } from "./faults.js";
import type { ModulePlan } from "./modules.js";
import type { ValueSummary } from "./values.js";

/** Every norm squares what it is given: beyond the root of float32's largest number that is infinity, and the output is zero. */
const largest = Math.sqrt(3.4028234663852886e38);
/** What the activations that a module is given, and the sums over them, may add before that. */
const headroom = 1e6;

/** The values of a module's tensors, each finite. */
export interface Sized {
  readonly a: ValueSummary;
  readonly b: ValueSummary;
  readonly e?: ValueSummary | null | undefined;
}

/** A clause where an entry of s·B·A may lie beyond what a model can compute with in float32. */
export function productFault({ path, scale }: ModulePlan, { a, b, e }: Sized): string | null {
  const [left, right] = [a.largest * (e?.largest ?? 1), b.largest * Math.abs(scale)];
  if (left * right <= largest) return null;
  return `the products of module ${path} overflow float32: values up to ${brief(left)} in lora_A meet values up to ${brief(right)} in lora_B times its scale; products up to ${brief(largest)} are allowed`;
}

/** Collects modules whose products are zero or reach close to the end of float32. */
export class SmallOrLarge {
  readonly #modules: number;
  readonly #idle = { lora_A: 0, lora_B: 0, lora_E: 0 };
  #idleModules = 0;
  #large = 0;
  #firstLarge: string | null = null;

  /** Of so many modules. */
  constructor(modules: number) {
    this.#modules = modules;
  }

  add(module: ModulePlan, { a, b, e }: Sized): void {
    // Magnitudes change something by themselves.
    if (!module.m && (a.zero || b.zero || e?.zero)) {
      this.#idleModules++;
      if (a.zero) this.#idle.lora_A++;
      if (b.zero) this.#idle.lora_B++;
      if (e?.zero) this.#idle.lora_E++;
    }
    if (reachOf(module, { a, b, e }) <= largest / headroom) return;
    this.#large++;
    this.#firstLarge ??= module.path;
  }

  warnings(): string[] {
    const warnings: string[] = [];
    const zero = Object.entries(this.#idle).flatMap(([name, count]) => (count > 0 ? [name] : []));
    const idle = this.#idleModules;
    if (idle > 0 && idle === this.#modules) {
      warnings.push(`The adapter changes nothing: every ${zero.join(" or ")} is zero.`);
    } else if (idle > 0) {
      const them = idle === 1 ? "1 of" : `${idle} of`;
      warnings.push(`${them} ${this.#modules} modules change nothing: their ${zero.join(" or ")} is zero.`);
    }
    if (this.#large > 0) {
      const more = this.#large > 1 ? ` and ${this.#large - 1} more` : "";
      warnings.push(`Values are so large that products may overflow float32, in ${quote(this.#firstLarge)}${more}.`);
    }
    return warnings;
  }
}

/** How large A x and s·B(A x) may get for inputs of 1. */
function reachOf({ rank, inFeatures, scale }: ModulePlan, { a, b, e }: Sized): number {
  const inner = a.largest * (e?.largest ?? 1) * inFeatures;
  return inner * Math.max(1, b.largest * Math.abs(scale) * rank);
}

const brief = (value: number): string => Number(value.toPrecision(3)).toString();
