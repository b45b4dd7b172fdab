/** The graphs of an encoder-decoder: what reads the source, what computes the first token, and what computes each further one. */

import { LorikeetError } from "../../base/errors.js";
import { pruneGraph } from "../../graph/prune.js";
import type { Graph } from "../../graph/types.js";
import type { TaskModel } from "./open.js";

export interface EncoderDecoder {
  /** `input_ids` and `attention_mask` to hidden states, its first output. */
  readonly encoder: Graph;
  /** From the hidden states: logits of the token after the start, and keys and values of both attentions. */
  readonly first: Graph;
  /** One more token, from keys and values. Its outputs are the logits and its own keys and values. */
  readonly next: Graph;
  /** Inputs of `next` that keep their values from one token to the next: by name, the output of `first` that has them. */
  readonly fixed: ReadonlyMap<string, string>;
  /** Inputs of `next` that grow by one token: by name, the output of `first` and of `next` that has them. */
  readonly growing: ReadonlyMap<string, string>;
  /** Whether `first` and `next` come from one file, so that equal names mean equal weights. */
  readonly sharesWeights: boolean;
}

const pastPrefix = "past_key_values";
const presentPrefix = "present";
const isPast = (name: string): boolean => name.startsWith(`${pastPrefix}.`);
const isCross = (name: string): boolean => /\.encoder\.(key|value)$/.test(name);

/** Whether a model has an encoder and a decoder. */
export const isEncoderDecoder = ({ opened }: TaskModel): boolean => opened.some(({ role }) => role === "encoder");

/** Throws `model_unsupported` if files or tensors of it are missing. */
export function encoderDecoderOf({ opened }: TaskModel): EncoderDecoder {
  const encoder = opened.find(({ role }) => role === "encoder")?.graphs[0]?.graph;
  const decoders = opened.filter(({ role }) => role !== "encoder").flatMap(({ graphs }) => graphs);
  const takesPast = ({ inputs }: Graph): boolean => inputs.some(({ name }) => isPast(name));
  const first = decoders.find(({ graph }) => !takesPast(graph))?.graph;
  const next = decoders.find(({ graph }) => takesPast(graph))?.graph;
  if (!encoder || !first || !next) {
    const missing = encoder ? (first ? "decoder with keys and values" : "decoder without keys and values") : "encoder";
    const labels = opened.flatMap(({ graphs }) => graphs.map(({ label }) => label));
    const message = `The model has no ${missing} among its graphs (${labels.join(", ")}); export decoder_model and decoder_with_past_model, or decoder_model_merged.`;
    throw new LorikeetError("model_unsupported", message, { found: labels });
  }
  const past = next.inputs.flatMap(({ name }) => (isPast(name) ? [name] : []));
  const presentOf = (name: string): string => name.replace(pastPrefix, presentPrefix);
  const made = new Set(first.outputs.map(({ name }) => name));
  const kept = new Set(next.outputs.map(({ name }) => name));
  for (const name of past) {
    const present = presentOf(name);
    if (!made.has(present)) throw lacks("first graph", `output ${present} for the input ${name}`);
    if (!isCross(name) && !kept.has(present)) throw lacks("graph with keys and values", `output ${present}`);
  }
  if (![made, kept].every((names) => names.has("logits"))) throw lacks("decoder", "output logits");
  const pairs = past.map((name) => [name, presentOf(name)] as const);
  const growing = new Map(pairs.filter(([name]) => !isCross(name)));
  const wanted = new Set(["logits", ...growing.values()]);
  return {
    encoder,
    first,
    next: pruneGraph({ ...next, outputs: next.outputs.filter(({ name }) => wanted.has(name)) }),
    fixed: new Map(pairs.filter(([name]) => isCross(name))),
    growing,
    sharesWeights: opened.some(({ graphs }) =>
      [first, next].every((graph) => graphs.some((each) => each.graph === graph)),
    ),
  };
}

function lacks(which: string, what: string): LorikeetError {
  return new LorikeetError("model_unsupported", `The model's ${which} lacks the ${what}.`, { param: what });
}
