/** Which files of an adapter's folder are read, which are only kept, and which are ignored. Opens none of them. */

import { opendir } from "node:fs/promises";
import { LorikeetError } from "../../base/errors.js";
import { handleShortage } from "../../base/files.js";
import type { Faults } from "./faults.js";
import { quoteList } from "./faults.js";

export const configFile = "adapter_config.json";
/** PEFT's name, then mlx-lm's: the first that is there is read. */
export const weightFiles = ["adapter_model.safetensors", "adapters.safetensors"] as const;

export const labelsFile = "labels.json";
/** A model's own config, which is kept if it names labels. */
export const modelConfigFile = "config.json";

/** What `lorikeet train` writes about a run, and its curves. */
export const recordFile = "lorikeet.json";
export const chartFile = "training.svg";

const companions = ["README.md", "chat_template.jinja", recordFile, chartFile, labelsFile, modelConfigFile];
const kept: ReadonlySet<string> = new Set([configFile, ...weightFiles, ...companions]);
const pickle = /\.(bin|pt|pth|ckpt|pkl)$/i;
const maxEntries = 4096;
const maxIgnoredListed = 256;

const picture = /^example(-[a-z0-9-]{1,40})?\.(png|jpe?g|webp)$/;

/** Whether a file of this name is a picture to try an adapter with. */
export function isExamplePicture(name: string): boolean {
  return picture.test(name);
}

/** Whether a store keeps a file of this name. Other files are ignored and named in the reply. */
export function isKeptFile(name: string): boolean {
  return kept.has(name) || isExamplePicture(name);
}

export interface FolderSurvey {
  /** null when there are none. */
  readonly weights: string | null;
  /** Names that are not kept, sorted; a folder ends in a slash. */
  readonly ignored: readonly string[];
}

/** Lists a folder. Missing files are faults; an unreadable folder throws `adapter_invalid`. */
export async function surveyFolder(folder: string, faults: Faults): Promise<FolderSurvey> {
  const names = await listNames(folder);
  const weights = weightFiles.find((name) => names.includes(name)) ?? null;
  const ignored = names.filter((name) => !isKeptFile(name) || (name !== weights && isWeights(name))).sort();
  if (!names.includes(configFile)) faults.invalid(`${configFile} is missing`);
  if (!weights) reportNoWeights(names, faults);
  return { weights, ignored: capped(ignored) };
}

function capped(names: readonly string[]): readonly string[] {
  const more = names.length - maxIgnoredListed;
  return more > 0 ? [...names.slice(0, maxIgnoredListed), `and ${more} more`] : names;
}

function isWeights(name: string): boolean {
  return weightFiles.some((file) => file === name);
}

function reportNoWeights(names: readonly string[], faults: Faults): void {
  const [wanted] = weightFiles;
  const like = (pattern: RegExp): string[] => names.filter((name) => pattern.test(name));
  const pickles = like(pickle).filter((name) => name.startsWith("adapter"));
  const shards = like(/^adapter.*-\d+-of-\d+\.(safetensors|bin)$|^adapter.*\.index\.json$/i);
  const [gguf, whole] = [like(/\.gguf$/i), like(/^(pytorch_)?model.*\.(safetensors|bin)$/i)];
  if (pickles.length > 0 && shards.length === 0) {
    faults.unsupported(
      `the only weights are the pickle ${quoteList(pickles)}, which could run code and is never opened; convert it where you trust ` +
        `it: save_file(torch.load("${pickles[0]}", weights_only=True), "${wanted}", {"format": "pt"}) of safetensors.torch`,
    );
  } else if (shards.length > 0) {
    faults.unsupported(
      `the weights are in shards, ${quoteList(shards, 3)}, which PEFT neither writes nor reads; merge them into one ${wanted}`,
    );
  } else if (gguf.length > 0) {
    faults.unsupported(
      `the only weights are GGUF, ${quoteList(gguf, 3)}, which llama.cpp reads; send the PEFT folder with ${wanted} that they were made from`,
    );
  } else if (whole.length > 0) {
    faults.invalid(`${wanted} is missing; ${quoteList(whole, 3)} holds a whole model, not an adapter on one`);
  } else faults.invalid(`${wanted} is missing`);
}

async function listNames(folder: string): Promise<string[]> {
  const names: string[] = [];
  try {
    for await (const entry of await opendir(folder)) {
      names.push(entry.isDirectory() ? `${entry.name}/` : entry.name);
      if (names.length > maxEntries) break;
    }
  } catch (cause) {
    const shortage = handleShortage(cause);
    if (shortage) throw shortage;
    const reason = cause instanceof Error && "code" in cause ? cause.code : String(cause);
    throw new LorikeetError("adapter_invalid", `The adapter folder ${folder} cannot be read (${reason}).`, {
      param: folder,
      found: reason,
      allowed: "a readable folder",
      cause,
    });
  }
  if (names.length > maxEntries) {
    throw new LorikeetError("adapter_invalid", `The adapter folder ${folder} has more than ${maxEntries} entries.`, {
      param: folder,
      found: `more than ${maxEntries}`,
      allowed: maxEntries,
    });
  }
  return names;
}
