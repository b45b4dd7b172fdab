/** The base model that commands check adapters against: a decoder or a task model. */

import { basename } from "node:path";
import type { AdapterBase } from "../adapter/format.js";
import { openCheckpoint } from "../model/checkpoint/open.js";
import { storedModules } from "../model/modules.js";
import { taskTargetsKey, taskTargetsOf } from "../model/task/adapter-targets.js";
import { isTaskModel } from "../model/task/folder.js";
import { openTaskModel } from "../model/task/open.js";
import type { Checkpoint } from "../model/types.js";
import { checkKeyOf } from "./serve/tier.js";
import { locateModel } from "./task-model.js";
import type { Terminal } from "./terminal.js";

export interface CheckBase {
  /** Its folder, or its .onnx file. */
  readonly path: string;
  readonly modules: AdapterBase;
  /** Names that adapters may use for it, its own first. */
  readonly names: readonly [string, ...string[]];
  /** What a check's result is valid for. */
  readonly checkKey: string;
  /** The decoder, whose weights the check of DoRA reads; null for a task model. */
  readonly checkpoint: Checkpoint | null;
}

/** Finds the model of `--model`: a folder, an .onnx file or a name on the hub. Throws what `locateModel` throws. */
export async function openCheckBase(
  model: string,
  terminal: Terminal,
  onnxFile: string | null = null,
): Promise<CheckBase> {
  return await openCheckBaseAt(await locateModel(model, terminal, { onnxFile }));
}

/** Reads what adapters can change in a folder's model or an .onnx file's. */
export async function openCheckBaseAt(path: string): Promise<CheckBase> {
  if (await isTaskModel(path)) return await openTaskBase(path);
  const checkpoint = await openCheckpoint(path);
  const { names } = checkpoint;
  const checkKey = checkKeyOf(checkpoint.fingerprint, names);
  return { path, modules: storedModules(checkpoint), names, checkKey, checkpoint };
}

async function openTaskBase(path: string): Promise<CheckBase> {
  const { folder, modules, task } = await openTaskModel(path);
  const targets = taskTargetsOf(modules);
  const names = [basename(folder)] as const;
  const checkKey = checkKeyOf(taskTargetsKey(targets, task), names);
  return { path, modules: { targets, task }, names, checkKey, checkpoint: null };
}
