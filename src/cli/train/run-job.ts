/** Runs a training from its header to its report, whatever it trains. */

import { basename, dirname } from "node:path";
import { assert } from "../../base/errors.js";
import type { Progress } from "../../base/log.js";
import type { CardFacts } from "../../train/card/facts.js";
import { quoted } from "../../train/card/text.js";
import { peakBytes } from "../../train/estimate.js";
import { Checkpoints } from "../../train/files/checkpoints.js";
import type { RunRecord } from "../../train/files/record.js";
import type { RunFolder, StartMode } from "../../train/files/run-folder.js";
import { type RunOptions, type RunOutcome, runTraining, type ServedComparison } from "../../train/run.js";
import type { RunSession } from "../../train/run-session.js";
import type { TrainSettings } from "../../train/settings.js";
import { divergedError } from "../../train/trainer.js";
import { remoteServer } from "../adapters/remote.js";
import { tickingLine } from "../progress.js";
import { readClientKey } from "../serve/api-keys.js";
import { type Shutdown, signalExitCode } from "../serve/shutdown.js";
import { printJson, printLine, type Terminal } from "../terminal.js";
import { describeFault, exitCodeOf, Quit, RemoteError } from "../usage.js";
import type { TrainFlags } from "./options.js";
import { formatMetrics, formatResults, trainProgress } from "./report.js";
import { storedOptions } from "./resume.js";
import { formatExpected, formatSamples, type Sample } from "./samples.js";

/** What a run will do, as measured. */
export interface JobPlan {
  /** `out`: where the result goes. */
  header(out: string): string;
  /** What a dry run shows of the data. */
  readonly data: string;
  readonly json: Readonly<Record<string, unknown>>;
}

/** Where a job says something while the run goes on. */
export interface JobScreen {
  readonly progress: Progress;
  /** Prints below the progress. */
  print(text: string): void;
}

/** An opened run. Disposing of it closes everything that was opened for it. */
export interface Job<Batch> extends AsyncDisposable {
  readonly flags: TrainFlags;
  readonly settings: TrainSettings;
  readonly session: RunSession<Batch>;
  readonly record: RunRecord;
  /** Whether the resumed run had ended. */
  readonly isExtended: boolean;
  readonly warnings: readonly string[];
  measure(signal: AbortSignal, progress: Progress): Promise<JobPlan>;
  comparison(screen: JobScreen, signal: AbortSignal): ServedComparison;
  /** Shows what the weights of a step answer; null for models without samples. */
  takeSamples: ((folder: string, step: number, screen: JobScreen, signal: AbortSignal) => Promise<void>) | null;
  /** Texts to try the result with, for its card. */
  examples(): Promise<readonly string[]>;
  /** Answers before and after a finished run. */
  samples(signal: AbortSignal): Promise<readonly Sample[]>;
}

/** Says what an error left of a run, and how to resume it. */
async function savedLine(folder: RunFolder, mode: StartMode, terminal: Terminal): Promise<string> {
  const last = (await Checkpoints.stepsIn(folder.checkpoints)).at(-1);
  const isKept = mode === "resume" || (await folder.recall().catch(() => null)) !== null;
  if (last === undefined && !isKept) return "Nothing was saved: start the run again.";
  const saved = last === undefined ? "No checkpoint was saved yet." : `Everything up to step ${last} is saved.`;
  return `${saved} Resume with: ${resumeLine(folder.outputDir, terminal)}`;
}

export const resumeLine = (out: string, terminal: Terminal): string =>
  `${commandName(terminal)} train --resume --output-dir ${JSON.stringify(out)}`;

/** How the program was called. npx sets npm_command. */
const commandName = ({ environment }: Terminal): string =>
  environment.npm_command === "exec" ? "npx lorikeet" : "lorikeet";

/** Largest acceptable difference between the losses of the training graph and the server, in fp32. */
const mostServedDifference = 1e-4;

/** The stream for human-readable output: stdout, unless that carries JSON. */
const outputOf = ({ flags }: { readonly flags: TrainFlags }, terminal: Terminal) =>
  flags.json ? terminal.stderr : terminal.stdout;

