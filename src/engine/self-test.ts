/** What this CPU's kernels promise, measured at start: does a row's result depend on its neighbours or on chunking? */
import type { AdapterBank } from "./bank.js";
import type { KvCache } from "./kv-cache.js";
import type { Runner } from "./runner.js";

export interface SelfTest {
  /** A row decodes to the same bits alone and among others. */
  readonly rowsIndependent: boolean;
  /** A prompt in chunks gives the same bits as a whole one. */
  readonly chunksEqual: boolean;
  /** Prompt tokens a second, and milliseconds of a decode step of one row. */
  readonly prefillRate: number;
  readonly decodeMs: number;
}

/** Runs a few steps over slots 0 to 2, whose content is overwritten, before the first request comes. */
export async function selfTest(
  runner: Runner,
  cache: KvCache,
  bank: AdapterBank,
  limits: { readonly vocabSize: number; readonly capacity: number; readonly slots: number; readonly evenRows: boolean },
): Promise<SelfTest> {
  const { vocabSize } = limits;
  const length = Math.min(64, limits.capacity - 8) & ~3;
  const prompt = Array.from({ length }, (_, i) => (i * 7919 + 11) % vocabSize);
  const prefill = (slot: number, start: number, tokens: number[]) =>
    runner.prefill({ slot, start, tokens, allLogits: false, adapter: null }, cache, bank);

  await prefill(0, 0, prompt);
  const started = performance.now();
  const whole = (await prefill(0, 0, prompt)).slice();
  const prefillRate = length / ((performance.now() - started) / 1000);
  const half = (length / 2) & ~1;
  await prefill(0, 0, prompt.slice(0, half));
  const parts = (await prefill(0, half, prompt.slice(half))).slice();

  const row = { token: prompt[0] ?? 0, length, adapter: null };
  const padded = limits.evenRows ? [row, { token: 0, length: 0, adapter: null }] : [row];
  await runner.decode(padded, cache, bank);
  const decodeStarted = performance.now();
  const alone = (await runner.decode(padded, cache, bank)).slice(0, vocabSize);
  const decodeMs = performance.now() - decodeStarted;
  let rowsIndependent = true;
  for (let slot = 1; slot < Math.min(4, limits.slots); slot++) await prefill(slot, 0, prompt.slice(slot));
  for (let rows = 2; rows <= Math.min(4, limits.slots); rows += limits.evenRows ? 2 : 1) {
    const others = Array.from({ length: rows - 1 }, (_, i) => ({
      token: i + 1,
      length: length - 1 - i,
      adapter: null,
    }));
    const among = (await runner.decode([row, ...others], cache, bank)).subarray(0, vocabSize);
    rowsIndependent &&= sameBits(alone, among);
  }
  return { rowsIndependent, chunksEqual: sameBits(whole, parts), prefillRate, decodeMs };
}

function sameBits(a: Float32Array, b: Float32Array): boolean {
  const x = new Uint32Array(a.buffer, a.byteOffset, a.length);
  const y = new Uint32Array(b.buffer, b.byteOffset, b.length);
  return x.length === y.length && x.every((bits, i) => bits === y[i]);
}
