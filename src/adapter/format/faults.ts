/** Collects everything that is wrong with an adapter, so that one answer lists it all. Knows nothing of what is checked. */

import { LorikeetError } from "../../base/errors.js";

const maxListed = 1000;
const maxInMessage = 3;

export class Faults {
  readonly #invalid: string[] = [];
  readonly #unsupported: string[] = [];

  /** The adapter contradicts itself, the format or the base. A clause without a full stop. */
  invalid(fault: string): void {
    this.#invalid.push(fault);
  }

  /** The adapter may be sound, but is of a kind that is not served. */
  unsupported(fault: string): void {
    this.#unsupported.push(fault);
  }

  get count(): number {
    return this.#invalid.length + this.#unsupported.length;
  }

  /** Throws `adapter_unsupported` when only that was found, `adapter_invalid` when anything else was. */
  throwIfAny(label: string): void {
    if (this.count === 0) return;
    const all = [...this.#unsupported, ...this.#invalid];
    const faults = all.slice(0, maxListed);
    if (all.length > maxListed) faults.push(`${all.length - maxListed} more faults, not listed`);
    throw new LorikeetError(
      this.#invalid.length > 0 ? "adapter_invalid" : "adapter_unsupported",
      `${label} was refused for ${all.length === 1 ? "1 fault" : `${all.length} faults`}: ${summary(all)}.`,
      { faults, found: all.length, allowed: 0 },
    );
  }
}

function summary(faults: readonly string[]): string {
  const more = faults.length - maxInMessage;
  return faults.slice(0, maxInMessage).join("; ") + (more > 0 ? `; and ${more} more` : "");
}

/** A stranger's value, quoted and cut for a message. */
export function quote(value: unknown): string {
  // JSON knows no such number: 1e400 is read as infinity, and would be shown as null.
  if (typeof value === "number" && !Number.isFinite(value)) return "infinite (a number beyond 1.8e308)";
  const text = JSON.stringify(value) ?? String(value);
  return text.length > 160 ? `${text.slice(0, 157)}...` : text;
}

/** `"a", "b" and 3 more`. */
export function quoteList(values: readonly string[], most = 8): string {
  const shown = values.slice(0, most).map(quote).join(", ");
  return values.length > most ? `${shown} and ${values.length - most} more` : shown;
}