async function measured<Batch>(job: Job<Batch>, signal: AbortSignal, terminal: Terminal): Promise<JobPlan> {
  const line = tickingLine(terminal.stderr);
  return await job.measure(signal, line.report).finally(() => line.end());
}

export async function showPlan<Batch>(job: Job<Batch>, { signal }: Shutdown, terminal: Terminal): Promise<void> {
  const plan = await measured(job, signal, terminal);
  const say = outputOf(job, terminal);
  printLine(say, plan.header(job.flags.outputDir ?? "(dry run)"));
  printWarnings(job, terminal);
  printLine(say, `\n${plan.data}`);
  if (job.flags.json) printJson(terminal.stdout, plan.json);
}

function printWarnings<Batch>({ warnings }: Job<Batch>, { stderr }: Terminal): void {
  for (const warning of warnings) printLine(stderr, `warning: ${warning}`);
}

export async function runJob<Batch>(
  job: Job<Batch>,
  folder: RunFolder,
  mode: StartMode,
  { signal, requested }: Shutdown,
  terminal: Terminal,
): Promise<void> {
  const { session, settings, flags } = job;
  const say = outputOf(job, terminal);
  const plan = await measured(job, signal, terminal);
  printLine(say, `${plan.header(folder.outputDir)}\n`);
  printWarnings(job, terminal);
  await folder.start(mode, storedOptions(flags));
  const progress = trainProgress(terminal.stderr, session.totalSteps, session.unit);
  const line = tickingLine(terminal.stderr);
  const endLines = (): void => {
    progress.end();
    line.end();
  };
  const screen: JobScreen = {
    progress: line.report,
    print(text) {
      endLines();
      printLine(say, text);
    },
  };
  const outcome = await runTraining({
    folder,
    session,
    settings,
    record: job.record,
    comparison: job.comparison(screen, signal),
    card: cardOf(job),
    extends: job.isExtended,
    reportTo: flags.reportTo ?? [],
    ...samplingOf(job, screen, signal),
    signal,
    progress: line.report,
    events: {
      started: ({ step }) => step > 0 && printLine(say, `resuming after step ${step}`),
      step(report) {
        line.end();
        progress.step(report);
      },
      validated({ step, loss, metrics, samples = [], isBest }) {
        const best = isBest ? " (best)" : "";
        screen.print(
          `step ${step}/${session.totalSteps}  validation loss ${loss.toFixed(4)}${formatMetrics(metrics)}${best}`,
        );
        if (samples.length > 0) screen.print(formatExpected(samples));
      },
    },
  })
    .finally(endLines)
    .catch(async (error: unknown) => {
      if (signal.aborted) throw error;
      printLine(terminal.stderr, `lorikeet: ${describeFault(error)}`);
      printLine(terminal.stderr, await savedLine(folder, mode, terminal));
      throw new Quit(exitCodeOf(error));
    });
  if (outcome.end === "interrupted") {
    const name = await requested;
    printLine(
      say,
      `Stopped after step ${outcome.state.step} of ${session.totalSteps}. Resume with: ${resumeLine(folder.outputDir, terminal)}`,
    );
    throw new Quit(signalExitCode(name));
  }
  await report(job, folder, plan, { outcome, samples: await job.samples(signal) }, terminal);
}

/** What the card of a run's result says besides its record. */
function cardOf(job: Pick<Job<never>, "flags" | "examples">): RunOptions<never>["card"] {
  return { ...givenFacts(job), examples: async () => (await job.examples()).map((text) => ({ text })) };
}

/** What a run was given. */
export function givenFacts({ flags }: Pick<Job<never>, "flags">): Omit<CardFacts, "outputDir" | "examples"> {
  const { model, data, description, initFrom } = flags;
  assert(model !== null && data !== null, "a run has a model and data");
  return { model, data, description, initFrom };
}

