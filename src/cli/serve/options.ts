/** The options of `serve`: those of the engine, and those of the service around it. */

import { gatewayDefaults } from "../../gateway/options.js";
import { responsesDefaults } from "../../gateway/responses/responses.js";
import { defaultImageLimits } from "../../image/preprocessor.js";
import { askablePoolings } from "../../model/task/text-head.js";
import { recordDefaults } from "../../records/store.js";
import { serverDefaults } from "../../server/options.js";
import { defaultRenderLimits } from "../../text/jinja/budget.js";
import { callFormatNames } from "../../text/tools/formats/registry.js";
import { reasoningFormatNames } from "../../text/tools/reasoning.js";
import { engineOptions } from "../options/engine-options.js";
import { onnxFile } from "../options/onnx-file.js";
import { age, count, given, type OptionTable, open, type Settings, several, size, time } from "../options/option.js";
import { bytes, flag, formatBytes, hosts, integer, networks, oneOf, origins, text } from "../options/units.js";
import { adapterOptions } from "./adapter-options.js";
import { fineTuningOptions } from "./fine-tuning-options.js";

const serviceOptions = {
  ...adapterOptions,
  pooling: open("Model", "modules.json's, else last for a decoder and mean for a task model", {
    placeholder: "how",
    parse: oneOf(...askablePoolings),
    help: "how a text becomes one vector: last (its last token's) or mean (of all its tokens)",
  }),
  toolCallParser: given("Model", gatewayDefaults.toolCallParser, {
    placeholder: "format",
    parse: oneOf("auto", ...callFormatNames),
    help: `format of the model's calls: auto (by its chat template), ${callFormatNames.join(", ")}`,
  }),
  reasoningParser: given("Model", gatewayDefaults.reasoningParser, {
    placeholder: "format",
    parse: oneOf("auto", "none", ...reasoningFormatNames),
    help: `format of the model's reasoning: auto (by its chat template), none (it stays part of the text), ${reasoningFormatNames.join(", ")}`,
  }),
  model: several("Model", "required", {
    placeholder: "model",
    parse: text,
    help: `${engineOptions.model.help}; give it several times for several bases`,
  }),
  onnxFile: {
    ...onnxFile,
    help: `${onnxFile.help}; of several bases, each has its own in \`models\` of the config file`,
  },
  servedModelName: several("Server", "the model folder's name, or org/name in a Hugging Face cache", {
    placeholder: "name",
    parse: text,
    help: "name of the base model in requests and listings; of several bases, one for each, in their order",
  }),
  host: given("Server", "127.0.0.1", {
    placeholder: "address",
    parse: text,
    help: "address to listen on; 0.0.0.0 means all interfaces",
  }),
  port: given("Server", 8080, {
    placeholder: "port",
    parse: integer(0, 65_535),
    help: "port to listen on; 0 picks a free one",
  }),
  apiKeyFile: open("Server", "none, or LORIKEET_API_KEYS", {
    placeholder: "file",
    parse: text,
    help: "file of API keys, one per line; requests must send one of them",
  }),
  noAuth: given("Server", false, {
    parse: flag,
    help: "listen beyond loopback without API keys: anyone who can reach the server can use it",
  }),
  noUi: given("Server", false, {
    parse: flag,
    help: "serve no page at /; the HTTP API stays as it is",
  }),
  allowedOrigins: open("Server", "pages from this machine", {
    placeholder: "origins",
    parse: origins,
    help: "origins of other web pages that may use the server, separated by commas; * allows all",
  }),
  allowedHosts: open("Server", "addresses, localhost, this machine's name, hosts of --allowed-origins", {
    placeholder: "names",
    parse: hosts,
    help: "other host names that clients may use, separated by commas; *.example.com allows its subdomains, * allows all",
  }),
  drainTimeout: time("Server", 30_000, "how long running requests may take to finish after SIGTERM or SIGINT"),
  maxConnections: count(
    "Server",
    serverDefaults.maxConnections,
    1,
    "open connections; beyond that, only /health and /ready are served, and everything else gets 503",
  ),
  maxConnectionsPerAddress: count(
    "Server",
    serverDefaults.maxConnectionsPerAddress,
    0,
    "open connections per client address (IPv6: /64 network), except trusted proxies; 0 means no limit",
  ),
  reservedConnections: count(
    "Server",
    serverDefaults.reservedConnections,
    1,
    "connections beyond a limit that are kept open just to send the refusal",
  ),
  maxPipelined: count(
    "Server",
    serverDefaults.maxPipelined,
    0,
    "pipelined requests that may wait on a connection; one more closes it",
  ),
  trustedProxies: open("Server", "none", {
    placeholder: "networks",
    parse: networks,
    help: "addresses or networks of proxies whose X-Forwarded-For is trusted, separated by commas",
  }),
  maxBodyBytes: size("Server", serverDefaults.maxBodyBytes, "maximum size of a JSON body"),
  maxImageBytes: size("Server", serverDefaults.maxImageBytes, "maximum size of a picture for a task model"),
  maxTensorBytes: size(
    "Server",
    serverDefaults.maxTensorBytes,
    "maximum size of the binary tensors of a request to a task model",
  ),
  maxImagePixels: count("Server", defaultImageLimits.maxPixels, 1, "pixels of a picture, checked before it is decoded"),
  maxImageQueue: count(
    "Server",
    defaultImageLimits.maxPending,
    1,
    "pictures that may wait to be decoded; further ones get 429",
  ),
  bodyTimeout: time("Server", serverDefaults.bodyTimeoutMs, "how long a JSON body or a picture may take to arrive"),
  maxHeaderBytes: size("Server", serverDefaults.maxHeaderBytes, "maximum size of a request's headers"),
  headersTimeout: time("Server", serverDefaults.headersTimeoutMs, "how long a request's headers may take to arrive"),
  keepAliveTimeout: time("Server", serverDefaults.keepAliveTimeoutMs, "how long an idle connection is kept"),
  lingerTimeout: time(
    "Server",
    serverDefaults.lingerTimeoutMs,
    "how long the connection of a refused upload stays open so that the client can read the response",
  ),
  streamBufferBytes: size(
    "Streams",
    serverDefaults.streamBufferBytes,
    "unsent bytes of an SSE stream at which its generation pauses",
  ),
  streamKeepAliveInterval: time(
    "Streams",
    serverDefaults.streamKeepAliveIntervalMs,
    "how often an idle SSE stream sends a comment line",
  ),
  slowReaderTimeout: time(
    "Streams",
    serverDefaults.slowReaderTimeoutMs,
    "how long a client may read nothing of a response before the request ends",
  ),
  minReadRate: given("Streams", serverDefaults.minReadRate, {
    placeholder: "size",
    parse: bytes(0),
    shown: formatBytes(serverDefaults.minReadRate),
    help: "bytes per second that a lagging client must read, measured over each --slow-reader-timeout; 0 means no limit",
  }),
  slowReaderSlotTimeout: time(
    "Streams",
    serverDefaults.slowReaderSlotTimeoutMs,
    "how long the stream of a lagging client keeps its slot while others wait for one",
  ),
  maxSockets: count("Streams", serverDefaults.maxSockets, 1, "open WebSockets"),
  maxSocketRequests: count("Streams", serverDefaults.maxSocketRequests, 1, "requests in flight on one WebSocket"),
  maxFrameBytes: size(
    "Streams",
    serverDefaults.maxFrameBytes,
    "maximum size of a WebSocket message; a larger one closes the connection (1009)",
  ),
  socketPauseBytes: size(
    "Streams",
    serverDefaults.socketPauseBytes,
    "unsent bytes of a WebSocket at which its generations pause",
  ),
  socketCloseBytes: size(
    "Streams",
    serverDefaults.socketCloseBytes,
    "unsent bytes of a WebSocket at which it is closed (1013)",
  ),
  pingInterval: time("Streams", serverDefaults.pingIntervalMs, "how often a WebSocket gets a ping"),
  modelTrialTimeout: time(
    "Limits",
    120_000,
    "longest time that the trial runs of a task model may take at start; then the server does not start",
  ),
  queueTimeout: time(
    "Limits",
    gatewayDefaults.queueTimeoutMs,
    "how long a request may wait for a slot, tokenization included, before it gets 503",
  ),
  requestTimeout: time("Limits", gatewayDefaults.requestTimeoutMs, "how long a request may take in total"),
  maxPromptCharacters: open("Limits", "16 per token of --max-context", {
    placeholder: "n",
    parse: integer(1),
    help: "characters of a prompt, counted before tokenization. The default does not bound texts that the request asks to truncate",
  }),
  maxTemplateSteps: given("Limits", defaultRenderLimits.maxSteps, {
    placeholder: "n",
    parse: integer(1000),
    help: "steps that rendering a chat may take: expressions, items, and every 64 characters of text",
  }),
  maxQueuedCharacters: count(
    "Limits",
    gatewayDefaults.maxQueuedCharacters,
    1,
    "characters of all prompts waiting for tokenization; further requests get 429",
  ),
  maxSequences: count(
    "Limits",
    gatewayDefaults.maxSequences,
    1,
    "prompts times choices of a request, or rows of one to a task model; never more than can run and wait at once",
  ),
  maxChoices: count("Limits", gatewayDefaults.maxChoices, 1, "choices of a request (n)"),
  maxStops: count("Limits", gatewayDefaults.maxStops, 0, "stop strings of a request"),
  maxStopCharacters: count("Limits", gatewayDefaults.maxStopCharacters, 1, "characters of a stop string"),
  maxStopTokenIds: count("Limits", gatewayDefaults.maxStopTokenIds, 0, "stop token ids of a request"),
  maxLogprobs: count("Limits", gatewayDefaults.maxLogprobs, 0, "alternatives per token with log-probabilities"),
  maxLogprobEntries: count(
    "Limits",
    gatewayDefaults.maxLogprobEntries,
    0,
    "log-probabilities in a response: all tokens of prompts and choices, times 1 + alternatives",
  ),
  maxMixedAdapters: count("Limits", gatewayDefaults.maxMixedAdapters, 1, "adapters that a request mixes"),
  maxMixtures: count(
    "Limits",
    gatewayDefaults.maxMixtures,
    1,
    "different mixtures of adapters in use at once; further ones get 429",
  ),
  maxLogitBias: count("Limits", gatewayDefaults.maxLogitBias, 0, "entries in logit_bias"),
  maxGrammarCharacters: count(
    "Limits",
    gatewayDefaults.maxGrammarCharacters,
    1,
    "characters of a schema, a pattern, a list of choices or a grammar that answers are held to",
  ),
  maxGrammarSize: count(
    "Limits",
    gatewayDefaults.maxGrammarSize,
    1,
    "states and edges that compiling a grammar may make; beyond it, the request gets 400",
  ),
  grammarTimeout: time("Limits", gatewayDefaults.grammarTimeoutMs, "how long compiling a grammar may take"),
  grammarMemory: size("Limits", gatewayDefaults.grammarMemory, "memory of the thread that compiles grammars"),
  maxGrammarQueue: count(
    "Limits",
    gatewayDefaults.maxGrammarQueue,
    1,
    "grammars that may wait to be compiled; further ones get 429",
  ),
  grammarCacheBytes: size("Limits", gatewayDefaults.grammarCacheBytes, "memory for compiled grammars and their masks"),
  maxMessages: count("Limits", gatewayDefaults.maxMessages, 1, "messages of a chat request"),
  maxTools: count("Limits", gatewayDefaults.maxTools, 0, "functions in tools, and calls in a message"),
  responseStore: open("Responses", "in memory", {
    placeholder: "folder",
    parse: text,
    help: "folder for the database of stored responses (/v1/responses with store); without one they are gone when the server stops",
  }),
  maxResponses: count("Responses", recordDefaults.maxRecords, 1, "stored responses; beyond it, the oldest are dropped"),
  maxResponseBytes: size(
    "Responses",
    recordDefaults.maxBytes,
    "total size of stored responses; beyond it, the oldest are dropped",
  ),
  responseTtl: age("Responses", recordDefaults.maxAgeMs, "how long a response is stored"),
  maxBackgroundResponses: count(
    "Responses",
    responsesDefaults.maxBackgroundResponses,
    0,
    "responses that may run in the background; further ones get 429",
  ),
  ...fineTuningOptions,
  logLevel: given("Logs", "info", {
    placeholder: "level",
    parse: oneOf("debug", "info", "warn", "error", "silent"),
    help: "lowest level to log; probes, metrics and what an open page reads are logged at debug",
  }),
  logBufferBytes: size(
    "Logs",
    2 ** 20,
    "bytes of log lines waiting to be written; beyond that, lines are dropped and counted",
  ),
  logFormat: given("Logs", "auto", {
    placeholder: "format",
    parse: oneOf("auto", "json", "text"),
    help: "json: one object per line; text: for humans; auto: text on a terminal, else json",
  }),
  logPrompts: given("Logs", serverDefaults.logPrompts, {
    parse: flag,
    help: "log request bodies, including prompts",
  }),
  maxAdapterLabels: count(
    "Logs",
    serverDefaults.maxAdapterLabels,
    1,
    'adapters with their own label in the metrics; the rest share "other"',
  ),
} as const satisfies OptionTable;

export const serveOptions = { ...engineOptions, ...serviceOptions } as const;

export type ServeSettings = Settings<typeof serveOptions>;

const { model } = engineOptions;
const { toolCallParser, reasoningParser, pooling } = serviceOptions;

/** What each base of a config file's `models` may have for itself. */
export const baseOptions = {
  ...engineOptions,
  ...{ model, toolCallParser, reasoningParser, pooling, onnxFile: serviceOptions.onnxFile },
  servedModelName: open("Server", "the model folder's name", {
    placeholder: "name",
    parse: text,
    help: "name of the base in requests and listings",
  }),
} as const satisfies OptionTable;

/** The settings of one base: what it has for itself, and what the server has for all. */
export type BaseSettings = Omit<ServeSettings, keyof typeof baseOptions> &
  Settings<typeof baseOptions> & { readonly model: string };
