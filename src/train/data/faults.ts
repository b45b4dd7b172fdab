/** Collects the faults of data, each with its file and line. */
import { LorikeetError } from "../../base/errors.js";

/** Where a row was read: the file as the user named it, and the line (from 1) on which the row begins. */
export interface Place extends RowPlace {
  readonly line: number;
}

/** `line`: null if the file is the row, as a picture in a folder of its class. */
export interface RowPlace {
  readonly file: string;
  readonly line: number | null;
}

/** `file:line`, or the file alone. */
export const shownPlace = ({ file, line }: RowPlace): string => (line === null ? file : `${file}:${line}`);

const mostFaults = 50;
/** Faults kept for sorting; the rest are only counted. */
const mostHeld = 10_000;

export class DataFaults {
  readonly #held: { readonly place: RowPlace; readonly reason: string }[] = [];
  #count = 0;

  /** `reason`: as the rest of a sentence; messages of other errors end one. */
  add(place: RowPlace, reason: string): void {
    this.#count++;
    if (this.#held.length < mostHeld) this.#held.push({ place, reason: reason.replace(/\.$/, "") });
  }

  get count(): number {
    return this.#count;
  }

  /** Throws `data_invalid` with the first 50 faults as `file:line: reason`, if any. */
  throwIfAny(): void {
    if (this.#count === 0) return;
    const order = [...this.#held].sort(
      ({ place: a }, { place: b }) => (a.file < b.file ? -1 : a.file > b.file ? 1 : 0) || (a.line ?? 0) - (b.line ?? 0),
    );
    const faults = order.slice(0, mostFaults).map(({ place, reason }) => `${shownPlace(place)}: ${reason}`);
    const more = this.#count > faults.length ? `; the first ${faults.length} follow` : "";
    const what = this.#count === 1 ? `1 fault: ${faults[0]}` : `${this.#count} faults${more}`;
    throw new LorikeetError("data_invalid", `The data has ${what}. Nothing else was done.`, {
      param: "--data",
      found: this.#count,
      faults,
    });
  }
}
