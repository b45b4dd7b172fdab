/** The banner of a server at startup. The same facts go into the log as fields. */

import { isLoopback } from "../../server/access/loopback.js";
import { type DeviceFacts, formatDevice } from "../device.js";
import { formatBytes, formatCount } from "../options/units.js";
import { formatFields } from "../table.js";
import type { MemoryPlan } from "./memory-plan.js";

/** What a banner says of the server. */
export interface ServerFacts {
  readonly version: string;
  readonly host: string;
  readonly port: number;
  /** Number of API keys; 0: anyone can use the server. */
  readonly keys: number;
  /** null: no adapters folder, and no base brings adapters along. */
  readonly adapters: {
    /** null: only adapters of the bases themselves. */
    readonly folder: string | null;
    readonly found: readonly string[];
    /** How many of them the models brought along. */
    readonly brought: number;
    readonly refused: readonly { readonly name: string; readonly reasons: readonly string[] }[];
  } | null;
}

export interface DecoderFacts {
  readonly kind: "decoder";
  readonly model: {
    readonly name: string;
    readonly directory: string;
    readonly family: string;
    readonly parameters: number;
  };
  readonly weights: {
    readonly dtype: string;
    readonly headDtype: string;
    readonly why: string;
    readonly residentBytes: number;
  };
  readonly device: DeviceFacts;
  readonly threads: number;
  readonly slots: { readonly count: number; readonly context: number; readonly kvBytes: number };
  /** Further remarks, one sentence each. */
  readonly notes: readonly string[];
}

export interface TaskFacts {
  readonly kind: "task";
  readonly model: {
    readonly name: string;
    readonly folder: string;
    readonly task: string;
    readonly architecture: string | null;
    readonly file: string;
    readonly inputs: readonly string[];
    readonly outputs: readonly string[];
  };
  readonly device: DeviceFacts;
  readonly threads: number;
  /** Rows of one run; null: requests run one at a time. */
  readonly maxBatch: number | null;
  readonly notes: readonly string[];
}

export interface Seq2SeqFacts {
  readonly kind: "seq2seq";
  readonly model: {
    readonly name: string;
    readonly folder: string;
    readonly task: string;
    readonly architecture: string | null;
    readonly files: readonly string[];
  };
  readonly device: DeviceFacts;
  readonly threads: number;
  readonly slots: {
    readonly count: number;
    readonly source: number;
    readonly generated: number;
    readonly kvBytes: number;
  };
  readonly notes: readonly string[];
}

export type BaseFacts = DecoderFacts | TaskFacts | Seq2SeqFacts;

export interface BannerFacts {
  readonly server: ServerFacts;
  readonly bases: readonly BaseFacts[];
  /** Of several bases; null for one. */
  readonly memory: MemoryPlan | null;
  /** Node.js's pool. A base holds one of them while it computes, and files are read on them. */
  readonly poolThreads: number;
}

type Line = [label: string, value: string];

const mostNames = 12;

export function formatBanner({ server, bases, memory, poolThreads }: BannerFacts): string {
  const lines = [
    ...bases.flatMap(linesOf),
    ...(memory === null ? [] : sharedLines(memory, bases)),
    ...(memory === null || bases.length < poolThreads ? [] : [poolLine(bases.length, poolThreads)]),
    ...adapterLines(server.adapters),
    ...bases.flatMap(({ model, notes }) => notes.map((note) => noteLine(note, bases.length > 1 ? model.name : null))),
    ["address", `${addressOf(server.host, server.port)}${reachNote(server)}`] satisfies Line,
  ];
  return `Lorikeet ${server.version}\n${formatFields(lines)}`;
}

function linesOf(base: BaseFacts): Line[] {
  switch (base.kind) {
    case "decoder":
      return decoderLines(base);
    case "task":
      return taskLines(base);
    case "seq2seq":
      return seq2seqLines(base);
  }
}

function decoderLines({ model, weights, device, threads, slots }: DecoderFacts): Line[] {
  return [
    ["model", `${model.name} (${model.family}, ${formatCount(model.parameters)} parameters) from ${model.directory}`],
    [
      "weights",
      `${weights.dtype}, head ${weights.headDtype} (${weights.why}), ${formatBytes(weights.residentBytes)} resident`,
    ],
    deviceLine(device, threads),
    [
      "slots",
      `${slots.count} of ${slots.context.toLocaleString("en-US")} tokens, KV cache ${formatBytes(slots.kvBytes)} when full`,
    ],
  ];
}

