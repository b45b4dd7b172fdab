/** KV slots by number: who holds which. A row of a decode step is a slot; rows are a prefix, so low numbers go first. */
import { assert } from "../base/errors.js";

export class Slots<T> {
  readonly total: number;
  readonly #owners: (T | null)[];

  constructor(total: number) {
    this.total = total;
    this.#owners = Array.from({ length: total }, () => null);
  }

  get free(): number {
    return this.#owners.filter((owner) => owner === null).length;
  }

  /** The lowest free slot, or null. */
  acquire(owner: T): number | null {
    const slot = this.#owners.indexOf(null);
    if (slot < 0) return null;
    this.#owners[slot] = owner;
    return slot;
  }

  release(slot: number): void {
    assert(this.owner(slot) !== null, `slot ${slot} is held when it is released`);
    this.#owners[slot] = null;
  }

  /** null for a free slot, and past the last one: a step may be padded with a row of no slot. */
  owner(slot: number): T | null {
    return this.#owners[slot] ?? null;
  }

  /** Gives `to`, a free slot, to the owner of `from`. */
  move(from: number, to: number): void {
    const owner = this.owner(from);
    assert(owner !== null && this.#owners[to] === null, `slot ${from} moves to ${to}, which is free`);
    this.#owners[to] = owner;
    this.#owners[from] = null;
  }

  lowestFree(): number {
    return this.#owners.indexOf(null);
  }

  *held(): IterableIterator<[number, T]> {
    for (const [slot, owner] of this.#owners.entries()) if (owner !== null) yield [slot, owner];
  }

  /** Proves free + held = total. */
  check(): void {
    const held = [...this.held()].length;
    assert(held + this.free === this.total, `${held} held and ${this.free} free slots make ${this.total}`);
  }
}
