/** What the banner and the log say of a service: each base, and the server that they share. */

import type { SelfTest } from "../../engine/self-test.js";
import type { TaskPort } from "../../engine/task/types.js";
import type { Seq2SeqStack } from "../seq2seq-stack.js";
import type { Stack } from "../stack.js";
import type { TaskStack } from "../task-stack.js";
import { headNotes, noTokenizerNote } from "../tokenizer-note.js";
import { readVersion } from "../version.js";
import type { BannerFacts, BaseFacts, DecoderFacts, Seq2SeqFacts, ServerFacts, TaskFacts } from "./banner.js";
import { isDecoderStack, isTaskStack } from "./opened-bases.js";
import type { ServeSettings } from "./options.js";
import type { Service } from "./service.js";

/** What banner and log say of a service that listens. */
export async function factsOf(
  settings: ServeSettings,
  { stacks, memory }: Service,
  listening: Pick<ServerFacts, "port" | "keys">,
): Promise<BannerFacts> {
  const bases = await Promise.all(
    stacks.map((stack): BaseFacts | Promise<BaseFacts> => {
      if (isDecoderStack(stack)) return decoderFactsOf(settings, stack);
      return isTaskStack(stack) ? taskFactsOf(stack) : seq2seqFactsOf(stack);
    }),
  );
  const server = { version: readVersion(), host: settings.host, ...listening, adapters: adaptersOf(settings, stacks) };
  return { server, bases, memory, poolThreads: Number(process.env.UV_THREADPOOL_SIZE) || usualPoolThreads };
}

/** libuv's default. */
const usualPoolThreads = 4;

/** A base's own facts as fields, or the list of all. */
export function logFieldsOf({ bases, memory }: BannerFacts): object {
  const [only, ...others] = bases.map(({ kind: _, ...facts }) => facts);
  return others.length === 0 ? { ...only } : { bases: [only, ...others], memory };
}

async function decoderFactsOf(settings: ServeSettings, stack: Stack): Promise<DecoderFacts> {
  const { checkpoint, precision, started } = stack;
  const { limits } = started.engine;
  return {
    kind: "decoder",
    model: {
      name: stack.name,
      directory: checkpoint.directory,
      family: checkpoint.config.family,
      parameters: checkpoint.parameterCount,
    },
    weights: {
      dtype: precision.dtype,
      headDtype: precision.headDtype,
      why: precision.why,
      residentBytes: started.weightBytes,
    },
    device: stack.deviceFacts,
    threads: stack.threads,
    slots: { count: limits.maxBatch, context: limits.maxContext, kvBytes: started.kvBytes },
    notes: [...selfTestNotes(started.selfTest, settings, precision.dtype), ...(await textNotes(stack))],
  };
}

function taskFactsOf({ name, model, head, started, deviceFacts, threads }: TaskStack): TaskFacts {
  const { signature, limits } = started.engine;
  const { reason } = started.probe;
  const shown = ({ name: port, type, shape }: TaskPort): string =>
    `${port} (${type} ${shape ? `[${shape.join(", ")}]` : "of any shape"})`;
  return {
    kind: "task",
    model: {
      ...{ name, folder: model.folder, task: model.task, architecture: model.architecture },
      file: model.opened.map(({ label }) => label).join(", "),
      inputs: signature.inputs.map(shown),
      outputs: signature.outputs.map(shown),
    },
    device: deviceFacts,
    threads,
    maxBatch: signature.isBatched ? limits.maxBatch : null,
    notes: [
      ...headNotes(model, head),
      ...(reason === null ? [] : [`requests run one at a time: ${reason}`]),
      ...(started.rowsIndependent === false
        ? [
            `on this ${deviceFacts.kind === "cpu" ? "CPU" : "card"}, the last bits of results depend on what else is in the batch (found by the self-test)`,
          ]
        : []),
    ],
  };
}

async function seq2seqFactsOf(stack: Seq2SeqStack): Promise<Seq2SeqFacts> {
  const { name, model, rules, started, deviceFacts, threads, tokenizer } = stack;
  const { maxBatch, maxContext, maxGenerated = 0 } = started.engine.limits;
  return {
    kind: "seq2seq",
    model: {
      ...{ name, folder: model.folder, task: model.task, architecture: model.architecture },
      files: model.opened.map(({ label }) => label),
    },
    device: deviceFacts,
    threads,
    slots: { count: maxBatch, source: maxContext, generated: maxGenerated, kvBytes: started.kvBytes },
    notes: [
      ...(tokenizer === null ? [await noTokenizerNote(model.folder)] : []),
      ...(rules.ignored.length === 0
        ? []
        : [`generation_config.json's ${rules.ignored.join(", ")} are not applied: answers are greedy unless sampled`]),
      ...(started.reason === null ? [] : [`sequences run one at a time: ${started.reason}`]),
      ...(started.isRagged || started.reason !== null
        ? []
        : ["only rows whose texts have the same length run together: the decoder's attention is not of a known form"]),
      ...(started.rowsIndependent === false
        ? ["on this CPU, the last bits of results depend on what else is in the batch (found by the self-test)"]
        : []),
    ],
  };
}

/** The names of several bases' adapters are followed by their base. */
function adaptersOf({ adapters: folder }: ServeSettings, stacks: Service["stacks"]): ServerFacts["adapters"] {
  const store = stacks[0].adapters?.store;
  if (store === undefined) return null;
  const all = store.list();
  const refused = store.refused().map(({ name, error }) => ({ name, reasons: [error.message] }));
  const found = all.map(({ name, base }) => (stacks.length === 1 ? name : `${name} (${base})`));
  return { folder, found, brought: all.filter(({ source }) => source === "base").length, refused };
}

/** Findings of the self-test at startup that users should know about. */
function selfTestNotes(found: SelfTest, settings: ServeSettings, dtype: string): string[] {
  if (found.rowsIndependent && found.chunksEqual) return [];
  if (dtype !== "fp32" && !settings.exact) {
    return [
      "log-probabilities may differ by up to 0.05 (as measured) depending on what else is in the batch; --exact prevents this",
    ];
  }
  const what = found.rowsIndependent ? "how a prompt is split into chunks" : "what else is in the batch";
  return [`on this CPU, the last bits of results depend on ${what} (found by the self-test)`];
}

async function textNotes({ tokenizer, checkpoint }: Stack): Promise<string[]> {
  if (tokenizer === null) return [await noTokenizerNote(checkpoint.directory)];
  if (tokenizer.chatTemplate === null)
    return ["the model has no chat template: /v1/chat/completions needs --chat-template"];
  if (tokenizer.templateFault) return [`chats are rejected, completions work: ${tokenizer.templateFault.message}`];
  return [];
}
