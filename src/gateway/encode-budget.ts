/**
 * The characters of requests that wait to be tokenized, bounded in total and shared fairly between connections: when it is full, the
 * newest request of the connection with the most characters is evicted for one with fewer. Tokenizes nothing.
 */
import { assert, LorikeetError } from "../base/errors.js";

interface Reservation {
  readonly connection: object;
  readonly characters: number;
  /** Called when the request is evicted. */
  readonly giveWay: (fault: LorikeetError) => void;
}

export class EncodeBudget {
  readonly #limit: number;
  readonly #reservations = new Set<Reservation>();
  readonly #held = new Map<object, number>();
  #characters = 0;

  constructor(limit: number) {
    this.#limit = limit;
  }

  /** Characters that wait. */
  get characters(): number {
    return this.#characters;
  }

  /** Connections with a request that waits. */
  get connections(): number {
    return this.#held.size;
  }

  /**
   * Room for a request's characters until the returned function is called. `giveWay` evicts it earlier, at most once. A request larger
   * than the whole budget is accepted while no other request waits. Throws `encode_queue_full` with what waits and what may.
   */
  reserve(connection: object, characters: number, giveWay: (fault: LorikeetError) => void): () => void {
    if (characters === 0) return () => {};
    const own = (this.#held.get(connection) ?? 0) + characters;
    for (const victim of this.#victims(own, characters)) {
      this.#release(victim);
      victim.giveWay(this.#full());
    }
    const reservation = { connection, characters, giveWay };
    this.#reservations.add(reservation);
    this.#held.set(connection, own);
    this.#characters += characters;
    return () => this.#release(reservation);
  }

  /** The requests to evict for this many more characters: each the newest of the connection that then holds most, and more than `own`. */
  #victims(own: number, characters: number): Reservation[] {
    const held = new Map(this.#held);
    const newestFirst = [...this.#reservations].reverse();
    const victims: Reservation[] = [];
    let left = this.#characters;
    while (left > 0 && left + characters > this.#limit) {
      const most = Math.max(...held.values());
      const at = newestFirst.findIndex(({ connection }) => held.get(connection) === most);
      const [victim] = newestFirst.splice(at, 1);
      if (!victim || most <= own) throw this.#full();
      victims.push(victim);
      held.set(victim.connection, most - victim.characters);
      left -= victim.characters;
    }
    return victims;
  }

  #release(reservation: Reservation): void {
    if (!this.#reservations.delete(reservation)) return;
    const { connection, characters } = reservation;
    this.#characters -= characters;
    const before = this.#held.get(connection);
    assert(before !== undefined && before >= characters, "a reservation is part of what its connection holds");
    const held = before - characters;
    if (held > 0) this.#held.set(connection, held);
    else this.#held.delete(connection);
  }

  #full(): LorikeetError {
    return new LorikeetError(
      "encode_queue_full",
      `Prompts of ${this.#characters} characters wait to be tokenized; at most ${this.#limit} may (--max-queued-characters).`,
      { param: "prompt", found: this.#characters, allowed: this.#limit },
    );
  }
}
