/**
 * Every option of `serve`, once: its flag, environment variable and configuration key come from its name here, its reader,
 * default and help stand beside it. `generate` takes the part that concerns the engine.
 */

import { adapterLimits } from "../../adapter/format.js";
import { storeDefaults } from "../../adapter/store/store.js";
import { uploadDefaults } from "../../adapter/upload/upload.js";
import { validationDefaults } from "../../adapter/worker/validator.js";
import { gatewayDefaults } from "../../gateway/options.js";
import { serverDefaults } from "../../server/options.js";
import { defaultRenderLimits } from "../../text/jinja/budget.js";
import {
  bytes,
  duration,
  flag,
  formatBytes,
  formatDuration,
  hosts,
  integer,
  networks,
  oneOf,
  origins,
  type Parser,
  text,
} from "./units.js";

export interface Option<T> {
  /** Shown in help after the flag; absent for a flag that takes no value. */
  readonly placeholder?: string;
  readonly parse: Parser<T>;
  /** null: left to be computed, or off; `shown` says which. */
  readonly fallback: T | null;
  /** How help shows the default. */
  readonly shown: string;
  readonly help: string;
  readonly group: Group;
}

type Group =
  | ("Model" | "Engine" | "Adapters" | "Server" | "Streams" | "Limits" | "Logs" | "Text")
  | ("Data" | "Adapter" | "Training" | "Run");

export type OptionTable = Readonly<Record<string, Option<unknown>>>;
type Row<T> = Omit<Option<T>, "shown" | "fallback" | "group"> & { readonly shown?: string };

/** An option with a fixed default. */
export function given<T>(group: Group, fallback: T, row: Row<T>): Option<T> & { readonly fallback: T } {
  return { shown: String(fallback), ...row, fallback, group };
}

/** An option that is computed, or off, when it is not given. */
export function open<T>(group: Group, shown: string, row: Row<T>): Option<T> & { readonly fallback: T | null } {
  return { ...row, fallback: null, shown, group };
}

function size(group: Group, fallback: number, help: string): Option<number> & { readonly fallback: number } {
  return given(group, fallback, { placeholder: "size", parse: bytes(), shown: formatBytes(fallback), help });
}

function time(group: Group, fallbackMs: number, help: string): Option<number> & { readonly fallback: number } {
  const shown = formatDuration(fallbackMs);
  return given(group, fallbackMs, { placeholder: "time", parse: duration("s"), shown, help });
}

function count(
  group: Group,
  fallback: number,
  min: number,
  help: string,
): Option<number> & { readonly fallback: number } {
  return given(group, fallback, { placeholder: "n", parse: integer(min), help });
}

const GiB = 1024 ** 3;

/** What is needed to load a model and run it. */
export const engineOptions = {
  model: open("Model", "required", {
    placeholder: "model",
    parse: text,
    help: "a model folder in Hugging Face layout (config.json, *.safetensors, tokenizer.json), or a model's name on the hub: org/name or org/name@revision",
  }),
  dtype: given("Model", "auto", {
    placeholder: "type",
    parse: oneOf("auto", "fp32", "int8", "int4"),
    help: "weights of the layers: fp32, int8 or int4; auto is fp32 up to 200 M parameters, else int8",
  }),
  headDtype: given("Model", "auto", {
    placeholder: "type",
    parse: oneOf("auto", "fp32", "int8"),
    help: "weights of the output head: fp32 or int8; auto is int8 with int8 and int4 layers, else fp32",
  }),
  cacheDir: open("Model", "$XDG_CACHE_HOME/lorikeet or ~/.cache/lorikeet", {
    placeholder: "folder",
    parse: text,
    help: "where converted weights are cached",
  }),
  chatTemplate: open("Model", "the model's own", {
    placeholder: "file",
    parse: text,
    help: "a chat template (Jinja) used instead of the model's",
  }),
  generationConfig: given("Model", "openai", {
    placeholder: "source",
    parse: oneOf("openai", "model"),
    help: "sampling defaults: OpenAI's, or those of the model's generation_config.json",
  }),
  device: given("Engine", "cpu", {
    placeholder: "device",
    parse: oneOf("cpu"),
    help: "where the model runs",
  }),
  threads: open("Engine", "CPU affinity or the control group's quota, whichever is smaller", {
    placeholder: "n",
    parse: integer(1, 1024),
    help: "threads for arithmetic",
  }),
  maxBatch: given("Engine", 16, {
    placeholder: "n",
    parse: integer(1, 1024),
    help: "KV slots: sequences that run at once",
  }),
  maxContext: open("Engine", "the model's own, or what fits --kv-bytes", {
    placeholder: "tokens",
    parse: integer(16),
    help: "most tokens of one sequence, prompt and answer together",
  }),
  kvBytes: open("Engine", "half of the memory that the weights leave", {
    placeholder: "size",
    parse: bytes(),
    help: "memory for the KV cache of all slots",
  }),
  adapterCacheBytes: size("Engine", GiB, "host memory for adapters that are ready to run"),
  activeAdapterBytes: size("Engine", GiB, "memory for the fp32 copies of the adapters that run right now"),
  maxQueue: given("Engine", 256, {
    placeholder: "n",
    parse: integer(0, 1_000_000),
    help: "sequences that may wait for a slot; one more is answered 429",
  }),
  maxAdapterQueue: open("Engine", "seven eighths of --max-queue", {
    placeholder: "n",
    parse: integer(0, 1_000_000),
    help: "sequences of one adapter, or of the base, that may wait; one more is answered 429",
  }),
  maxStallMs: given("Engine", 120, {
    placeholder: "ms",
    parse: integer(1, 60_000),
    help: "longest time that one chunk of a prompt may delay running sequences",
  }),
  exact: given("Engine", false, {
    parse: flag,
    help: "make int8 and int4 results independent of the other rows of a batch; without it log-probabilities may move by up to 0.05",
  }),
} as const satisfies OptionTable;

