/** The options of a run that resumes: those it was begun with. Says which others may change. */

import type { Command } from "commander";
import { readRecord } from "../../train/files/record.js";
import { RunFolder } from "../../train/files/run-folder.js";
import { readOptions } from "../options/command-line.js";
import { flagName } from "../options/options.js";
import { resolveSettings } from "../options/settings.js";
import { UsageError } from "../usage.js";
import { type TrainFlags, trainConfigKeys, trainOptions } from "./options.js";

/** What may be given anew on `--resume`: it changes nothing that was learned so far. */
const free: readonly string[] = [
  "resume",
  "out",
  "threads",
  "cacheDir",
  "maxTime",
  "keep",
  "reportTo",
  "sampleEvery",
  "loadBestModelAtEnd",
  "steps",
  "epochs",
  "publish",
  "apiKeyFile",
  "json",
  "config",
];

/** The options of a command line, or with `--resume` of the run that it goes on with. Throws a UsageError. */
export async function readTrainOptions(
  command: Command,
  environment: Readonly<Record<string, string | undefined>>,
): Promise<TrainFlags> {
  const flags: Readonly<Record<string, unknown>> = command.opts();
  if (flags.resume !== true) return readOptions(command, trainOptions, environment, trainConfigKeys);
  if (typeof flags.out !== "string")
    throw new UsageError(["--resume needs --out <folder>, the run or the result to go on with."]);
  const unfinished = await new RunFolder(flags.out).recall();
  const stored = unfinished ?? (await optionsOfResult(flags.out));
  if (!stored)
    throw new UsageError([`There is neither an unfinished run into ${flags.out} nor a result to go on with.`]);
  if (!unfinished) requirePlaces(flags);
  const file = withoutSteps(stored, flags);
  const before = resolveSettings(trainOptions, { flags: {}, environment: {}, file: stored, filePath: "the run" });
  const now = resolveSettings(trainOptions, { flags, environment: {}, file, filePath: "the run" });
  const [was, is] = [storedOptions(before), storedOptions(now)];
  const fixed = Object.keys(trainOptions).filter(
    (name) => !free.includes(name) && (unfinished || !untold.includes(name)),
  );
  const changed = fixed.filter((name) => was[flagName(name)] !== is[flagName(name)]);
  if (changed.length > 0) {
    throw new UsageError(
      changed.map((name) => {
        const key = flagName(name);
        const began = was[key] === undefined ? "its default" : JSON.stringify(was[key]);
        return `--${key} was ${began} when this run began and cannot be another now.`;
      }),
    );
  }
  return now;
}

type Stored = Readonly<Record<string, unknown>>;

/** What a result does not tell: where things lay. Its record holds their digests. */
const untold: readonly string[] = ["model", "data", "initFrom", "chatTemplate", "dataDigest"];

function requirePlaces(flags: Stored): void {
  const missing = ["model", "data"].filter((name) => flags[name] === undefined).map((name) => `--${name}`);
  if (missing.length === 0) return;
  const given = missing.join(" and ");
  throw new UsageError([
    `The run into ${String(flags.out)} has finished, and a result does not tell where its model and data lay: give ${given} again.`,
  ]);
}

/** `--epochs` alone counts over the number of steps that the run began with. */
function withoutSteps(stored: Stored, flags: Stored): Stored {
  if (flags.epochs === undefined || flags.steps !== undefined) return stored;
  const { steps: _, ...others } = stored;
  return others;
}

/** The options of a run that has ended, as its record tells them; null where there is none. */
async function optionsOfResult(out: string): Promise<Stored | null> {
  const settings = (await readRecord(out))?.settings;
  if (!settings) return null;
  const told = Object.entries(settings).filter(([name, value]) => name in trainOptions && value !== null);
  return Object.fromEntries(told.map(([name, value]) => [flagName(name), value]));
}

/** Options as a configuration file holds them, without those that are not set and those of one call only. */
export function storedOptions(flags: TrainFlags): Record<string, string | number | boolean> {
  const stored: Record<string, string | number | boolean> = {};
  for (const [name, value] of Object.entries(flags)) {
    if (value === null || ["resume", "overwrite", "dryRun", "json"].includes(name)) continue;
    if (name === "maxTime") stored[flagName(name)] = `${String(value)}ms`;
    else if (Array.isArray(value)) stored[flagName(name)] = value.join(",");
    else if (typeof value === "string" || typeof value === "number" || typeof value === "boolean") {
      stored[flagName(name)] = value;
    }
  }
  return stored;
}
