/** Prometheus metrics, updated by observers of the engine and the gateway. Knows nothing of HTTP. */
import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from "prom-client";
import type { EngineObserver } from "../../engine/types.js";
import type { Bases } from "../../gateway/bases.js";
import type { FineTuning } from "../../gateway/fine-tuning/fine-tuning.js";
import type { GatewayStats } from "../../gateway/gateway.js";
import type { ModelStats } from "../../gateway/model-gateway.js";
import { type GatewayObserver, type RequestSummary, routes } from "../../gateway/observer.js";
import type { Responses } from "../../gateway/responses/responses.js";
import { AdapterLabels } from "./adapter-labels.js";
import { EventLoopDelay } from "./event-loop.js";
import { type Labelled, registerFineTuning, registerGauges, registerResponses, registerTextGauges } from "./gauges.js";

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

/** The device of a base. */
export interface BaseDevice {
  readonly base: string;
  readonly labels: DeviceLabels;
  /** The bytes that the model takes of the device's memory. */
  allocated(): number;
}

export interface MetricsOptions {
  readonly maxAdapterLabels: number;
  /** Whether series name their base, as those of several bases must. Default: false. */
  readonly namesBases?: boolean;
}

/** A label besides others; none where a server has one base. */
type BaseLabel = { readonly base?: string };

export class Metrics {
  readonly registry = new Registry();
  /** Of a base; pass it to the engine when it is created. */
  readonly engineObserverOf: (base: string) => EngineObserver;
  /** Of a base, or of what no base counts; the server subscribes it. */
  readonly gatewayObserverOf: (base: string | null) => GatewayObserver;
  /** Open WebSockets. */
  readonly sockets: Gauge;
  /** Requests and handshakes that access control refused. */
  readonly refused: Counter<"code">;
  /** Called after each adapter check. */
  readonly validated: (outcome: string, seconds: number) => void;
  /** Hits of each limit, by its option. */
  readonly limited: Counter<"limit">;
  readonly #labels: AdapterLabels;
  readonly #namesBases: boolean;
  readonly #requests: Counter<"base" | "adapter" | "route" | "outcome">;
  readonly #rejections: Counter<"base" | "code">;
  readonly #tokens: Counter<"base" | "adapter" | "kind">;
  readonly #delay: EventLoopDelay;
  #bases: Bases | null = null;
  /** Computed once per scrape: with thousands of adapters it costs more than all gauges together. */
  #stats: readonly Labelled<ModelStats>[] = [];

