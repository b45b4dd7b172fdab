/**
 * Names in the cache folder: `<key>.safetensors` is a prepared file, `<key>.<host>.<pid>.<random>.tmp` an unfinished one, and
 * `.lease` the mark of a process that uses one. Other names are ignored.
 */

import { readdir, rm, stat } from "node:fs/promises";
import { hostname } from "node:os";
import { join } from "node:path";

export interface CacheFile {
  readonly path: string;
  readonly key: string;
  readonly kind: "prepared" | "temporary" | "lease";
  readonly bytes: number;
  /** Time of the last use, in milliseconds. */
  readonly usedMs: number;
  /** For marks: the process that created it is alive, as far as can be told. */
  readonly isOwned: boolean;
}

const pattern = /^([0-9a-f]{64})\.(?:(safetensors)|([\w-]+)\.(\d+)\.[0-9a-f]+\.(tmp|lease))$/;
const kinds: Readonly<Record<string, CacheFile["kind"]>> = {
  safetensors: "prepared",
  tmp: "temporary",
  lease: "lease",
};

/** Processes of another host cannot be checked: their marks are valid for a day. */
const foreignMarkMs = 24 * 60 * 60 * 1000;

const host = hostname().replace(/[^\w-]/g, "_") || "host";

/** The part of a mark's name that identifies this process. */
export function ownMark(): string {
  return `${host}.${process.pid}`;
}

/** All prepared files and marks in the folder. */
export async function listCache(directory: string): Promise<CacheFile[]> {
  const names = await readdir(directory);
  const files = await Promise.all(names.map((name) => describe(directory, name)));
  return files.filter((file) => file !== undefined);
}

/** Whether a live process uses a key. Also removes the marks of dead processes. */
export async function isHeld(directory: string, key: string): Promise<boolean> {
  let isUsed = false;
  for (const file of await listCache(directory)) {
    if (file.kind !== "lease" || file.key !== key) continue;
    if (file.isOwned) isUsed = true;
    else await rm(file.path, { force: true });
  }
  return isUsed;
}

async function describe(directory: string, name: string): Promise<CacheFile | undefined> {
  const match = pattern.exec(name);
  if (!match) return undefined;
  const [, key = "", prepared, owner, pid, suffix] = match;
  const path = join(directory, name);
  try {
    const { blocks = 0, size, mtimeMs } = await stat(path);
    const kind = kinds[prepared ?? suffix ?? ""] ?? "lease";
    const bytes = kind === "temporary" ? Math.max(size, blocks * 512) : size; // an unfinished file grows to its size
    return { path, key, kind, bytes, usedMs: mtimeMs, isOwned: isAlive(owner, Number(pid), mtimeMs) };
  } catch {
    return undefined; // removed meanwhile
  }
}

function isAlive(owner: string | undefined, pid: number, markedMs: number): boolean {
  if (owner === undefined) return false;
  if (owner !== host) return Date.now() - markedMs < foreignMarkMs;
  try {
    process.kill(pid, 0); // only checks
    return true;
  } catch (error) {
    return error instanceof Error && "code" in error && error.code === "EPERM";
  }
}
