/** What one reading of the server's metrics says, and what two say of the time between them. */
import { type Buckets, bucketsOf, parseMetrics, quantileBetween, type Samples, sumOf } from "../client/metrics.js";

/** How busy one base is. */
export interface BaseLoad {
  readonly running: number;
  readonly waiting: number;
  /** null where it has none: a task model takes rows as they come. */
  readonly slots: number | null;
}

export interface Reading {
  /** Milliseconds of the page's clock. */
  readonly at: number;
  readonly bases: ReadonlyMap<string, BaseLoad>;
  readonly gauges: Readonly<Record<"device" | "host" | "disk" | "cacheBytes" | "cacheMaxBytes", number>>;
  readonly counters: Readonly<
    Record<
      "steps" | "rows" | "adapters" | "tokens" | "promptTokens" | "requests" | "rejections" | "hits" | "misses",
      number
    >
  >;
  readonly firstToken: Buckets;
  readonly interToken: Buckets;
}

export function readingOf(text: string, at: number): Reading {
  const samples = parseMetrics(text);
  const sum = (name: string, labels?: Readonly<Record<string, string>>): number => sumOf(samples, name, labels);
  return {
    at,
    bases: new Map(basesIn(samples).map((base) => [base, loadOf(samples, base)])),
    gauges: {
      device: sum("lorikeet_adapters", { tier: "device" }),
      host: sum("lorikeet_adapters", { tier: "host" }),
      disk: sum("lorikeet_adapters", { tier: "disk" }),
      cacheBytes: sum("lorikeet_adapter_cache_bytes"),
      cacheMaxBytes: sum("lorikeet_adapter_cache_max_bytes"),
    },
    counters: {
      steps: sum("lorikeet_batch_rows_count"),
      rows: sum("lorikeet_batch_rows_sum"),
      adapters: sum("lorikeet_batch_adapters_sum"),
      // A step of a task model has rows too, but no tokens. The counter of tokens moves only when a request ends.
      tokens: sum("lorikeet_time_to_first_token_seconds_count") + sum("lorikeet_inter_token_seconds_count"),
      promptTokens: sum("lorikeet_tokens_total", { kind: "prompt" }),
      requests: sum("lorikeet_requests_total"),
      rejections: sum("lorikeet_rejections_total"),
      hits: sum("lorikeet_adapter_cache_hits_total"),
      misses: sum("lorikeet_adapter_cache_misses_total"),
    },
    firstToken: bucketsOf(samples, "lorikeet_time_to_first_token_seconds"),
    interToken: bucketsOf(samples, "lorikeet_inter_token_seconds"),
  };
}

/** With a single base, samples do not name it: then its name is empty. */
const basesIn = (samples: Samples): readonly string[] =>
  (samples.get("vllm:num_requests_running") ?? []).map(({ labels }) => labels.base ?? "");

function loadOf(samples: Samples, base: string): BaseLoad {
  const sum = (name: string, labels?: Readonly<Record<string, string>>): number =>
    sumOf(samples, name, { ...(base === "" ? {} : { base }), ...labels });
  const running = sum("vllm:num_requests_running");
  const hasSlots = samples.get("lorikeet_kv_slots")?.some(({ labels }) => (labels.base ?? "") === base) === true;
  return {
    running,
    waiting: sum("vllm:num_requests_waiting"),
    slots: hasSlots ? running + sum("lorikeet_kv_slots", { state: "idle" }) : null,
  };
}

/** A point of the charts; null where nothing was measured. */
export interface Point {
  readonly at: number;
  readonly tokensPerSecond: number;
  readonly promptTokensPerSecond: number;
  readonly requestsPerSecond: number;
  readonly rejectionsPerSecond: number;
  readonly rows: number | null;
  readonly adapters: number | null;
  readonly bases: ReadonlyMap<string, BaseLoad>;
  readonly device: number;
  readonly host: number;
  readonly disk: number;
  /** 0 to 100. */
  readonly hits: number | null;
  readonly cacheBytes: number;
  readonly cacheMaxBytes: number;
  readonly firstToken50: number | null;
  readonly firstToken99: number | null;
  readonly interToken50: number | null;
  readonly interToken99: number | null;
}

/** Of the time between two readings. `start` is the beginning of the window over which quantiles and hits are taken. */
export function pointOf(start: Reading, before: Reading, now: Reading): Point {
  const { device, host, disk, cacheBytes, cacheMaxBytes } = now.gauges;
  const seconds = (now.at - before.at) / 1000;
  const since = (from: Reading, name: keyof Reading["counters"]): number => now.counters[name] - from.counters[name];
  const steps = since(before, "steps");
  const lookups = since(start, "hits") + since(start, "misses");
  return {
    at: now.at,
    tokensPerSecond: since(before, "tokens") / seconds,
    promptTokensPerSecond: since(before, "promptTokens") / seconds,
    requestsPerSecond: since(before, "requests") / seconds,
    rejectionsPerSecond: since(before, "rejections") / seconds,
    rows: steps > 0 ? since(before, "rows") / steps : null,
    adapters: steps > 0 ? since(before, "adapters") / steps : null,
    bases: now.bases,
    device,
    host,
    disk,
    hits: lookups > 0 ? (100 * since(start, "hits")) / lookups : null,
    cacheBytes,
    cacheMaxBytes,
    firstToken50: quantileBetween(start.firstToken, now.firstToken, 0.5),
    firstToken99: quantileBetween(start.firstToken, now.firstToken, 0.99),
    interToken50: quantileBetween(start.interToken, now.interToken, 0.5),
    interToken99: quantileBetween(start.interToken, now.interToken, 0.99),
  };
}

/** Whether the counters of `now` began anew: the server was restarted. */
export const isRestart = (before: Reading, now: Reading): boolean =>
  now.counters.steps < before.counters.steps || now.counters.hits < before.counters.hits;
