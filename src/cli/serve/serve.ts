/** `lorikeet serve`: loads a model, listens, and shuts down in order. */

import type { Command } from "commander";
import type { Logger } from "../../base/log.js";
import type { SelfTest } from "../../engine/self-test.js";
import type { TaskPort } from "../../engine/task/types.js";
import { createLogger } from "../log/logging.js";
import { LogQueue } from "../log/queue.js";
import { addOptions, readOptions } from "../options/command-line.js";
import { progressLine } from "../progress.js";
import type { Seq2SeqStack } from "../seq2seq-stack.js";
import type { Stack } from "../stack.js";
import { locateModel } from "../task-model.js";
import type { TaskStack } from "../task-stack.js";
import { printLine, type Terminal } from "../terminal.js";
import { noTokenizerNote } from "../tokenizer-note.js";
import { exitCodes, Quit, UsageError } from "../usage.js";
import { readVersion } from "../version.js";
import { readServerKeys } from "./api-keys.js";
import {
  type BannerFacts,
  formatBanner,
  formatSeq2SeqBanner,
  formatTaskBanner,
  type Seq2SeqBannerFacts,
  type TaskBannerFacts,
} from "./banner.js";
import { type Lifetime, watchLifetime } from "./lifetime.js";
import { type ServeSettings, serveOptions } from "./options.js";
import { type AnyStack, isDecoderStack, isTaskStack, openService, type Service } from "./service.js";

/** Time for connections, engine and store to close after the drain. */
const closeMs = 5_000;

export function addServe(program: Command, terminal: Terminal): void {
  const command = program
    .command("serve")
    .description("load a model and serve requests over HTTP and WebSocket")
    .argument("[model]", "the model, as --model");
  addOptions(command, serveOptions).action((model: string | undefined) => {
    const settings = readOptions(command, serveOptions, terminal.environment);
    if (model !== undefined && command.getOptionValueSource("model") === "cli" && settings.model !== model) {
      throw new UsageError([`The model is given twice: ${model}, and --model ${settings.model}.`]);
    }
    return serve({ ...settings, model: model ?? settings.model }, terminal);
  });
}

async function serve(settings: ServeSettings, terminal: Terminal): Promise<void> {
  const keys = readServerKeys(settings, terminal.environment);
  const isText = settings.logFormat === "auto" ? terminal.stdout.isTTY === true : settings.logFormat === "text";
  const log = new LogQueue(terminal.stdout, settings.logBufferBytes);
  const logger = createLogger(settings.logLevel, log, { secrets: keys, isText });
  log.onRecovered = (lines) => logger.warn({ lines }, "Log lines were dropped because nobody read them");
  using lifetime = watchLifetime(terminal, logger);
  const progress = progressLine(terminal.stderr);
  const opening = withLocatedModel(settings, terminal)
    .then((located) => openService(located, logger, progress.report, keys))
    .finally(() => progress.end());
  const service = await Promise.race([opening, lifetime.end.then(() => null)]);
  if (service === null) {
    // Loading cannot be cancelled, and nothing needs its result.
    logger.info({}, "stopped while loading the model");
    terminal.exitNow(lifetime.exitCode);
    return;
  }
  service.metrics.watchLog(() => log.dropped);
  await serveUntilEnd(settings, keys.length, service, lifetime, terminal, logger);
  logger.info({}, "stopped");
  if (lifetime.exitCode !== exitCodes.ok) throw new Quit(lifetime.exitCode);
}

/** The settings with the model's name replaced by its folder. */
async function withLocatedModel(settings: ServeSettings, terminal: Terminal): Promise<ServeSettings> {
  if (settings.model === null) return settings;
  return { ...settings, model: await locateModel(settings.model, terminal) };
}

