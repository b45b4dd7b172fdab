/** Turns between parties, simulated in integers: no party waits for another's backlog, and no party loses its share. */
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { FairQueue, type Ticket } from "../../src/base/fair-queue.js";

interface Job {
  readonly party: string;
  readonly id: number;
  /** What it is expected to use, and what it does use. */
  readonly expected: number;
  readonly used: number;
}

/** Slots that serve one unit of every job in a step. The newest state of all parties is at hand after each step. */
class Machine {
  readonly queue = new FairQueue<string, Job>({ turn: 8 });
  readonly started: Job[] = [];
  readonly served = new Map<string, number>();
  readonly #tickets = new Map<Job, Ticket>();
  readonly #running = new Map<Job, number>();

  constructor(readonly slots: number) {}

  submit(job: Job): void {
    this.#tickets.set(job, this.queue.push(job.party, job, { known: 0, expected: job.expected }));
  }

  cancel(job: Job): void {
    this.#tickets.get(job)?.end();
    this.#running.delete(job);
  }

  fill(mayServe: (party: string) => boolean = () => true): void {
    while (this.#running.size < this.slots) {
      const job = this.queue.next(mayServe);
      if (!job) break;
      this.started.push(job);
      this.#running.set(job, 0);
    }
  }

  step(mayServe?: (party: string) => boolean): void {
    this.fill(mayServe);
    for (const [job, done] of [...this.#running]) {
      this.#tickets.get(job)?.use(1);
      this.served.set(job.party, (this.served.get(job.party) ?? 0) + 1);
      if (done + 1 < job.used) this.#running.set(job, done + 1);
      else this.cancel(job);
    }
    this.queue.check();
  }

  get running(): number {
    return this.#running.size;
  }

  startsOf(party: string): number {
    return this.started.filter((job) => job.party === party).length;
  }
}

let count = 0;
const job = (party: string, used: number, expected = used): Job => ({ party, id: count++, expected, used });

test("one party with 200 entries: each of ten others starts before it has had twice the slots", () => {
  for (const slots of [1, 2, 3, 16]) {
    for (const used of [1, 7, 64, 500]) {
      const machine = new Machine(slots);
      for (let i = 0; i < 200; i++) machine.submit(job("one", used, Math.min(used, 64)));
      for (let i = 0; i < 3; i++) machine.step();
      const others = Array.from({ length: 10 }, (_, i) => `other${i}`);
      const before = machine.startsOf("one");
      for (const other of others) machine.submit(job(other, 16));
      while (others.some((other) => machine.startsOf(other) === 0)) machine.step();
      const had = machine.startsOf("one");
      assert.ok(had < Math.max(before + slots, 2 * slots), `${had} after ${before} with ${slots} slots of ${used}`);
    }
  }
});

test("parties with long and short entries have equal shares, whatever their expected cost", () => {
  const kinds: Record<string, () => Job> = {
    short: () => job("short", 8),
    long: () => job("long", 400, 64),
    overrated: () => job("overrated", 10, 64),
    exact: () => job("exact", 64),
  };
  const machine = new Machine(16);
  const keep = (): void => {
    for (const [party, make] of Object.entries(kinds)) {
      while (machine.queue.waitingOf(party) < 20) machine.submit(make());
    }
  };
  for (let step = 0; step < 12_000; step++) {
    keep();
    machine.step();
  }
  const shares = Object.keys(kinds).map((party) => (machine.served.get(party) ?? 0) / (12_000 * 16));
  for (const share of shares) assert.ok(share > 0.22 && share < 0.28, `${shares}`);
});

test("use while no other party waits is not charged", () => {
  const machine = new Machine(2);
  machine.submit(job("early", 4_010, 64));
  for (let i = 0; i < 4_000; i++) machine.step();
  for (let i = 0; i < 50; i++) machine.submit(job("late", 10));
  machine.step();
  const again = job("early", 10);
  machine.submit(again);
  while (machine.queue.size > 0) machine.step();
  const passed = machine.started.indexOf(again) - 1;
  assert.ok(passed < 12, `${passed} of the late start first, and would be 400 if all were owed`);
});

test("an endless stream of newcomers starves nobody", () => {
  const machine = new Machine(1);
  machine.submit(job("old", 100, 64));
  machine.submit(job("old", 8));
  for (let i = 0; machine.startsOf("old") < 2; i++) {
    assert.ok(i < 3_000, "it starts at last");
    while (machine.queue.size < 5) machine.submit(job(`new${i}`, 8));
    machine.step();
  }
});

test("entries that leave the queue leave no trace in its order, its debts or its memory", () => {
  const queue = new FairQueue<string, number>({ turn: 8 });
  const kept = [1, 2, 3].map((item) => queue.push("a", item, { known: 0, expected: 8 }));
  const gone = queue.push("b", 9, { known: 0, expected: 1_000 });
  gone.end();
  gone.end();
  assert.deepEqual([queue.size, queue.parties], [3, 1]);
  kept[1]?.end();
  assert.deepEqual([queue.next(), queue.next(), queue.next()], [1, 3, null]);
  assert.equal(queue.parties, 1, "it runs still");
  for (const ticket of kept) ticket.end();
  assert.equal(queue.parties, 0);
  queue.check();
});

test("a party that may not be served yet keeps its place and blocks nobody", () => {
  const queue = new FairQueue<string, string>({ turn: 8 });
  for (const party of ["a", "b", "c", "b", "c"]) queue.push(party, party, { known: 0, expected: 8 });
  const notA = (party: string): boolean => party !== "a";
  assert.deepEqual([queue.next(notA), queue.next(notA), queue.next()], ["b", "c", "a"]);
  assert.equal(
    queue.next(() => false),
    null,
  );
  assert.deepEqual([queue.next(), queue.next(), queue.next()], ["b", "c", null]);
});

test("with random arrivals and departures, slots stay full while anything can be served, and each party's order holds", () => {
  const event = fc.record({
    party: fc.integer({ min: 0, max: 6 }),
    used: fc.integer({ min: 1, max: 90 }),
    expected: fc.integer({ min: 0, max: 90 }),
    steps: fc.integer({ min: 0, max: 6 }),
    cancel: fc.option(fc.nat(40), { freq: 5, nil: null }),
    barred: fc.integer({ min: 0, max: 20 }),
  });
  fc.assert(
    fc.property(fc.array(event, { maxLength: 80 }), fc.integer({ min: 1, max: 5 }), (events, slots) => {
      const machine = new Machine(slots);
      const all: Job[] = [];
      for (const { party, used, expected, steps, cancel, barred } of events) {
        const next = job(`p${party}`, used, expected);
        all.push(next);
        machine.submit(next);
        const victim = cancel === null ? undefined : all[cancel];
        if (victim) machine.cancel(victim);
        const mayServe = (other: string): boolean => other !== `p${barred}`;
        for (let i = 0; i < steps; i++) {
          machine.fill(mayServe);
          const able = [...machine.queue.heads()].some(([key]) => mayServe(key));
          assert.ok(machine.running === slots || !able, "no slot is idle while somebody could go");
          machine.step(mayServe);
        }
      }
      for (let i = 0; machine.queue.size + machine.running > 0; i++) {
        assert.ok(i < 10_000, "it comes to an end");
        machine.step();
      }
      assert.equal(machine.queue.parties, 0);
      for (let party = 0; party <= 6; party++) {
        const own = machine.started.filter((started) => started.party === `p${party}`).map(({ id }) => id);
        assert.deepEqual(
          own,
          [...own].sort((a, b) => a - b),
        );
      }
    }),
    { numRuns: 200, seed: 5 },
  );
});

test("a waiting party is overtaken by another at most as often as its debt allows", () => {
  const size = fc.integer({ min: 1, max: 64 });
  fc.assert(
    fc.property(fc.array(size, { minLength: 2, maxLength: 6 }), fc.integer({ min: 1, max: 4 }), (sizes, slots) => {
      const machine = new Machine(slots);
      const top = (): void => {
        for (const [i, used] of sizes.entries()) {
          while (machine.queue.waitingOf(`p${i}`) < 2 * slots) machine.submit(job(`p${i}`, used));
        }
      };
      for (let step = 0; step < 4_000; step++) {
        top();
        machine.step();
      }
      // Entries below a turn cost a turn: their party's share is of starts.
      const costs = sizes.map((used, i) => machine.startsOf(`p${i}`) * Math.max(8, used));
      const spread = Math.max(...costs) - Math.min(...costs);
      assert.ok(spread <= 4 * (64 + 8) * slots, `${costs} for entries of ${sizes}`);
    }),
    { numRuns: 30, seed: 3 },
  );
});
