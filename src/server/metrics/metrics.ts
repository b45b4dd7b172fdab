/** Prometheus metrics, updated by observers of the engine and the gateway. Knows nothing of HTTP. */
import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from "prom-client";
import type { EngineObserver } from "../../engine/types.js";
import type { Gateway, GatewayStats } from "../../gateway/gateway.js";
import type { ModelGateway, ModelStats } from "../../gateway/model-gateway.js";
import { type GatewayObserver, type RequestSummary, routes } from "../../gateway/observer.js";
import type { Responses } from "../../gateway/responses/responses.js";
import { AdapterLabels } from "./adapter-labels.js";
import { EventLoopDelay } from "./event-loop.js";
import { registerGauges, registerResponses, registerTextGauges } from "./gauges.js";

const latency = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60];
const short = [0.001, 0.0025, 0.005, 0.01, 0.02, 0.04, 0.08, 0.12, 0.25, 0.5, 1, 2.5];
const rows = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 24, 32, 48, 64, 128];

/** The labels of the device in the metrics. `null`: unknown, or the host's. */
export interface DeviceLabels {
  readonly kind: string;
  readonly name: string | null;
  readonly driver: string | null;
  readonly software: boolean;
  readonly memoryBytes: number | null;
  readonly fp16: boolean | null;
  /** Types of activations, and of keys and values. */
  readonly activationDtype: string | null;
  readonly kvCacheDtype: string | null;
  /** Tokens of the longest chunk of a prompt. */
  readonly longestChunk: number | null;
}

export class Metrics {
  readonly registry = new Registry();
  /** Pass this to the engine when it is created. */
  readonly engineObserver: EngineObserver;
  /** The server subscribes this to its gateway. */
  readonly gatewayObserver: GatewayObserver;
  /** Open WebSockets. */
  readonly sockets: Gauge;
  /** Requests and handshakes that access control refused. */
  readonly refused: Counter<"code">;
  /** Called after each adapter check. */
  readonly validated: (outcome: string, seconds: number) => void;
  /** Hits of each limit, by its option. */
  readonly limited: Counter<"limit">;
  readonly #labels: AdapterLabels;
  readonly #requests: Counter<"adapter" | "route" | "outcome">;
  readonly #rejections: Counter<"code">;
  readonly #tokens: Counter<"adapter" | "kind">;
  readonly #delay: EventLoopDelay;
  #gateway: ModelGateway | null = null;
  /** Computed once per scrape: with thousands of adapters it costs more than all gauges together. */
  #stats: ModelStats | null = null;

  constructor(options: { readonly maxAdapterLabels: number }) {
    const registers = [this.registry];
    collectDefaultMetrics({ register: this.registry });
    // Gauges named like counters. The same numbers exist by type under names without _total.
    for (const what of ["handles", "requests", "resources"])
      this.registry.removeSingleMetric(`nodejs_active_${what}_total`);
    this.#delay = new EventLoopDelay(this.registry);
    this.#requests = new Counter({
      name: "lorikeet_requests_total",
      help: "Completed requests to the model, tokenize and detokenize ones too.",
      labelNames: ["adapter", "route", "outcome"],
      registers,
    });
    this.#rejections = new Counter({
      name: "lorikeet_rejections_total",
      help: "Such requests rejected for lack of capacity or time, by error code.",
      labelNames: ["code"],
      registers,
    });
    this.#tokens = new Counter({
      name: "lorikeet_tokens_total",
      help: "Tokens of prompts, of completions, and of prompts that were already computed.",
      labelNames: ["adapter", "kind"],
      registers,
    });
    this.sockets = new Gauge({ name: "lorikeet_ws_connections", help: "Open WebSockets.", registers });
    this.refused = new Counter({
      name: "lorikeet_access_refused_total",
      help: "Requests rejected because of host, origin or API key.",
      labelNames: ["code"],
      registers,
    });
    this.limited = new Counter({
      name: "lorikeet_limited_total",
      help: "Connections, requests, uploads and readers that hit a limit of the server, by option.",
      labelNames: ["limit"],
      registers,
    });
    this.#labels = new AdapterLabels(options.maxAdapterLabels, (label) => this.#dropSeries(label));
    this.gatewayObserver = { ...gatewayHistograms(registers), ended: (summary) => this.#ended(summary) };
    this.engineObserver = engineHistograms(registers);
    this.validated = validationHistogram(registers);
  }

  /** Adds the gauges that are read at each scrape: bytes and tiers. */
  bind(gateway: ModelGateway): void {
    this.#gateway = gateway;
    const labelOf = (name: string): string => (gateway.adapters.has(name) ? this.#labels.find(name) : name);
    registerGauges(this.registry, () => this.#stats ?? gateway.stats(), labelOf);
  }

  /** Adds those of a model that generates text. */
  bindText(gateway: Gateway, responses: Pick<Responses, "stats">): void {
    const known = (): GatewayStats | null => (this.#stats !== null && isOfText(this.#stats) ? this.#stats : null);
    registerTextGauges(this.registry, () => known() ?? gateway.stats());
    registerResponses(this.registry, () => responses.stats());
  }

  /** The exposition text, without series of removed adapters. */
  async render(): Promise<string> {
    const gateway = this.#gateway;
    if (gateway) {
      this.#labels.prune((name) => gateway.adapters.serves(name));
      this.#stats = gateway.stats();
    }
    return this.registry.metrics();
  }

  /** Adds what runs the model. `allocated` returns the bytes that the model takes of the device's memory. */
  describeDevice({ memoryBytes, ...labels }: DeviceLabels, allocated: () => number): void {
    const registers = [this.registry];
    const info = {
      device: labels.kind,
      name: labels.name ?? labels.kind,
      driver: labels.driver ?? "",
      software: `${labels.software}`,
      fp16: `${labels.fp16 ?? ""}`,
      activation_dtype: labels.activationDtype ?? "",
      kv_cache_dtype: labels.kvCacheDtype ?? "",
      longest_chunk: `${labels.longestChunk ?? ""}`,
    };
    new Gauge({
      name: "lorikeet_device_info",
      help: "The device that runs the model; the value is 1.",
      labelNames: Object.keys(info),
      registers,
    }).set(info, 1);
    if (memoryBytes === null) return;
    new Gauge({ name: "lorikeet_device_memory_bytes", help: "Memory of the device.", registers }).set(memoryBytes);
    new Gauge({
      name: "lorikeet_device_allocated_bytes",
      help: "Bytes of it that weights, KV cache and adapters take.",
      registers,
      collect() {
        this.set(allocated());
      },
    });
  }

  /** Adds a counter of dropped log lines, whose value `read` returns. */
  watchLog(read: () => number): void {
    new Counter({
      name: "lorikeet_log_lines_dropped_total",
      help: "Log lines dropped because their reader fell behind.",
      registers: [this.registry],
      collect() {
        this.reset();
        this.inc(read());
      },
    });
  }

  close(): void {
    this.#delay.close();
    this.registry.clear();
  }

  #ended(summary: RequestSummary): void {
    const { route, outcome, usage } = summary;
    const adapter = summary.adapter === null ? (summary.model ?? "none") : this.#labels.use(summary.adapter);
    this.#requests.inc({ adapter, route, outcome });
    if (outcome === "rejected" && summary.code) this.#rejections.inc({ code: summary.code });
    if (!usage) return;
    this.#tokens.inc({ adapter, kind: "prompt" }, usage.promptTokens);
    this.#tokens.inc({ adapter, kind: "completion" }, usage.completionTokens);
    this.#tokens.inc({ adapter, kind: "cached" }, usage.cachedTokens);
  }

  #dropSeries(adapter: string): void {
    for (const route of routes) {
      for (const outcome of ["completed", "cancelled", "refused", "rejected", "failed"]) {
        this.#requests.remove({ adapter, route, outcome });
      }
    }
    for (const kind of ["prompt", "completion", "cached"]) this.#tokens.remove({ adapter, kind });
  }
}

