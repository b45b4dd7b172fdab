/** Gauges read from the gateway and the stored responses at each scrape: slots, bytes, tiers, and the metric names that Kubernetes routers expect. */
import { Counter, Gauge, type Registry } from "prom-client";
import type { FineTuningStats } from "../../gateway/fine-tuning/fine-tuning.js";
import type { GatewayStats } from "../../gateway/gateway.js";
import type { ModelStats } from "../../gateway/model-gateway.js";
import type { ResponsesStats } from "../../gateway/responses/responses.js";

/** What a base's gauges are read from, and the labels that its series have besides their own. */
export interface Labelled<Stats> {
  readonly base: Readonly<Record<string, string>>;
  readonly stats: Stats;
}

/** The counts of every base. */
export interface BaseReader<Stats> {
  readonly labelNames: readonly string[];
  /** Each gauge calls it, so it must be cheap. */
  read(): readonly Labelled<Stats>[];
}

/** `labelOf` returns the label of a model's series. */
export function registerGauges(
  registry: Registry,
  all: BaseReader<ModelStats>,
  labelOf: (name: string) => string,
): void {
  const { gauge, counter, series } = readersOf(registry, all);
  gauge("lorikeet_adapter_cache_bytes", "Bytes of adapters in the host memory cache.", (stats) => stats.cache.bytes);
  gauge(
    "lorikeet_adapter_cache_max_bytes",
    "Bytes that the host memory cache may take.",
    (stats) => stats.cache.maxBytes,
  );
  counter(
    "lorikeet_adapter_cache_hits_total",
    "Adapter lookups that hit the host memory cache.",
    (stats) => stats.cache.hits,
  );
  counter("lorikeet_adapter_cache_misses_total", "Adapter lookups that missed it.", (stats) => stats.cache.misses);
  counter("lorikeet_adapter_cache_evictions_total", "Adapters evicted from it.", (stats) => stats.cache.evictions);
  gauge(
    "lorikeet_active_adapter_bytes",
    "Bytes of adapters on the device.",
    (stats) => stats.engine.activeAdapterBytes,
  );
  gauge("vllm:num_requests_running", "Sequences in the batch.", (stats) => stats.engine.running);
  gauge("vllm:num_requests_waiting", "Sequences in the queue.", (stats) => stats.engine.waiting);
  gauge(
    "lorikeet_queue_oldest_seconds",
    "Waiting time of the first queued sequence; 0 without one.",
    (stats) => stats.engine.oldestWaitMs / 1000,
  );
  series("lorikeet_adapters", "Adapters by tier.", ["tier"], ({ tiers }) =>
    Object.entries(tiers).map(([tier, count]) => [{ tier }, count]),
  );
  series(
    "vllm:lora_requests_info",
    "Running and waiting adapters; the value is the time in seconds.",
    ["max_lora", "running_lora_adapters", "waiting_lora_adapters"],
    ({ limits, runningAdapters, waitingAdapters }) => {
      const labels = {
        max_lora: String(limits.maxBatch),
        running_lora_adapters: runningAdapters.join(","),
        waiting_lora_adapters: waitingAdapters.join(","),
      };
      return [[labels, Date.now() / 1000]];
    },
  );
  series("lorikeet_waiting_requests", "Queued requests, by adapter.", ["adapter"], ({ waitingRequests }) =>
    [...waitingRequests].map(([name, waiting]) => [{ adapter: labelOf(name) }, waiting]),
  );
}

/** What only models that generate text have. */
export function registerTextGauges(registry: Registry, all: BaseReader<GatewayStats>): void {
  const { gauge, series } = readersOf(registry, all);
  gauge(
    "lorikeet_queued_characters",
    "Characters of prompts waiting for tokenization.",
    (stats) => stats.queuedCharacters,
  );
  gauge("lorikeet_grammars", "Compiled grammars that are kept.", (stats) => stats.grammars.kept);
  gauge("lorikeet_grammar_bytes", "Bytes of those, with their masks.", (stats) => stats.grammars.keptBytes);
  gauge("lorikeet_grammars_waiting", "Grammars that wait to be compiled.", (stats) => stats.grammars.waiting);
  series("lorikeet_kv_slots", "Slots of the KV cache.", ["state"], ({ engine }) =>
    Object.entries(engine.slots).map(([state, count]) => [{ state }, count]),
  );
}

/** The gauges and counters of stored responses. */
export function registerResponses(registry: Registry, stats: () => ResponsesStats): void {
  const { gauge, counter } = readersOf(registry, { labelNames: [], read: () => [{ base: {}, stats: stats() }] });
  gauge("lorikeet_stored_responses", "Stored responses.", ({ records }) => records);
  gauge("lorikeet_stored_response_bytes", "Bytes of those.", ({ bytes }) => bytes);
  counter("lorikeet_dropped_responses_total", "Stored responses dropped for age or room.", ({ dropped }) => dropped);
  gauge("lorikeet_background_responses", "Responses that run in the background.", ({ background }) => background);
}

/** The gauges and counters of files and training jobs. */
export function registerFineTuning(registry: Registry, stats: () => FineTuningStats): void {
  const all: BaseReader<FineTuningStats> = { labelNames: [], read: () => [{ base: {}, stats: stats() }] };
  const { gauge, counter, series } = readersOf(registry, all);
  gauge("lorikeet_stored_files", "Stored files.", ({ files }) => files.files);
  gauge("lorikeet_stored_file_bytes", "Bytes of those.", ({ files }) => files.bytes);
  counter("lorikeet_expired_files_total", "Stored files that expired.", ({ files }) => files.dropped);
  counter(
    "lorikeet_training_paused_seconds_total",
    "Time for which training was stopped because the server was busy.",
    ({ pausedSeconds }) => pausedSeconds,
  );
  series("lorikeet_fine_tuning_jobs", "Fine-tuning jobs by status.", ["status"], ({ byStatus }) =>
    Object.entries(byStatus).map(([status, count]) => [{ status }, count]),
  );
}

/** Gauges and counters whose values are read at each scrape, of each base. */
function readersOf<Stats>(registry: Registry, all: BaseReader<Stats>) {
  const registers = [registry];
  const labelNames = [...all.labelNames];
  const gauge = (name: string, help: string, read: (stats: Stats) => number): void => {
    new Gauge({
      ...{ name, help, labelNames, registers },
      collect() {
        for (const { base, stats } of all.read()) this.set(base, read(stats));
      },
    });
  };
  const counter = (name: string, help: string, read: (stats: Stats) => number): void => {
    new Counter({
      ...{ name, help, labelNames, registers },
      collect() {
        this.reset();
        for (const { base, stats } of all.read()) this.inc(base, read(stats));
      },
    });
  };
  /** A gauge with more labels. Series with equal labels add up. */
  const series = <Name extends string>(
    name: string,
    help: string,
    own: readonly Name[],
    read: (stats: Stats) => readonly (readonly [Readonly<Record<Name, string>>, number])[],
  ): void => {
    new Gauge({
      ...{ name, help, labelNames: [...labelNames, ...own], registers },
      collect() {
        this.reset();
        for (const { base, stats } of all.read()) {
          for (const [labels, value] of read(stats)) this.inc({ ...base, ...labels }, value);
        }
      },
    });
  };
  return { gauge, counter, series };
}
