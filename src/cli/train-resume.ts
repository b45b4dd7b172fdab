/** The options of a run that goes on: those it was begun with. Says which others may change. */

import type { Command } from "commander";
import { RunFolder } from "../train/run-folder.js";
import { readOptions } from "./command-line.js";
import { flagName } from "./options.js";
import { resolveSettings } from "./settings.js";
import { type TrainFlags, trainConfigKeys, trainOptions } from "./train-options.js";
import { UsageError } from "./usage.js";

/** What may be given anew on `--resume`: it changes nothing that is learned. */
const free: readonly string[] = [
  "resume",
  "out",
  "threads",
  "cacheDir",
  "maxTime",
  "keep",
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
  if (typeof flags.out !== "string") throw new UsageError(["--resume needs --out <folder>, the run to go on with."]);
  const stored = await new RunFolder(flags.out).recall();
  if (!stored) throw new UsageError([`There is no unfinished run into ${flags.out} to resume.`]);
  const before = resolveSettings(trainOptions, { flags: {}, environment: {}, file: stored, filePath: "the run" });
  const now = resolveSettings(trainOptions, { flags, environment: {}, file: stored, filePath: "the run" });
  const [was, is] = [storedOptions(before), storedOptions(now)];
  const changed = Object.keys(trainOptions).filter(
    (name) => !free.includes(name) && was[flagName(name)] !== is[flagName(name)],
  );
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