function taskLines({ model, device, threads, maxBatch }: TaskFacts): Line[] {
  const what = [model.task, ...(model.architecture === null ? [] : [model.architecture])].join(", ");
  return [
    ["model", `${model.name} (${what}) from ${model.folder}, ${model.file}`],
    ["inputs", model.inputs.join(", ")],
    ["outputs", model.outputs.join(", ")],
    deviceLine(device, threads),
    ["batch", maxBatch === null ? "one request at a time" : `up to ${plural(maxBatch, "row")} of one shape`],
  ];
}

function seq2seqLines({ model, device, threads, slots }: Seq2SeqFacts): Line[] {
  const what = [model.task, ...(model.architecture === null ? [] : [model.architecture])].join(", ");
  return [
    ["model", `${model.name} (${what}) from ${model.folder}, ${model.files.join(", ")}`],
    deviceLine(device, threads),
    [
      "slots",
      `${slots.count} of ${slots.source} source and ${slots.generated} generated tokens, keys and values ${formatBytes(slots.kvBytes)} when full`,
    ],
  ];
}

const deviceLine = (device: DeviceFacts, threads: number): Line => [
  "device",
  `${formatDevice(device)}, ${plural(threads, "thread")} (${device.why})`,
];

/** What bases share: memory that all of them plan to use, and the CPUs. */
function sharedLines({ memoryBytes, weightBytes, shares }: MemoryPlan, bases: readonly BaseFacts[]): Line[] {
  const total = (sizes: readonly number[]): string => formatBytes(sizes.reduce((sum, size) => sum + size, 0));
  const caches = total(bases.map((base) => (base.kind === "task" ? 0 : base.slots.kvBytes)));
  const [kept, active] = [
    total(shares.map((share) => share.cacheBytes)),
    total(shares.map((share) => share.activeBytes)),
  ];
  return [
    [
      "memory",
      `${formatBytes(weightBytes)} of weights, ${caches} of KV caches, up to ${kept} of cached and ${active} of active adapters, of ${formatBytes(memoryBytes)}`,
    ],
    ["sharing", "each base may use all its threads at once; bases that compute at the same time share the CPUs"],
  ];
}

const poolLine = (bases: number, poolThreads: number): Line => [
  "sharing",
  `bases compute on Node.js's ${poolThreads} pool threads, which also read files: start with UV_THREADPOOL_SIZE=${bases + 4}`,
];

const noteLine = (note: string, base: string | null): Line => ["note", base === null ? note : `${base}: ${note}`];

/** `http://127.0.0.1:8080`; an IPv6 address in brackets. */
export function addressOf(host: string, port: number): string {
  return `http://${host.includes(":") ? `[${host}]` : host}:${port}`;
}

function reachNote({ host, keys }: ServerFacts): string {
  const who = keys === 0 ? "without keys" : `with ${plural(keys, "key")}`;
  if (isLoopback(host)) return ` (listening on loopback only, ${who}; use --host 0.0.0.0 to open it to the network)`;
  return keys === 0
    ? " (open to the network, without keys: anyone who can reach it can use it)"
    : ` (open to the network, ${who})`;
}

function adapterLines(adapters: ServerFacts["adapters"]): [string, string][] {
  if (adapters === null) return [["adapters", "none (set a folder with --adapters <folder>)"]];
  const { found, brought, refused, folder } = adapters;
  const shown = found.slice(0, mostNames).join(", ");
  const rest = found.length > mostNames ? ` and ${found.length - mostNames} more` : "";
  return [
    ["adapters", `${placesOf(found.length - brought, brought, folder)}${found.length > 0 ? `: ${shown}${rest}` : ""}`],
    ...refused.map(({ name, reasons }): [string, string] => ["refused", `${name}: ${reasons.join("; ")}`]),
  ];
}

function placesOf(placed: number, brought: number, folder: string | null): string {
  if (folder === null) return `${brought} found with the models (set a folder for others with --adapters <folder>)`;
  return `${placed} found in ${folder}${brought > 0 ? ` and ${brought} with the models` : ""}`;
}

function plural(count: number, noun: string): string {
  return `${count} ${noun}${count === 1 ? "" : "s"}`;
}
