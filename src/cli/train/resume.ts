/** The options of a resumed run: those that it began with, except the few that may change. */

import type { Command } from "commander";
import { readRecord } from "../../train/files/record.js";
import { RunFolder } from "../../train/files/run-folder.js";
import { readOptions } from "../options/command-line.js";
import { formerNames } from "../options/former-names.js";
import { flagName } from "../options/names.js";
import { resolveSettings } from "../options/settings.js";
import { UsageError } from "../usage.js";
import { withPresentNames } from "./former-run.js";
import { type TrainFlags, trainOptions } from "./options.js";

/** May change on `--resume`, since they do not affect the steps already done. */
const free: readonly string[] = [
  "resume",
  "outputDir",
  "description",
  "device",
  "threads",
  "cacheDir",
  "maxTime",
  "saveTotalLimit",
  "reportTo",
  "sampleEvery",
  "tokenAccuracy",
  "loadBestModelAtEnd",
  "maxSteps",
  "epochs",
  "publish",
  "apiKeyFile",
  "json",
  "config",
];

/** The options of a command line, or with `--resume` those of the run that it continues. Throws a UsageError. */
export async function readTrainOptions(
  command: Command,
  environment: Readonly<Record<string, string | undefined>>,
): Promise<TrainFlags> {
  const flags: Readonly<Record<string, unknown>> = command.opts();
  if (flags.resume !== true) return readOptions(command, trainOptions, environment);
  const { outputDir } = flags;
  if (typeof outputDir !== "string") {
    throw new UsageError(["--resume needs --output-dir <folder>: the folder of the run to continue."]);
  }
  const folder = new RunFolder(outputDir);
  const unfinished = await folder.recall();
  const found = unfinished ?? (await optionsOfResult(outputDir));
  if (!found) throw new UsageError([`There is no run to continue in ${outputDir}, neither unfinished nor finished.`]);
  const record = await readRecord(unfinished ? folder.path : outputDir);
  const stored = withPresentNames(found, record, commandLineOf(command));
  if (!unfinished) requirePlaces(flags);
  const file = withoutSteps(stored, flags);
  const before = resolveSettings(trainOptions, { flags: {}, environment: {}, file: stored, filePath: "the run" });
  const now = resolveSettings(trainOptions, { flags, environment: {}, file, filePath: "the run" });
  const [was, is] = [storedOptions(before), storedOptions(now)];
  const fixed = Object.keys(trainOptions).filter(
    (name) => !free.includes(name) && (unfinished || !unrecorded.includes(name)),
  );
  const changed = fixed.filter((name) => was[flagName(name)] !== is[flagName(name)]);
  if (changed.length > 0) {
    throw new UsageError(
      changed.map((name) => {
        const key = flagName(name);
        const began = was[key] === undefined ? "not set" : JSON.stringify(was[key]);
        return `--${key} was ${began} when this run began and cannot change.`;
      }),
    );
  }
  return now;
}

type Stored = Readonly<Record<string, unknown>>;

/** Paths that a finished run does not record. It records digests of their contents instead. */
const unrecorded: readonly string[] = ["model", "onnxFile", "data", "initFrom", "chatTemplate", "dataDigest"];

function requirePlaces(flags: Stored): void {
  const missing = ["model", "data"].filter((name) => flags[name] === undefined).map((name) => `--${name}`);
  if (missing.length === 0) return;
  const given = missing.join(" and ");
  throw new UsageError([
    `The run into ${String(flags.outputDir)} has finished, and its result does not record the paths of model and data: give ${given} again.`,
  ]);
}

/** `--epochs` alone overrides the number of steps that the run began with. */
function withoutSteps(stored: Stored, flags: Stored): Stored {
  if (flags.epochs === undefined || flags.maxSteps !== undefined) return stored;
  const { "max-steps": _, ...others } = stored;
  return others;
}

const isOption = (name: string): boolean => name in trainOptions || name in formerNames;

/** What the command line gave, by flag name. */
const commandLineOf = (command: Command): Stored =>
  Object.fromEntries(Object.entries(command.opts()).map(([name, value]) => [flagName(name), value]));

/** The options that the record of a finished run holds, by flag name; null without a record. */
async function optionsOfResult(out: string): Promise<Stored | null> {
  const settings = (await readRecord(out))?.settings;
  if (!settings) return null;
  const known = Object.entries(settings).filter(([name, value]) => isOption(name) && value !== null);
  return Object.fromEntries(known.map(([name, value]) => [flagName(name), value]));
}

/** Options as a config file holds them, without unset ones and those that concern one call only. */
export function storedOptions(flags: TrainFlags): Record<string, string | number | boolean> {
  const stored: Record<string, string | number | boolean> = {};
  for (const [name, value] of Object.entries(flags)) {
    if (value === null || ["device", "resume", "overwrite", "dryRun", "json"].includes(name)) continue;
    if (name === "maxTime") stored[flagName(name)] = `${String(value)}ms`;
    else if (Array.isArray(value)) stored[flagName(name)] = value.join(",");
    else if (typeof value === "string" || typeof value === "number" || typeof value === "boolean") {
      stored[flagName(name)] = value;
    }
  }
  return stored;
}
