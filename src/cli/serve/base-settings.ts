/** The bases of a server: from `--model`, given once or several times, or from the list `models` of the config file. */

import { isObject } from "../../base/json.js";
import type { FileBases } from "../options/command-line.js";
import { flagName } from "../options/names.js";
import { resolveSettings } from "../options/settings.js";
import { UsageError } from "../usage.js";
import { type BaseSettings, baseOptions, type ServeSettings, serveOptions } from "./options.js";

/** Those of `--model`. Throws a UsageError if there is none, or if their served names are not one for each. */
export function basesOfModels({ model: models, servedModelName: names, ...settings }: ServeSettings): BaseSettings[] {
  if (models === null) throw new UsageError(["--model <model> is required (or LORIKEET_MODEL)."]);
  if (names !== null && names.length !== models.length) {
    throw new UsageError([
      `--served-model-name is given ${times(names.length)} and --model ${times(models.length)}: each base has one served name.`,
    ]);
  }
  if (settings.onnxFile !== null && models.length > 1) {
    throw new UsageError([
      "--onnx-file is for one base: give each of several its own in the list `models` of the config file.",
    ]);
  }
  return models.map((model, index) => ({ ...settings, model, servedModelName: names?.[index] ?? null }));
}

/** Those of the config file's list. An entry's options override those of the server. Throws a UsageError for all faults. */
export function basesOfFile(
  { servedModelName: names, ...settings }: ServeSettings,
  { value, filePath }: FileBases,
): BaseSettings[] {
  if (names !== null) {
    const message = `--served-model-name goes with --model; in "models" of ${filePath} each base has a "served-model-name" of its own.`;
    throw new UsageError([message]);
  }
  if (!Array.isArray(value) || value.length === 0) {
    throw new UsageError([`"models" in ${filePath} must be a list of bases, each with a "model" and its own options.`]);
  }
  const faults: string[] = [];
  const bases = value.flatMap((entry: unknown, index): BaseSettings[] => {
    const where = `models[${index}] of ${filePath}`;
    try {
      return [baseOf({ ...settings, servedModelName: null }, entry, where)];
    } catch (error) {
      if (!(error instanceof UsageError)) throw error;
      faults.push(error.message);
      return [];
    }
  });
  if (faults.length > 0) throw new UsageError(faults);
  return bases;
}

/** What a server has, but not each of its bases. */
const elsewhere = {
  keys: Object.keys(serveOptions)
    .filter((name) => !Object.hasOwn(baseOptions, name))
    .map(flagName),
  hint: 'is an option of the server: put it beside "models"',
};

function baseOf(settings: Omit<BaseSettings, "model">, entry: unknown, where: string): BaseSettings {
  if (!isObject(entry)) throw new UsageError([`${where} must be a mapping with a "model" and the base's own options.`]);
  const own = resolveSettings(baseOptions, {
    ...{ flags: {}, environment: {}, file: entry, filePath: where },
    elsewhere,
  });
  if (own.model === null) throw new UsageError([`${where} must have a "model".`]);
  const given = Object.entries(own).filter(([name]) => Object.hasOwn(entry, flagName(name)));
  return { ...settings, ...Object.fromEntries(given), model: own.model };
}

const times = (count: number): string => (count === 1 ? "once" : `${count} times`);
