/** Checks the paths of options before anything starts. Each function throws a UsageError that names the option. */

import { stat } from "node:fs/promises";
import { UsageError } from "../usage.js";
import { hintAtPath } from "./nearby.js";

export async function requireFolder(option: string, path: string): Promise<void> {
  const status = await statusOf(path);
  if (status?.isDirectory()) return;
  const hint = status ? null : await hintAtPath(path, "folder");
  const found = status ? `is a file${fileHint(path)}` : "does not exist";
  throw new UsageError([`${option} must be a folder; ${path} ${found}.`, ...(hint === null ? [] : [hint])]);
}

export async function requireFile(option: string, path: string): Promise<void> {
  const status = await statusOf(path);
  // A pipe is fine: it is read once.
  if (status && !status.isDirectory()) return;
  const hint = status ? null : await hintAtPath(path, "file");
  const found = status ? "is a folder" : "does not exist";
  throw new UsageError([`${option} must be a file; ${path} ${found}.`, ...(hint === null ? [] : [hint])]);
}

/** For a folder that is created on demand. */
export async function requireNoFile(option: string, path: string): Promise<void> {
  const status = await statusOf(path);
  if (status && !status.isDirectory()) throw new UsageError([`${option} must be a folder; ${path} is a file.`]);
}

function statusOf(path: string) {
  return stat(path).catch(() => null);
}

function fileHint(path: string): string {
  if (/\.gguf$/i.test(path)) return ": GGUF is not supported; give the Hugging Face folder that it was converted from";
  return /\.(safetensors|bin|json)$/i.test(path) ? ": give the folder that contains it" : "";
}
