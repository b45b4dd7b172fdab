/** Collects what is wrong with data, each fault with its file and line. Decides nothing about what is right. */
import { LorikeetError } from "../../base/errors.js";

/** Where a row was read: the file as the user named it, and the line (from 1) on which the row begins. */
export interface Place {
  readonly file: string;
  readonly line: number;
}

const mostFaults = 50;

export class DataFaults {
  readonly #faults: string[] = [];
  #count = 0;

  /** Notes `file:line: reason`. The first 50 are kept, all are counted. */
  add({ file, line }: Place, reason: string): void {
    this.#count++;
    if (this.#faults.length < mostFaults) this.#faults.push(`${file}:${line}: ${reason}`);
  }

  get count(): number {
    return this.#count;
  }

  /** Throws `data_invalid` with the faults, if there are any. */
  throwIfAny(): void {
    if (this.#count === 0) return;
    const shown = this.#faults.length;
    const what = this.#count === 1 ? "1 fault" : `${this.#count} faults`;
    const more = this.#count > shown ? `; the first ${shown} follow` : "";
    throw new LorikeetError("data_invalid", `The data has ${what}${more}. Nothing was trained.`, {
      param: "--data",
      found: this.#count,
      faults: this.#faults,
    });
  }
}
