/** Each adapter's activity since startup: waiting and running requests, counts, last use. Bounded by the number of adapters. */
import type { Usage } from "./parts.js";

export interface AdapterActivity {
  readonly waiting: number;
  readonly running: number;
  readonly requests: number;
  readonly promptTokens: number;
  readonly completionTokens: number;
  /** Milliseconds since 1970; null before the first use. */
  readonly lastUsedAt: number | null;
}

/** One request's entry. */
export interface ActivityTicket {
  admit(): void;
  /** Idempotent. */
  end(usage: Usage | null): void;
}

type Entry = { -readonly [K in keyof AdapterActivity]: AdapterActivity[K] };

const fresh = (): Entry => ({
  waiting: 0,
  running: 0,
  requests: 0,
  promptTokens: 0,
  completionTokens: 0,
  lastUsedAt: null,
});

export class ActivityBook {
  readonly #entries = new Map<string, Entry>();
  readonly #now: () => number;

  constructor(now: () => number = Date.now) {
    this.#now = now;
  }

  /** A request for `name` starts to wait. null is the base, which is not counted. */
  begin(name: string | null): ActivityTicket {
    if (name === null) return { admit: () => {}, end: () => {} };
    const entry = this.#entries.get(name) ?? fresh();
    this.#entries.set(name, entry);
    entry.waiting++;
    entry.requests++;
    entry.lastUsedAt = this.#now();
    let state: "waiting" | "running" | "ended" = "waiting";
    return {
      admit: () => {
        if (state !== "waiting") return;
        state = "running";
        entry.waiting--;
        entry.running++;
      },
      end: (usage) => {
        if (state === "ended") return;
        entry[state]--;
        state = "ended";
        entry.promptTokens += usage?.promptTokens ?? 0;
        entry.completionTokens += usage?.completionTokens ?? 0;
      },
    };
  }

  of(name: string): AdapterActivity {
    return { ...(this.#entries.get(name) ?? fresh()) };
  }

  /** Names with a request in the given state. */
  names(state: "waiting" | "running"): string[] {
    return [...this.#entries].flatMap(([name, entry]) => (entry[state] > 0 ? [name] : []));
  }

  /** The number of requests in the given state, for each adapter that has any. */
  counts(state: "waiting" | "running"): Map<string, number> {
    return new Map([...this.#entries].flatMap(([name, entry]) => (entry[state] > 0 ? [[name, entry[state]]] : [])));
  }

  forget(name: string): void {
    this.#entries.delete(name);
  }

  /** Forgets idle names whose adapter is gone: an operator may delete a folder without telling the server. */
  prune(exists: (name: string) => boolean): void {
    for (const [name, entry] of this.#entries) {
      if (entry.waiting + entry.running === 0 && !exists(name)) this.#entries.delete(name);
    }
  }
}
