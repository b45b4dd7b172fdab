/**
 * An engine over a fake runner. Its "keys and values" are the tokens themselves, kept in the real cache, and its next token
 * is a hash of all of them and of a number that the adapter holds in the real bank: whoever overwrites a held slot,
 * moves half a row or reads the wrong place changes the tokens.
 */
import assert from "node:assert/strict";
import type { AdapterLease, AdapterSource, HostAdapter, HostModule } from "../../src/adapter/types.js";
import { type Deferred, deferred } from "../../src/base/async.js";
import { LorikeetError } from "../../src/base/errors.js";
import { AdapterBank, type BankOptions } from "../../src/engine/adapters/bank.js";
import { ContinuousEngine } from "../../src/engine/engine.js";
import { KvCache } from "../../src/engine/kv-cache.js";
import type { EngineParts } from "../../src/engine/parts.js";
import type { DecodeRow, PrefillChunk } from "../../src/engine/runner.js";
import {
  type EngineEvent,
  type EngineRequest,
  greedy,
  type SamplingParams,
  type SequenceHandle,
} from "../../src/engine/types.js";
import type { ModuleGroup } from "../../src/model/serving/adapters.js";
import { hostData } from "./host-data.js";

export const vocabSize = 61;

const part = (path: string, inFeatures: number, outFeatures: number) => ({ path, inFeatures, outFeatures });
export const groups: readonly ModuleGroup[] = [
  { key: "q", inFeatures: 3, parts: [part("q", 3, 4), part("k", 3, 2)] },
  { key: "o", inFeatures: 4, parts: [part("o", 4, 3)] },
];

/** An adapter on q alone whose B begins with `marker`, the number that the fake runner reads. */
export function markedAdapter(digest: string, marker: number, rank = 8): HostAdapter {
  const module: HostModule = {
    rank,
    dtype: "F32",
    a: new Float32Array(3 * rank).fill(1),
    b: new Float32Array(rank * 4).fill(marker),
    scale: 1,
  };
  return { digest, rank, bytes: rank * 28, hasGains: false, modules: new Map([["q", module]]) };
}

/** The token after these, for the adapter with this marker (0: the base). */
export function nextToken(tokens: readonly number[], marker: number): number {
  let state = Math.imul(marker + 1, 0x9e3779b1);
  for (const token of tokens) state = Math.imul((state ^ token) >>> 0, 0x01000193) ^ (state >>> 13);
  return (state >>> 0) % vocabSize;
}

/** What a greedy request must answer, whatever happens around it. */
export function expectedTokens(promptIds: readonly number[], count: number, marker = 0): number[] {
  const tokens = [...promptIds];
  for (let i = 0; i < count; i++) tokens.push(nextToken(tokens, marker));
  return tokens.slice(promptIds.length);
}

/** A leased adapter source: loads are immediate unless held back. */
export class FakeSource implements AdapterSource {
  readonly known = new Map<string, HostAdapter>();
  readonly prefetched: string[] = [];
  readonly asked: string[] = [];
  leases = 0;
  /** Loads of these wait until they are resolved, or fail when they are rejected. */
  readonly holding = new Map<string, Deferred<void>>();

  add(digest: string, marker: number, rank = 8): string {
    this.known.set(digest, markedAdapter(digest, marker, rank));
    return digest;
  }

  hold(digest: string): Deferred<void> {
    const gate = deferred<void>();
    this.holding.set(digest, gate);
    return gate;
  }

  prefetch(digest: string): void {
    this.prefetched.push(digest);
  }

  async acquire(digest: string): Promise<AdapterLease> {
    this.asked.push(digest);
    await this.holding.get(digest)?.promise;
    const adapter = this.known.get(digest);
    if (!adapter) throw new LorikeetError("adapter_not_found", `No adapter has the digest ${digest}.`);
    this.leases++;
    let isHeld = true;
    const release = (): void => {
      assert.ok(isHeld, "a lease is released once");
      isHeld = false;
      this.leases--;
    };
    return { adapter, from: "host", loadMs: 0, release };
  }
}

export type Call =
  | { readonly kind: "prefill"; readonly slot: number; readonly start: number; readonly tokens: number }
  | { readonly kind: "decode"; readonly rows: number; readonly adapters: readonly (string | null)[] };

export class FakeRunner {
  readonly calls: Call[] = [];
  /** Awaited before each call, when set. */
  before: ((call: Call) => Promise<void> | void) | null = null;
  /** The logits of decode row i become this, when it gives something. */
  spoil: ((row: number, adapter: string | null) => number | null) | null = null;

  async prepare(): Promise<void> {}

  async prefill(chunk: PrefillChunk, cache: KvCache, bank: AdapterBank): Promise<Float32Array> {
    const { slot, start, tokens, allRows, adapter } = chunk;
    const call = { kind: "prefill", slot, start, tokens: tokens.length } as const;
    this.calls.push(call);
    await this.before?.(call);
    await turn();
    const memory = slotOf(cache, slot);
    memory.set(tokens, start);
    if (tokens.length % 2 === 1) memory[start + tokens.length] = -1; // the padding of the real runner
    const rows = allRows ? tokens.map((_, i) => i) : [tokens.length - 1];
    const out = new Float32Array(rows.length * vocabSize);
    for (const [i, row] of rows.entries()) {
      out[i * vocabSize + nextToken([...memory.subarray(0, start + row + 1)], markerOf(bank, adapter))] = 10;
    }
    return out;
  }