async function serveUntilEnd(
  settings: ServeSettings,
  keyCount: number,
  opened: Service,
  lifetime: Lifetime,
  terminal: Terminal,
  logger: Logger,
): Promise<void> {
  await using service = opened;
  const { stack } = service;
  const stopWatching = isDecoderStack(stack) ? stack.device.onLost((error) => lifetime.lose(error)) : () => {};
  const port = service.open();
  const server = { version: readVersion(), host: settings.host, port, keys: keyCount };
  if (isTaskStack(stack)) {
    const facts = { ...server, ...taskFactsOf(settings, stack) };
    printLine(terminal.stderr, formatTaskBanner(facts));
    logger.info({ ...facts }, "listening");
  } else if (!isDecoderStack(stack)) {
    const facts = { ...server, ...(await seq2seqFactsOf(settings, stack)) };
    printLine(terminal.stderr, formatSeq2SeqBanner(facts));
    logger.info({ ...facts }, "listening");
  } else {
    const facts = { ...server, ...(await factsOf(settings, stack)) };
    printLine(terminal.stderr, formatBanner(facts));
    logger.info({ ...facts }, "listening");
  }
  const cause = await lifetime.end;
  lifetime.endWithin(settings.drainTimeout + closeMs);
  logger.info({ cause, graceMs: settings.drainTimeout }, "draining");
  await Promise.all([service.server.drain(settings.drainTimeout, lifetime.loss ?? undefined), service.stopJobs()]);
  stopWatching();
}

type ServerSettings = "version" | "host" | "port" | "keys";

async function factsOf(settings: ServeSettings, stack: Stack): Promise<Omit<BannerFacts, ServerSettings>> {
  const { checkpoint, precision, started } = stack;
  const { limits } = started.engine;
  return {
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
    adapters: adaptersOf(settings, stack),
    notes: [...selfTestNotes(started.selfTest, settings, precision.dtype), ...(await textNotes(stack))],
  };
}

function taskFactsOf(settings: ServeSettings, stack: TaskStack): Omit<TaskBannerFacts, ServerSettings> {
  const { name, model, started, threads } = stack;
  const { signature, limits } = started.engine;
  const { reason } = started.probe;
  const shown = ({ name: port, type, shape }: TaskPort): string =>
    `${port} (${type} ${shape ? `[${shape.join(", ")}]` : "of any shape"})`;
  return {
    model: {
      ...{ name, folder: model.folder, task: model.task, architecture: model.architecture },
      file: model.opened.map(({ label }) => label).join(", "),
      inputs: signature.inputs.map(shown),
      outputs: signature.outputs.map(shown),
    },
    threads,
    maxBatch: signature.isBatched ? limits.maxBatch : null,
    adapters: adaptersOf(settings, stack),
    notes: [
      ...(reason === null ? [] : [`requests run one at a time: ${reason}`]),
      ...(started.rowsIndependent === false
        ? ["on this CPU, the last bits of results depend on what else is in the batch (found by the self-test)"]
        : []),
    ],
  };
}

async function seq2seqFactsOf(
  settings: ServeSettings,
  stack: Seq2SeqStack,
): Promise<Omit<Seq2SeqBannerFacts, ServerSettings>> {
  const { name, model, rules, started, threads, tokenizer } = stack;
  const { maxBatch, maxContext, maxGenerated = 0 } = started.engine.limits;
  return {
    model: {
      ...{ name, folder: model.folder, task: model.task, architecture: model.architecture },
      files: model.opened.map(({ label }) => label),
    },
    threads,
    slots: { count: maxBatch, source: maxContext, generated: maxGenerated, kvBytes: started.kvBytes },
    adapters: adaptersOf(settings, stack),
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

function adaptersOf(
  { adapters: folder }: ServeSettings,
  { adapters }: Pick<AnyStack, "adapters">,
): BannerFacts["adapters"] {
  if (folder === null || adapters === null) return null;
  const refused = adapters.store.refused().map(({ name, error }) => ({ name, reasons: [error.message] }));
  return { folder, found: adapters.store.list().map(({ name }) => name), refused };
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