const isOfText = (stats: ModelStats): stats is GatewayStats => "grammars" in stats;

function gatewayHistograms(registers: Registry[]): GatewayObserver {
  const firstToken = new Histogram({
    name: "lorikeet_time_to_first_token_seconds",
    help: "Time from queueing a request to its first token.",
    buckets: latency,
    registers,
  });
  const interToken = new Histogram({
    name: "lorikeet_inter_token_seconds",
    help: "Time between two tokens of a sequence.",
    buckets: short,
    registers,
  });
  const queue = new Histogram({
    name: "lorikeet_queue_seconds",
    help: "Time from queueing a request to its admission.",
    buckets: latency,
    registers,
  });
  const uploads = new Counter({
    name: "lorikeet_uploads_total",
    help: "Uploaded adapters, by outcome.",
    labelNames: ["outcome"],
    registers,
  });
  const grammars = new Histogram({
    name: "lorikeet_grammar_seconds",
    help: "Time until a grammar was compiled or refused, by outcome.",
    labelNames: ["outcome"],
    buckets: latency,
    registers,
  });
  return {
    grammar: (outcome, seconds) => grammars.observe({ outcome }, seconds),
    queued: (seconds) => queue.observe(seconds),
    firstToken: (seconds) => firstToken.observe(seconds),
    interToken: (seconds) => interToken.observe(seconds),
    uploaded: (outcome) => uploads.inc({ outcome }),
  };
}

function validationHistogram(registers: Registry[]): Metrics["validated"] {
  const checks = new Histogram({
    name: "lorikeet_adapter_validation_seconds",
    help: "Checks of adapters, by outcome.",
    labelNames: ["outcome"],
    buckets: latency,
    registers,
  });
  return (outcome, seconds) => checks.observe({ outcome }, seconds);
}

function engineHistograms(registers: Registry[]): EngineObserver {
  const batchRows = new Histogram({
    name: "lorikeet_batch_rows",
    help: "Sequences in a decode step, or rows in a run of a task model.",
    buckets: rows,
    registers,
  });
  const batchAdapters = new Histogram({
    name: "lorikeet_batch_adapters",
    help: "Distinct adapters in a decode step, or in a run of a task model.",
    buckets: rows,
    registers,
  });
  const stepSeconds = new Histogram({
    name: "lorikeet_step_seconds",
    help: "Duration of a run of the model: a decode step, a chunk of a prompt, or a batch of a task model.",
    labelNames: ["kind"],
    buckets: short,
    registers,
  });
  const loads = new Histogram({
    name: "lorikeet_adapter_load_seconds",
    help: "Time to make an adapter available, by source.",
    labelNames: ["from"],
    buckets: latency,
    registers,
  });
  return {
    step: (step) => {
      stepSeconds.observe({ kind: step.kind }, step.seconds);
      if (step.kind === "prefill") return;
      batchRows.observe(step.rows);
      batchAdapters.observe(step.adapters);
    },
    adapterLoaded: (load) => loads.observe({ from: load.from }, load.seconds),
  };
}
