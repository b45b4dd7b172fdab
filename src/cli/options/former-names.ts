/** Option names of earlier versions. None is accepted: an option under its former name is an error that gives the new one. */

import { environmentName, flagName } from "./names.js";
import type { OptionTable } from "./option.js";

/** By their names in the tables of options. A name that meant different things to two commands has one successor for each. */
export const formerNames: Readonly<Record<string, readonly string[]>> = {
  // train, eval, merge and bench train
  accumulate: ["gradientAccumulationSteps"],
  alpha: ["loraAlpha"],
  baseDtype: ["dtype"],
  batch: ["batchSize"],
  beta1: ["adamBeta1"],
  beta2: ["adamBeta2"],
  clip: ["maxGradNorm"],
  dora: ["useDora"],
  dropout: ["loraDropout"],
  epsilon: ["adamEpsilon"],
  evalEvery: ["evalSteps"],
  keep: ["saveTotalLimit"],
  length: ["maxLength"],
  loraPlus: ["loraplusLrRatio"],
  out: ["outputDir"],
  patience: ["earlyStoppingPatience"],
  rank: ["loraR"],
  rate: ["learningRate"],
  rateFloor: ["minLrRate"],
  rows: ["maxEvalSamples", "batchSize"],
  rslora: ["useRslora"],
  schedule: ["lrSchedulerType"],
  steps: ["maxSteps"],
  targets: ["targetModules"],
  validRows: ["maxEvalSamples"],
  validShare: ["validationSplit"],
  warmUp: ["warmupSteps"],
  warmUpSteps: ["warmupSteps"],
  // serve
  linger: ["lingerTimeout"],
  ping: ["pingInterval"],
  slowReader: ["slowReaderTimeout"],
  streamKeepAlive: ["streamKeepAliveInterval"],
};

/** Options of other commands that `eval` and `merge` once had with another meaning: former names on their command lines only. */
const formerFlagNames: typeof formerNames = { ...formerNames, exact: ["exactMatch"], dtype: ["outputDtype"] };

/** One sentence for each flag among the arguments whose new name is one of the command's. */
export function renamedFlags(args: readonly string[], commandFlags: readonly string[]): string[] {
  const sentences = args.flatMap((arg) => {
    const [, no = "", flag = ""] = /^--(no-)?([a-z][a-z0-9-]*)/.exec(arg) ?? [];
    if (commandFlags.includes(`--${flag}`)) return [];
    const [former, successors = []] = Object.entries(formerFlagNames).find(([name]) => flagName(name) === flag) ?? [];
    const successor = successors.find((name) => commandFlags.includes(`--${flagName(name)}`));
    if (former === undefined || successor === undefined) return [];
    return [`--${no}${flag} is now --${no}${flagName(successor)}.`];
  });
  return [...new Set(sentences)];
}

/** The new names of a config file's key, as keys; empty where it never was an option. */
export function successorsOf(key: string): readonly string[] {
  const former = Object.keys(formerNames).find((name) => flagName(name) === key);
  return former === undefined ? [] : (formerNames[former] ?? []).map(flagName);
}

/** One sentence for each environment variable that used to set an option of the table. */
export function renamedVariables(
  table: OptionTable,
  environment: Readonly<Record<string, string | undefined>>,
): string[] {
  return Object.entries(formerNames).flatMap(([former, successors]) => {
    const variable = environmentName(former);
    const successor = successors.find((name) => name in table);
    if (successor === undefined || former in table || !environment[variable]) return [];
    return [`${variable} is now ${environmentName(successor)}.`];
  });
}
