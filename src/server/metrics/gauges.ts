/** Gauges read from the gateway and the stored responses at each scrape: slots, bytes, tiers, and the metric names that Kubernetes routers expect. */
import { Counter, Gauge, type Registry } from "prom-client";
import type { GatewayStats } from "../../gateway/gateway.js";
import type { ModelStats } from "../../gateway/model-gateway.js";
import type { ResponsesStats } from "../../gateway/responses/responses.js";

/** Each gauge calls `stats`, so it must be cheap. `labelOf` returns the label of a model's series. */
export function registerGauges(registry: Registry, stats: () => ModelStats, labelOf: (name: string) => string): void {
  const { registers, gauge, counter } = readersOf(registry, stats);
  gauge("lorikeet_adapter_cache_bytes", "Bytes of adapters in the host memory cache.", (stats) => stats.cache.bytes);
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
  registerLabelled(registers, stats);
  new Gauge({
    name: "lorikeet_waiting_requests",
    help: "Queued requests, by adapter.",
    labelNames: ["adapter"],
    registers,
    collect() {
      this.reset();
      for (const [name, waiting] of stats().waitingRequests) this.inc({ adapter: labelOf(name) }, waiting);
    },
  });
}

/** What only models that generate text have. */
export function registerTextGauges(registry: Registry, stats: () => GatewayStats): void {
  const { registers, gauge } = readersOf(registry, stats);
  gauge(
    "lorikeet_queued_characters",
    "Characters of prompts waiting for tokenization.",
    (stats) => stats.queuedCharacters,
  );
  gauge("lorikeet_grammars", "Compiled grammars that are kept.", (stats) => stats.grammars.kept);
  gauge("lorikeet_grammar_bytes", "Bytes of those, with their masks.", (stats) => stats.grammars.keptBytes);
  gauge("lorikeet_grammars_waiting", "Grammars that wait to be compiled.", (stats) => stats.grammars.waiting);
  new Gauge({
    name: "lorikeet_kv_slots",
    help: "Slots of the KV cache.",
    labelNames: ["state"],
    registers,
    collect() {
      for (const [state, count] of Object.entries(stats().engine.slots)) this.set({ state }, count);
    },
  });
}

/** The gauges and counters of stored responses. */
export function registerResponses(registry: Registry, stats: () => ResponsesStats): void {
  const { gauge, counter } = readersOf(registry, stats);
  gauge("lorikeet_stored_responses", "Stored responses.", ({ records }) => records);
  gauge("lorikeet_stored_response_bytes", "Bytes of those.", ({ bytes }) => bytes);
  counter("lorikeet_dropped_responses_total", "Stored responses dropped for age or room.", ({ dropped }) => dropped);
  gauge("lorikeet_background_responses", "Responses that run in the background.", ({ background }) => background);
}

/** Gauges and counters whose value is read from `stats` at each scrape. */
function readersOf<Stats>(registry: Registry, stats: () => Stats) {
  const registers = [registry];
  const gauge = (name: string, help: string, read: (stats: Stats) => number): void => {
    new Gauge({
      name,
      help,
      registers,
      collect() {
        this.set(read(stats()));
      },
    });
  };
  const counter = (name: string, help: string, read: (stats: Stats) => number): void => {
    new Counter({
      name,
      help,
      registers,
      collect() {
        this.reset();
        this.inc(read(stats()));
      },
    });
  };
  return { registers, gauge, counter };
}

function registerLabelled(registers: Registry[], stats: () => ModelStats): void {
  new Gauge({
    name: "lorikeet_adapters",
    help: "Adapters by tier.",
    labelNames: ["tier"],
    registers,
    collect() {
      for (const [tier, count] of Object.entries(stats().tiers)) this.set({ tier }, count);
    },
  });
  new Gauge({
    name: "vllm:lora_requests_info",
    help: "Running and waiting adapters; the value is the time in seconds.",
    labelNames: ["max_lora", "running_lora_adapters", "waiting_lora_adapters"],
    registers,
    collect() {
      const { limits, runningAdapters, waitingAdapters } = stats();
      this.reset();
      const labels = {
        max_lora: String(limits.maxBatch),
        running_lora_adapters: runningAdapters.join(","),
        waiting_lora_adapters: waitingAdapters.join(","),
      };
      this.set(labels, Date.now() / 1000);
    },
  });
}
