/** Holds paths of options against the disk, before anything is begun. Each function throws a UsageError that names the option. */

import { stat } from "node:fs/promises";
import { UsageError } from "../usage.js";

export async function requireFolder(option: string, path: string): Promise<void> {
  const status = await statusOf(path);
  if (status?.isDirectory()) return;
  throw new UsageError([
    `${option} must be a folder; ${path} ${status ? `is a file${fileHint(path)}` : "does not exist"}.`,
  ]);
}

export async function requireFile(option: string, path: string): Promise<void> {
  const status = await statusOf(path);
  // A pipe will do: it is read once.
  if (status && !status.isDirectory()) return;
  throw new UsageError([`${option} must be a file; ${path} ${status ? "is a folder" : "does not exist"}.`]);
}

/** For a folder that is made when it is needed. */
export async function requireNoFile(option: string, path: string): Promise<void> {
  const status = await statusOf(path);
  if (status && !status.isDirectory()) throw new UsageError([`${option} must be a folder; ${path} is a file.`]);
}

function statusOf(path: string) {
  return stat(path).catch(() => null);
}

function fileHint(path: string): string {
  if (/\.gguf$/i.test(path)) return ": a GGUF file is not read, give the Hugging Face folder that it was made from";
  return /\.(safetensors|bin|json)$/i.test(path) ? ": give the folder that the file is in" : "";
}
