/** The banner of a server at startup. The same facts go into the log as fields. */

import { isLoopback } from "../../server/access/loopback.js";
import { type DeviceFacts, formatDevice } from "../device.js";
import { formatBytes, formatCount } from "../options/units.js";
import { formatFields } from "../table.js";

/** What the banner of every model says. */
export interface ServerFacts {
  readonly version: string;
  /** null: no adapters folder. */
  readonly adapters: {
    readonly folder: string;
    readonly found: readonly string[];
    readonly refused: readonly { readonly name: string; readonly reasons: readonly string[] }[];
  } | null;
  /** Further remarks, one sentence each. */
  readonly notes: readonly string[];
  readonly host: string;
  readonly port: number;
  /** Number of API keys; 0: anyone can use the server. */
  readonly keys: number;
}

export interface BannerFacts extends ServerFacts {
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
}

/** Of a task model. */
export interface TaskBannerFacts extends ServerFacts {
  readonly model: {
    readonly name: string;
    readonly folder: string;
    readonly task: string;
    readonly architecture: string | null;
    readonly file: string;
    readonly inputs: readonly string[];
    readonly outputs: readonly string[];
  };
  readonly threads: number;
  /** Rows of one run; null: requests run one at a time. */
  readonly maxBatch: number | null;
}

/** Of an encoder-decoder. */
export interface Seq2SeqBannerFacts extends ServerFacts {
  readonly model: {
    readonly name: string;
    readonly folder: string;
    readonly task: string;
    readonly architecture: string | null;
    readonly files: readonly string[];
  };
  readonly threads: number;
  readonly slots: {
    readonly count: number;
    readonly source: number;
    readonly generated: number;
    readonly kvBytes: number;
  };
}

const mostNames = 12;

export function formatBanner(facts: BannerFacts): string {
  const { model, weights, slots } = facts;
  const lines: [string, string][] = [
    ["model", `${model.name} (${model.family}, ${formatCount(model.parameters)} parameters) from ${model.directory}`],
    [
      "weights",
      `${weights.dtype}, head ${weights.headDtype} (${weights.why}), ${formatBytes(weights.residentBytes)} resident`,
    ],
    ["device", `${formatDevice(facts.device)}, ${plural(facts.threads, "thread")} (${facts.device.why})`],
    [
      "slots",
      `${slots.count} of ${slots.context.toLocaleString("en-US")} tokens, KV cache ${formatBytes(slots.kvBytes)} when full`,
    ],
    ...serverLines(facts),
  ];
  return `Lorikeet ${facts.version}\n${formatFields(lines)}`;
}

export function formatTaskBanner(facts: TaskBannerFacts): string {
  const { model, threads, maxBatch } = facts;
  const what = [model.task, ...(model.architecture === null ? [] : [model.architecture])].join(", ");
  const lines: [string, string][] = [
    ["model", `${model.name} (${what}) from ${model.folder}, ${model.file}`],
    ["inputs", model.inputs.join(", ")],
    ["outputs", model.outputs.join(", ")],
    ["device", `cpu, ${plural(threads, "thread")}`],
    ["batch", maxBatch === null ? "one request at a time" : `up to ${plural(maxBatch, "row")} of one shape`],
    ...serverLines(facts),
  ];
  return `Lorikeet ${facts.version}\n${formatFields(lines)}`;
}

export function formatSeq2SeqBanner(facts: Seq2SeqBannerFacts): string {
  const { model, threads, slots } = facts;
  const what = [model.task, ...(model.architecture === null ? [] : [model.architecture])].join(", ");
  const lines: [string, string][] = [
    ["model", `${model.name} (${what}) from ${model.folder}, ${model.files.join(", ")}`],
    ["device", `cpu, ${plural(threads, "thread")}`],
    [
      "slots",
      `${slots.count} of ${slots.source} source and ${slots.generated} generated tokens, keys and values ${formatBytes(slots.kvBytes)} when full`,
    ],
    ...serverLines(facts),
  ];
  return `Lorikeet ${facts.version}\n${formatFields(lines)}`;
}

function serverLines(facts: ServerFacts): [string, string][] {
  return [
    ...adapterLines(facts.adapters),
    ...facts.notes.map((note): [string, string] => ["note", note]),
    ["address", `${addressOf(facts.host, facts.port)}${reachNote(facts)}`],
  ];
}

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
  const { found, refused, folder } = adapters;
  const shown = found.slice(0, mostNames).join(", ");
  const rest = found.length > mostNames ? ` and ${found.length - mostNames} more` : "";
  return [
    ["adapters", `${found.length} found in ${folder}${found.length > 0 ? `: ${shown}${rest}` : ""}`],
    ...refused.map(({ name, reasons }): [string, string] => ["refused", `${name}: ${reasons.join("; ")}`]),
  ];
}

function plural(count: number, noun: string): string {
  return `${count} ${noun}${count === 1 ? "" : "s"}`;
}