  constructor({ maxAdapterLabels, namesBases = false }: MetricsOptions) {
    const registers = [this.registry];
    const base = namesBases ? (["base"] as const) : [];
    this.#namesBases = namesBases;
    collectDefaultMetrics({ register: this.registry });
    // Gauges named like counters. The same numbers exist by type under names without _total.
    for (const what of ["handles", "requests", "resources"])
      this.registry.removeSingleMetric(`nodejs_active_${what}_total`);
    this.#delay = new EventLoopDelay(this.registry);
    this.#requests = new Counter({
      name: "lorikeet_requests_total",
      help: "Completed requests to the model, tokenize and detokenize ones too.",
      labelNames: [...base, "adapter", "route", "outcome"],
      registers,
    });
    this.#rejections = new Counter({
      name: "lorikeet_rejections_total",
      help: "Such requests rejected for lack of capacity or time, by error code.",
      labelNames: [...base, "code"],
      registers,
    });
    this.#tokens = new Counter({
      name: "lorikeet_tokens_total",
      help: "Tokens of prompts, of completions, and of prompts that were already computed.",
      labelNames: [...base, "adapter", "kind"],
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
    this.#labels = new AdapterLabels(maxAdapterLabels, (label) => this.#dropSeries(label));
    const gatewayHistogramsOf = gatewayHistograms(registers, base);
    const engineHistogramsOf = engineHistograms(registers, base);
    this.gatewayObserverOf = (name) => {
      const labels = name === null ? {} : this.#labelsOf(name);
      return { ...gatewayHistogramsOf(labels), ended: (summary) => this.#ended(summary, labels) };
    };
    this.engineObserverOf = (name) => engineHistogramsOf(this.#labelsOf(name));
    this.validated = validationHistogram(registers);
  }

  /** Adds the gauges that are read at each scrape: bytes and tiers, and those of bases that generate text. */
  bind(bases: Bases): void {
    const { adapters } = bases;
    const labelOf = (name: string): string => (adapters.has(name) ? this.#labels.find(name) : name);
    const labelNames = this.#namesBases ? ["base"] : [];
    this.#bases = bases;
    registerGauges(this.registry, { labelNames, read: () => this.#stats }, labelOf);
    if (bases.with("text").length === 0) return;
    registerTextGauges(this.registry, { labelNames, read: () => this.#stats.filter(isOfText) });
  }

  /** Adds those of stored responses. */
  bindResponses(responses: Pick<Responses, "stats">): void {
    registerResponses(this.registry, () => responses.stats());
  }

  /** Adds those of files and training jobs. */
  bindFineTuning(fineTuning: Pick<FineTuning, "stats">): void {
    registerFineTuning(this.registry, () => fineTuning.stats());
  }

  /** The exposition text, without series of removed adapters. */
  async render(): Promise<string> {
    const bases = this.#bases;
    if (bases) {
      this.#labels.prune((name) => bases.adapters.serves(name));
      this.#stats = this.#read(bases);
    }
    return this.registry.metrics();
  }

  #read(bases: Bases): readonly Labelled<ModelStats>[] {
    return bases.all.map(({ name, models }) => ({ base: this.#labelsOf(name), stats: models.stats() }));
  }

  #labelsOf(base: string): Readonly<Record<string, string>> {
    return this.#namesBases ? { base } : {};
  }

  /** Adds what runs each model. */
  describeDevices(devices: readonly BaseDevice[]): void {
    if (devices.length === 0) return;
    const registers = [this.registry];
    const known = devices.flatMap(({ base, labels: { memoryBytes }, allocated }) =>
      memoryBytes === null ? [] : [{ base: this.#labelsOf(base), memoryBytes, allocated }],
    );
    const infos = devices.map(({ base, labels }) => ({ ...this.#labelsOf(base), ...infoOf(labels) }));
    const info = new Gauge({
      name: "lorikeet_device_info",
      help: "The device that runs the model; the value is 1.",
      labelNames: [...new Set(infos.flatMap(Object.keys))],
      registers,
    });
    for (const labels of infos) info.set(labels, 1);
    if (known.length === 0) return;
    const labelNames = this.#namesBases ? ["base"] : [];
    const memory = new Gauge({
      ...{ name: "lorikeet_device_memory_bytes", help: "Memory of the device." },
      ...{ labelNames, registers },
    });
    for (const { base, memoryBytes } of known) memory.set(base, memoryBytes);
    new Gauge({
      name: "lorikeet_device_allocated_bytes",
      help: "Bytes of it that weights, KV cache and adapters take.",
      ...{ labelNames, registers },
      collect() {
        for (const { base, allocated } of known) this.set(base, allocated());
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

  #ended(summary: RequestSummary, base: BaseLabel): void {
    const { route, outcome, usage } = summary;
    const adapter = summary.adapter === null ? (summary.model ?? "none") : this.#labels.use(summary.adapter);
    this.#requests.inc({ ...base, adapter, route, outcome });
    if (outcome === "rejected" && summary.code) this.#rejections.inc({ ...base, code: summary.code });
    if (!usage) return;
    this.#tokens.inc({ ...base, adapter, kind: "prompt" }, usage.promptTokens);
    this.#tokens.inc({ ...base, adapter, kind: "completion" }, usage.completionTokens);
    this.#tokens.inc({ ...base, adapter, kind: "cached" }, usage.cachedTokens);
  }

  #dropSeries(adapter: string): void {
    for (const { name } of this.#bases?.all ?? []) {
      const base = this.#labelsOf(name);
      for (const route of routes) {
        for (const outcome of ["completed", "cancelled", "refused", "rejected", "failed"]) {
          this.#requests.remove({ ...base, adapter, route, outcome });
        }
      }
      for (const kind of ["prompt", "completion", "cached"]) this.#tokens.remove({ ...base, adapter, kind });
    }
  }
}

const isOfText = (each: Labelled<ModelStats>): each is Labelled<GatewayStats> => "grammars" in each.stats;

const infoOf = (labels: DeviceLabels) => ({
  device: labels.kind,
  name: labels.name ?? labels.kind,
  driver: labels.driver ?? "",
  software: `${labels.software}`,
  fp16: `${labels.fp16 ?? ""}`,
  activation_dtype: labels.activationDtype ?? "",
  kv_cache_dtype: labels.kvCacheDtype ?? "",
  longest_chunk: `${labels.longestChunk ?? ""}`,
});

function gatewayHistograms(registers: Registry[], base: readonly "base"[]): (labels: BaseLabel) => GatewayObserver {
  const firstToken = new Histogram({
    name: "lorikeet_time_to_first_token_seconds",
    help: "Time from queueing a request to its first token.",
    labelNames: [...base],
    buckets: latency,
    registers,
  });
  const interToken = new Histogram({
    name: "lorikeet_inter_token_seconds",
    help: "Time between two tokens of a sequence.",
    labelNames: [...base],
    buckets: short,
    registers,
  });
  const queue = new Histogram({
    name: "lorikeet_queue_seconds",
    help: "Time from queueing a request to its admission.",
    labelNames: [...base],
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
    labelNames: [...base, "outcome"],
    buckets: latency,
    registers,
  });
  return (labels) => ({
    grammar: (outcome, seconds) => grammars.observe({ ...labels, outcome }, seconds),
    queued: (seconds) => queue.observe(labels, seconds),
    firstToken: (seconds) => firstToken.observe(labels, seconds),
    interToken: (seconds) => interToken.observe(labels, seconds),
    uploaded: (outcome) => uploads.inc({ outcome }),
  });
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

function engineHistograms(registers: Registry[], base: readonly "base"[]): (labels: BaseLabel) => EngineObserver {
  const batchRows = new Histogram({
    name: "lorikeet_batch_rows",
    help: "Sequences in a decode step, or rows in a run of a task model.",
    labelNames: [...base],
    buckets: rows,
    registers,
  });
  const batchAdapters = new Histogram({
    name: "lorikeet_batch_adapters",
    help: "Distinct adapters in a decode step, or in a run of a task model.",
    labelNames: [...base],
    buckets: rows,
    registers,
  });
  const stepSeconds = new Histogram({
    name: "lorikeet_step_seconds",
    help: "Duration of a run of the model: a decode step, a chunk of a prompt, or a batch of a task model.",
    labelNames: [...base, "kind"],
    buckets: short,
    registers,
  });
  const loads = new Histogram({
    name: "lorikeet_adapter_load_seconds",
    help: "Time to make an adapter available, by source.",
    labelNames: [...base, "from"],
    buckets: latency,
    registers,
  });
  return (labels) => ({
    step: (step) => {
      stepSeconds.observe({ ...labels, kind: step.kind }, step.seconds);
      if (step.kind === "prefill") return;
      batchRows.observe(labels, step.rows);
      batchAdapters.observe(labels, step.adapters);
    },
    adapterLoaded: (load) => loads.observe({ ...labels, from: load.from }, load.seconds),
  });
}
