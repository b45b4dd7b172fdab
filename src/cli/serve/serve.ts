/** `lorikeet serve`: loads a model, listens, and shuts down in order. */

import type { Command } from "commander";
import type { Logger } from "../../base/log.js";
import { createLogger } from "../log/logging.js";
import { LogQueue } from "../log/queue.js";
import { addOptions, readOptionsAndBases } from "../options/command-line.js";
import { progressLine } from "../progress.js";
import { locateModel } from "../task-model.js";
import { printLine, type Terminal } from "../terminal.js";
import { exitCodes, Quit, UsageError } from "../usage.js";
import { readServerKeys } from "./api-keys.js";
import { formatBanner } from "./banner.js";
import { basesOfFile, basesOfModels } from "./base-settings.js";
import { factsOf, logFieldsOf } from "./facts.js";
import { type Lifetime, watchLifetime } from "./lifetime.js";
import { type BaseSettings, type ServeSettings, serveOptions } from "./options.js";
import { openService, type Service } from "./service.js";

/** Time for connections, engine and store to close after the drain. */
const closeMs = 5_000;

export function addServe(program: Command, terminal: Terminal): void {
  const command = program
    .command("serve")
    .description("load a model and serve requests over HTTP and WebSocket")
    .argument("[models...]", "the model, or several, as --model");
  addOptions(command, serveOptions).action((models: string[]) => {
    const { settings, bases } = readOptionsAndBases(command, serveOptions, terminal.environment);
    const flags = command.getOptionValueSource("model") === "cli" ? settings.model : null;
    if (models.length > 0 && flags !== null && flags.join() !== models.join()) {
      throw new UsageError([`The model is given twice: ${models.join(" ")}, and --model ${flags.join(" --model ")}.`]);
    }
    const asked = models.length > 0 ? models : (flags ?? variableOf(terminal));
    if (bases === null || asked !== null) {
      return serve(
        settings,
        basesOfModels({ ...settings, model: models.length > 0 ? models : settings.model }),
        terminal,
      );
    }
    if (settings.model !== null)
      throw new UsageError([`${bases.filePath} has both "model" and "models"; it may have one.`]);
    return serve(settings, basesOfFile(settings, bases), terminal);
  });
}

/** The models of the environment variable, which overrides the config file; null: it is not set. */
const variableOf = ({ environment }: Terminal): string | null => environment.LORIKEET_MODEL || null;

async function serve(settings: ServeSettings, bases: readonly BaseSettings[], terminal: Terminal): Promise<void> {
  const keys = readServerKeys(settings, terminal.environment);
  const isText = settings.logFormat === "auto" ? terminal.stdout.isTTY === true : settings.logFormat === "text";
  const log = new LogQueue(terminal.stdout, settings.logBufferBytes);
  const logger = createLogger(settings.logLevel, log, { secrets: keys, isText });
  log.onRecovered = (lines) => logger.warn({ lines }, "Log lines were dropped because nobody read them");
  using lifetime = watchLifetime(terminal, logger);
  const progress = progressLine(terminal.stderr);
  const opening = withLocatedModels(bases, terminal)
    .then((located) => openService(settings, located, logger, progress.report, keys))
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

/** The bases with their models' names replaced by folders, or by the ONNX files that are wanted of them. */
async function withLocatedModels(bases: readonly BaseSettings[], terminal: Terminal): Promise<readonly BaseSettings[]> {
  const located: BaseSettings[] = [];
  for (const base of bases) {
    const { model, onnxFile } = base;
    located.push({ ...base, model: await locateModel(model, terminal, { onnxFile }) });
  }
  return located;
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
  const watches = service.stacks.map(({ device }) => device.onLost((error) => lifetime.lose(error)));
  const port = service.open();
  const facts = await factsOf(settings, service, { port, keys: keyCount });
  printLine(terminal.stderr, formatBanner(facts));
  logger.info({ ...facts.server, ...logFieldsOf(facts) }, "listening");
  const cause = await lifetime.end;
  lifetime.endWithin(settings.drainTimeout + closeMs);
  logger.info({ cause, graceMs: settings.drainTimeout }, "draining");
  await Promise.all([service.server.drain(settings.drainTimeout, lifetime.loss ?? undefined), service.stopJobs()]);
  for (const stop of watches) stop();
}