function samplingOf<Batch>(
  { flags, takeSamples }: Job<Batch>,
  screen: JobScreen,
  signal: AbortSignal,
): Pick<RunOptions<Batch>, "sampling"> {
  const { sampleEvery: every } = flags;
  if (every === null || takeSamples === null) return {};
  return { sampling: { every, take: (folder, step) => takeSamples(folder, step, screen, signal) } };
}

async function report<Batch>(
  job: Job<Batch>,
  folder: RunFolder,
  plan: JobPlan,
  { outcome, samples }: { readonly outcome: RunOutcome; readonly samples: readonly Sample[] },
  terminal: Terminal,
): Promise<void> {
  const { flags } = job;
  const say = outputOf(job, terminal);
  const { results, state } = outcome;
  if (samples.length > 0) printLine(say, `\n${formatSamples(samples)}\n`);
  const check = results?.served_check;
  if (check) {
    const written = results?.written_validation_loss ?? null;
    if (written !== null) printLine(say, `as saved, rounded: validation loss ${written.toFixed(4)}`);
    const difference = check.difference.toExponential(1);
    printLine(
      say,
      `as served with ${check.dtype} weights: loss ${check.served.toFixed(5)} on ${check.rows} rows, ${difference} from training`,
    );
    if (check.dtype === "fp32" && !(check.difference <= mostServedDifference)) {
      const advice = `more than ${mostServedDifference}: please report it, with the model's config.json`;
      printLine(terminal.stderr, `warning: the adapter behaves differently when served than in training (${advice}).`);
    }
  }
  const peak = peakBytes();
  if (results) printLine(say, `\n${formatResults(results, state, folder.outputDir, peak)}`);
  const hasDiverged = outcome.end === "diverged";
  if (!hasDiverged && state.best?.step === 0) {
    const advice = "try a lower --learning-rate, or other data";
    printLine(terminal.stderr, `warning: no validation improved on the one before the first step: ${advice}.`);
  }
  const { publish: url, apiKeyFile } = flags;
  const upload = url === null || hasDiverged ? null : await publish(folder.outputDir, url, apiKeyFile, terminal);
  if (upload?.fault === null) printLine(say, `published as ${basename(folder.outputDir)} on ${flags.publish}`);
  if (!hasDiverged && upload === null && !flags.json) printLine(say, `\n${nextSteps(job, folder.outputDir, terminal)}`);
  if (flags.json) {
    const published = upload?.answer ?? null;
    printJson(terminal.stdout, {
      output_dir: folder.outputDir,
      ...plan.json,
      ...results,
      peak_bytes: peak,
      samples: results?.samples ?? samples,
      published,
    });
  }
  if (hasDiverged) throw divergedError(state, results?.kept_step ?? 0, folder.outputDir);
  if (upload && upload.fault !== null) throw upload.fault;
}

/** How to try what was trained: in a server of its own, or in one that runs. */
function nextSteps(
  { flags: { model }, settings }: Pick<Job<never>, "flags" | "settings">,
  out: string,
  terminal: Terminal,
): string {
  const command = commandName(terminal);
  if (settings.method === "full") return `Try it with: ${command} serve --model ${quoted(out)}`;
  assert(model !== null, "a run has a model");
  const serve = `${command} serve --model ${quoted(model)} --adapters ${quoted(dirname(out))}`;
  return `Try it with: ${serve}\nOr drop the folder ${quoted(out)} on the page of a running server.`;
}

/** The server's reply, or an error that says how to publish later. The result is saved either way. */
async function publish(
  out: string,
  url: string,
  keyFile: string | null,
  terminal: Terminal,
): Promise<{ readonly answer: unknown; readonly fault: Error | null }> {
  const name = basename(out);
  try {
    const server = remoteServer(url, readClientKey(keyFile, terminal.environment));
    return { answer: await server.put(name, out), fault: null };
  } catch (error) {
    if (!(error instanceof RemoteError)) throw error;
    const later = `${commandName(terminal)} adapters add ${JSON.stringify(name)} ${JSON.stringify(out)} --url ${url}`;
    const message = `The adapter is saved but not published: ${error.message} Publish it later with: ${later}`;
    return { answer: null, fault: new RemoteError(message, error.faults) };
  }
}
