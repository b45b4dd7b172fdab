/** Collects everything that is wrong with an adapter, so that one error lists it all. */

import { LorikeetError } from "../../base/errors.js";

const maxListed = 1000;
/** Faults listed for an adapter of another base: all its modules differ, and the first ones show how. */
const maxMisfitsListed = 12;
const maxInMessage = 3;

/** The bases' names in the message. */
export interface Bases {
  /** The base that the adapter's config names. */
  readonly named?: string | null;
  /** The name of the base that it is checked against. */
  readonly own?: string | undefined;
}

interface Misfit {
  readonly module: string;
  readonly fault: string;
  /** What the base lacks, as a clause that a list of modules completes; null: it has the module. */
  readonly lack: string | null;
}

export class Faults {
  readonly #invalid: string[] = [];
  readonly #unsupported: string[] = [];
  readonly #shapes: Misfit[] = [];
  readonly #strangers: Misfit[] = [];

  /** The adapter contradicts itself or the format. A clause without a full stop. */
  invalid(fault: string): void {
    this.#invalid.push(fault);
  }

  /** The adapter may be valid, but uses something that is not supported. */
  unsupported(fault: string): void {
    this.#unsupported.push(fault);
  }

  /** The base has the module, with other sizes. */
  otherShape(module: string, fault: string): void {
    this.#shapes.push({ module, fault, lack: null });
  }

  /** The base lacks the module. `lack` says so of several: "the base has no linear layer". */
  otherModule(module: string, fault: string, lack: string): void {
    this.#strangers.push({ module, fault, lack });
  }

  get count(): number {
    return this.#invalid.length + this.#unsupported.length + this.#shapes.length + this.#strangers.length;
  }

  /** Throws `adapter_unsupported` if all faults are of that kind, otherwise `adapter_invalid`. */
  throwIfAny(label: string, bases: Bases = {}): void {
    if (this.count === 0) return;
    const misfits = [...this.#shapes, ...this.#strangers];
    // A few modules that do not fit may be a slip; many are an adapter for another base, which may support all that it uses.
    const isForeign = misfits.length > maxInMessage && this.#invalid.length === 0;
    if (isForeign) throw misfit(label, misfits, this.#unsupported, bases);
    const all = [...this.#unsupported, ...this.#invalid, ...misfits.map(({ fault }) => fault)];
    throw new LorikeetError(
      this.#unsupported.length < all.length ? "adapter_invalid" : "adapter_unsupported",
      `${label} was refused for ${all.length === 1 ? "1 fault" : `${all.length} faults`}: ${summary(all)}.`,
      { faults: listed(all, maxListed), found: all.length, allowed: 0 },
    );
  }
}

/** One sentence for an adapter of another base: how the first modules differ, and once for each kind which ones the base lacks. */
function misfit(
  label: string,
  misfits: readonly Misfit[],
  unsupported: readonly string[],
  { named, own }: Bases,
): LorikeetError {
  const differing = misfits.filter(({ lack }) => lack === null);
  const firsts = new Map<string, string>();
  for (const { module, fault } of differing) if (!firsts.has(module)) firsts.set(module, fault);
  const lacking = lacks(misfits);
  const base = own === undefined ? "this base" : `the base ${quote(own)}`;
  const differences = [...(firsts.size > 0 ? [summary([...firsts.values()])] : []), ...lacking].join("; ");
  const origin = named ? ` (its config names ${quote(named)})` : "";
  return new LorikeetError("adapter_invalid", `${label} does not fit ${base}${origin}: ${differences}.`, {
    faults: listed([...differing.map(({ fault }) => fault), ...lacking, ...unsupported], maxMisfitsListed),
    found: misfits.length + unsupported.length,
    allowed: 0,
  });
}

/** `the base has no linear layer "a", "b", "c" or 7 more`. */
function lacks(misfits: readonly Misfit[]): string[] {
  const modules = new Map<string, Set<string>>();
  for (const { lack, module } of misfits) {
    if (lack !== null) modules.set(lack, (modules.get(lack) ?? new Set()).add(module));
  }
  return [...modules].map(([lack, missing]) => {
    const shown = [...missing].slice(0, maxInMessage).map(quote).join(", ");
    const more = missing.size - maxInMessage;
    return `${lack} ${shown}${more > 0 ? ` or ${more} more` : ""}`;
  });
}

function listed(faults: readonly string[], most: number): string[] {
  const first = faults.slice(0, most);
  return faults.length > most ? [...first, `${faults.length - most} more faults, not listed`] : first;
}

function summary(faults: readonly string[]): string {
  const more = faults.length - maxInMessage;
  return faults.slice(0, maxInMessage).join("; ") + (more > 0 ? `; and ${more} more` : "");
}

/** An untrusted value, quoted and shortened for a message. */
export function quote(value: unknown): string {
  // JSON has no infinity: 1e400 parses as infinity, which would be shown as null.
  if (typeof value === "number" && !Number.isFinite(value)) return "infinite (a number beyond 1.8e308)";
  const text = JSON.stringify(value) ?? String(value);
  return text.length > 160 ? `${text.slice(0, 157)}...` : text;
}

/** `"a", "b" and 3 more`. */
export function quoteList(values: readonly string[], most = 8): string {
  const shown = values.slice(0, most).map(quote).join(", ");
  return values.length > most ? `${shown} and ${values.length - most} more` : shown;
}