  async decode(rows: readonly DecodeRow[], cache: KvCache, bank: AdapterBank): Promise<Float32Array> {
    const call: Call = {
      kind: "decode",
      rows: rows.length,
      adapters: rows.map(({ adapter }) => adapter?.digest ?? null),
    };
    this.calls.push(call);
    await this.before?.(call);
    await turn();
    const out = new Float32Array(rows.length * vocabSize);
    for (const [slot, { token, length, adapter }] of rows.entries()) {
      const memory = slotOf(cache, slot);
      memory[length] = token;
      const logits = out.subarray(slot * vocabSize, (slot + 1) * vocabSize);
      logits[nextToken([...memory.subarray(0, length + 1)], markerOf(bank, adapter))] = 10;
      const spoiled = this.spoil?.(slot, adapter?.digest ?? null) ?? null;
      if (spoiled !== null) logits.fill(spoiled);
    }
    return out;
  }
}

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

function slotOf(cache: KvCache, slot: number): Float32Array {
  const [keys] = cache.view(slot, 1);
  assert.ok(keys);
  return hostData(keys.tensor);
}

function markerOf(bank: AdapterBank, hold: DecodeRow["adapter"]): number {
  if (!hold) return 0;
  for (const [name, tensor] of bank.memory(hold.rankClass).view(hold.place, 1)) {
    if (name === "lora_B.q.0") return hostData(tensor)[0] ?? Number.NaN;
  }
  throw new Error("the bank has lora_B.q.0");
}

export interface RigOptions {
  readonly maxBatch?: number;
  readonly maxContext?: number;
  readonly maxQueue?: number;
  readonly maxAdapterQueue?: number;
  readonly maxChunk?: number;
  readonly evenRows?: boolean;
  readonly rereadLength?: number;
  readonly prefillRate?: number;
  readonly bank?: Partial<BankOptions>;
  readonly parts?: Partial<EngineParts>;
}

export interface EngineRig extends AsyncDisposable {
  readonly engine: ContinuousEngine;
  readonly runner: FakeRunner;
  readonly source: FakeSource;
  readonly bank: AdapterBank;
  submit(request: Partial<EngineRequest> & { readonly promptIds: readonly number[] }): SequenceHandle;
  /** Proves that nothing is held by anybody. */
  assertEmpty(): void;
}

/** Disposing of it closes the engine and proves that everything was given back. */
export function engineRig(options: RigOptions = {}): EngineRig {
  const { maxBatch = 4, maxContext = 120, maxQueue = 64, maxAdapterQueue = maxQueue, evenRows = false } = options;
  const slots = maxBatch + (maxBatch % 2);
  const cache = new KvCache({ layers: [0], states: [], slots, kvHeads: 1, capacity: maxContext + 8, headDim: 1 });
  const bank = new AdapterBank({ groups, places: maxBatch, maxBytes: 1 << 20, ...options.bank });
  const runner = new FakeRunner();
  const source = new FakeSource();
  const engine = new ContinuousEngine({
    runner,
    cache,
    bank,
    adapters: source,
    vocabSize,
    evenRows,
    rereadLength: options.rereadLength ?? null,
    limits: { maxBatch, maxContext, maxQueue, maxAdapterQueue },
    maxStallMs: 120,
    maxChunk: options.maxChunk ?? 16,
    prefillRate: options.prefillRate ?? 100, // 12 tokens a chunk beside decoding rows
    ...options.parts,
  });
  const assertEmpty = (): void => {
    engine.check();
    assert.equal(engine.stats().running + engine.stats().waiting, 0, "nobody runs or waits");
    assert.equal(engine.stats().slots.idle, maxBatch, "every slot is free");
    assert.equal(bank.holds, 0, "no bank place is held");
    assert.equal(source.leases, 0, "no lease is held");
  };
  return {
    engine,
    runner,
    source,
    bank,
    assertEmpty,
    submit: (request) =>
      engine.submit({ maxTokens: 8, sampling: greedy, stopIds: [], adapter: null, promptLogprobs: null, ...request }),
    [Symbol.asyncDispose]: async () => {
      await engine.close();
      await turn();
      assertEmpty();
    },
  };
}

export interface Outcome {
  readonly events: readonly EngineEvent[];
  readonly tokens: readonly number[];
  readonly finish: Extract<EngineEvent, { type: "finish" }>;
}

/** Reads a sequence to its end. */
export async function read(sequence: SequenceHandle, each?: (event: EngineEvent) => void): Promise<Outcome> {
  const events: EngineEvent[] = [];
  for await (const event of sequence) {
    events.push(event);
    each?.(event);
  }
  const finish = events.at(-1);
  assert.equal(finish?.type, "finish", "the last event is the finish");
  assert.equal(events.filter(({ type }) => type === "finish").length, 1, "and the only one");
  const tokens = events.flatMap((event) => (event.type === "token" ? [event.id] : []));
  return { events, tokens, finish: finish as Outcome["finish"] };
}

/** Waits until something holds, a turn of the event loop at a time; fails after two seconds. */
export async function until(holds: () => boolean, what: string): Promise<void> {
  const end = performance.now() + 2_000;
  while (!holds()) {
    assert.ok(performance.now() < end, `waited in vain until ${what}`);
    await turn();
  }
}

/** A few turns of the event loop: enough for whatever could go on to go on. */
export async function settle(): Promise<void> {
  for (let i = 0; i < 20; i++) await turn();
}

export const sampled = (seed: number): SamplingParams => ({ ...greedy, temperature: 1, seed });