/** The service around the engine. */
export const serviceOptions = {
  adapters: open("Adapters", "none", {
    placeholder: "folder",
    parse: text,
    help: "folder of adapters: your own PEFT folders, and the store for uploads",
  }),
  servedModelName: open("Server", "the model folder's name, or org/name in a Hugging Face cache", {
    placeholder: "name",
    parse: text,
    help: "the base model's name in requests and lists",
  }),
  host: given("Server", "127.0.0.1", {
    placeholder: "address",
    parse: text,
    help: "address to listen on; 0.0.0.0 is every network",
  }),
  port: given("Server", 8080, { placeholder: "port", parse: integer(0, 65_535), help: "port; 0 takes a free one" }),
  apiKeyFile: open("Server", "none, or LORIKEET_API_KEYS", {
    placeholder: "file",
    parse: text,
    help: "file of API keys, one a line; requests must carry one of them",
  }),
  noAuth: given("Server", false, {
    parse: flag,
    help: "listen beyond loopback without API keys: anyone who can reach the server may use it",
  }),
  allowedOrigins: open("Server", "pages of this machine", {
    placeholder: "origins",
    parse: origins,
    help: "origins of other web pages that may use the server, separated by commas; * allows every page",
  }),
  allowedHosts: open("Server", "addresses, localhost, this machine's name, hosts of --allowed-origins", {
    placeholder: "names",
    parse: hosts,
    help: "other host names that clients may use, separated by commas; *.example.com allows all below it, * every name",
  }),
  drainTimeout: time("Server", 30_000, "how long running requests may go on after SIGTERM or SIGINT"),
  maxConnections: count(
    "Server",
    serverDefaults.maxConnections,
    1,
    "open connections; past it only /health and /ready are answered, the rest is told 503",
  ),
  maxConnectionsPerAddress: count(
    "Server",
    serverDefaults.maxConnectionsPerAddress,
    0,
    "open connections of one client address (IPv6: /64 network), trusted proxies excepted; 0 is no limit",
  ),
  reservedConnections: count(
    "Server",
    serverDefaults.reservedConnections,
    1,
    "connections past a limit that are open for a moment to be answered",
  ),
  maxPipelined: count(
    "Server",
    serverDefaults.maxPipelined,
    0,
    "requests that wait on one connection behind the one that runs; one more closes it",
  ),
  trustedProxies: open("Server", "none", {
    placeholder: "networks",
    parse: networks,
    help: "addresses and networks of proxies whose X-Forwarded-For is believed, separated by commas",
  }),
  maxBodyBytes: size("Server", serverDefaults.maxBodyBytes, "bytes of a JSON body"),
  bodyTimeout: time("Server", serverDefaults.bodyTimeoutMs, "how long a JSON body may take to arrive"),
  maxHeaderBytes: size("Server", serverDefaults.maxHeaderBytes, "bytes of a request's headers"),
  headersTimeout: time("Server", serverDefaults.headersTimeoutMs, "how long a request's headers may take to arrive"),
  keepAliveTimeout: time("Server", serverDefaults.keepAliveTimeoutMs, "how long an idle connection is kept"),
  lingerTimeout: time(
    "Server",
    serverDefaults.lingerTimeoutMs,
    "how long the connection of a refused upload stays for its answer to be read",
  ),
  streamBufferBytes: size(
    "Streams",
    serverDefaults.streamBufferBytes,
    "bytes that wait for an SSE reader before its generation pauses",
  ),
  streamKeepAliveInterval: time(
    "Streams",
    serverDefaults.streamKeepAliveIntervalMs,
    "how often an idle SSE stream gets a comment line",
  ),
  slowReaderTimeout: time(
    "Streams",
    serverDefaults.slowReaderTimeoutMs,
    "how long a reader of any answer may take nothing before it is ended",
  ),
  minReadRate: given("Streams", serverDefaults.minReadRate, {
    placeholder: "size",
    parse: bytes(0),
    shown: formatBytes(serverDefaults.minReadRate),
    help: "bytes a second that a reader which is behind must take, over each --slow-reader-timeout; 0 is no limit",
  }),
  slowReaderSlotTimeout: time(
    "Streams",
    serverDefaults.slowReaderSlotTimeoutMs,
    "how long a stream's reader that is behind keeps its slot while others wait for one",
  ),
  maxSockets: count("Streams", serverDefaults.maxSockets, 1, "open WebSockets"),
  maxSocketRequests: count("Streams", serverDefaults.maxSocketRequests, 1, "requests in flight on one WebSocket"),
  maxFrameBytes: size(
    "Streams",
    serverDefaults.maxFrameBytes,
    "bytes of a WebSocket message; a larger one closes it (1009)",
  ),
  socketPauseBytes: size(
    "Streams",
    serverDefaults.socketPauseBytes,
    "bytes that wait for a WebSocket's reader before its generations pause",
  ),
  socketCloseBytes: size(
    "Streams",
    serverDefaults.socketCloseBytes,
    "bytes that wait for a WebSocket's reader before it is closed (1013)",
  ),
  pingInterval: time("Streams", serverDefaults.pingIntervalMs, "how often a WebSocket is pinged"),
  queueTimeout: time(
    "Limits",
    gatewayDefaults.queueTimeoutMs,
    "how long a request may wait for its place, tokenizing included, before it is answered 503",
  ),
  requestTimeout: time("Limits", gatewayDefaults.requestTimeoutMs, "how long a request may take in all"),
  maxPromptCharacters: open("Limits", "16 for each token of --max-context", {
    placeholder: "n",
    parse: integer(1),
    help: "characters of one prompt, counted before it is tokenized",
  }),
  maxTemplateSteps: given("Limits", defaultRenderLimits.maxSteps, {
    placeholder: "n",
    parse: integer(1000),
    help: "steps that rendering one chat may take: expressions, items, and every 64 characters of text",
  }),
  maxQueuedCharacters: count(
    "Limits",
    gatewayDefaults.maxQueuedCharacters,
    1,
    "characters of prompts that may wait to be tokenized, all requests together; more are answered 429",
  ),
  maxSequences: count("Limits", gatewayDefaults.maxSequences, 1, "prompts times choices of one request"),
  maxChoices: count("Limits", gatewayDefaults.maxChoices, 1, "choices of one request (n)"),
  maxStops: count("Limits", gatewayDefaults.maxStops, 0, "stop strings of one request"),
  maxStopCharacters: count("Limits", gatewayDefaults.maxStopCharacters, 1, "characters of one stop string"),
  maxStopTokenIds: count("Limits", gatewayDefaults.maxStopTokenIds, 0, "stop token ids of one request"),
  maxLogprobs: count("Limits", gatewayDefaults.maxLogprobs, 0, "log-probabilities of alternatives for each token"),
  maxLogprobEntries: count(
    "Limits",
    gatewayDefaults.maxLogprobEntries,
    0,
    "log-probabilities of one answer: tokens of prompts and choices, times one and the alternatives",
  ),
  maxLogitBias: count("Limits", gatewayDefaults.maxLogitBias, 0, "entries of logit_bias"),
  maxMessages: count("Limits", gatewayDefaults.maxMessages, 1, "messages of one chat request"),
  loraPathRoot: open("Adapters", "off", {
    placeholder: "folder",
    parse: text,
    help: "folder below which POST /v1/load_lora_adapter may read lora_path",
  }),
  maxStoreBytes: size(
    "Adapters",
    storeDefaults.totalBytes,
    "all stored adapters together; past it an upload is answered 507",
  ),
  maxAdapters: count("Adapters", storeDefaults.maxNames, 1, "names of stored adapters"),
  scanInterval: time("Adapters", storeDefaults.scanMs, "how often folders put in by hand are looked for"),
  lockTimeout: time(
    "Adapters",
    storeDefaults.lockWaitMs,
    "how long a write waits for another process that writes to the store",
  ),
  maxUploadBytes: size("Adapters", uploadDefaults.receivedBytes, "bytes of one upload as received"),
  maxUnpackedBytes: size("Adapters", uploadDefaults.unpackedBytes, "bytes of one upload after unpacking"),
  maxUploadEntries: count("Adapters", uploadDefaults.entries, 1, "entries of an uploaded tar"),
  maxUploadDepth: count("Adapters", uploadDefaults.depth, 1, "names in the path of an entry of an uploaded tar"),
  maxUploads: count("Adapters", uploadDefaults.atOnce, 1, "uploads at once; one more is answered 429"),
  maxUploadsPerAddress: count(
    "Adapters",
    uploadDefaults.perClient,
    0,
    "uploads of one client address at once; one more is answered 429; 0 is no limit",
  ),
  uploadIdleTimeout: time("Adapters", uploadDefaults.idleMs, "how long an upload may go without a byte"),
  minUploadRate: given("Adapters", uploadDefaults.minRate, {
    placeholder: "size",
    parse: bytes(0),
    shown: formatBytes(uploadDefaults.minRate),
    help: "bytes a second that an upload must bring, over each --upload-rate-window; 0 is no limit",
  }),
  uploadRateWindow: time(
    "Adapters",
    uploadDefaults.rateWindowMs,
    "how long an upload's bytes are waited for before they are held against --min-upload-rate",
  ),
  uploadTimeout: time("Adapters", uploadDefaults.totalMs, "how long an upload may take to arrive in all"),
  validationTimeout: time("Adapters", validationDefaults.timeoutMs, "how long checking one adapter may take"),
  maxValidations: count(
    "Adapters",
    validationDefaults.maxWaiting,
    0,
    "adapters of clients that may wait to be checked; one more is answered 429",
  ),
  maxAdapterRank: count("Adapters", adapterLimits.maxRank, 1, "rank of an adapter"),
  maxAdapterTensors: count("Adapters", adapterLimits.maxTensors, 1, "tensors of an adapter"),
  maxAdapterHeaderBytes: size("Adapters", adapterLimits.maxHeaderBytes, "bytes of the header of an adapter's weights"),
  maxAdapterConfigBytes: size("Adapters", adapterLimits.maxConfigBytes, "bytes of an adapter's adapter_config.json"),
  maxPatternSize: count(
    "Adapters",
    adapterLimits.maxPatternSize,
    0,
    "instructions that all expressions of an adapter's config compile to",
  ),
  logLevel: given("Logs", "info", {
    placeholder: "level",
    parse: oneOf("debug", "info", "warn", "error", "silent"),
    help: "least severe level that is logged",
  }),
  logBufferBytes: size(
    "Logs",
    2 ** 20,
    "bytes of log lines that wait for a reader; lines past it are dropped and counted",
  ),
  logFormat: given("Logs", "auto", {
    placeholder: "format",
    parse: oneOf("auto", "json", "text"),
    help: "json: one object per line; text: for people; auto: text on a terminal, else json",
  }),
  logPrompts: given("Logs", serverDefaults.logPrompts, {
    parse: flag,
    help: "write request bodies, prompts included, to the log",
  }),
  maxAdapterLabels: count(
    "Logs",
    serverDefaults.maxAdapterLabels,
    1,
    'adapters with a label of their own in the metrics; the rest are "other"',
  ),
} as const satisfies OptionTable;

export const serveOptions = { ...engineOptions, ...serviceOptions } as const;

/** The values of a table: an option with a fixed default always has one, the others may be null. */
export type Settings<Table extends OptionTable> = {
  readonly [Name in keyof Table]: Table[Name] extends { readonly parse: Parser<infer T>; readonly fallback: infer F }
    ? T | (null extends F ? null : never)
    : never;
};

export type EngineSettings = Settings<typeof engineOptions>;
export type ServeSettings = Settings<typeof serveOptions>;

/** `maxBatch` → `max-batch`: the flag without its dashes, and the key in a configuration file. */
export function flagName(name: string): string {
  return name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);
}

/** `maxBatch` → `LORIKEET_MAX_BATCH`. */
export function environmentName(name: string): string {
  return `LORIKEET_${flagName(name).replaceAll("-", "_").toUpperCase()}`;
}
