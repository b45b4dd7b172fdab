/** Cores and memory that this process may use, given CPU affinity and cgroups. */

import { readFileSync } from "node:fs";
import { availableParallelism, freemem, totalmem } from "node:os";
import { posix } from "node:path";

/** Reads a small text file; null if it does not exist. */
export type ReadText = (path: string) => string | null;

export interface CgroupLimits {
  /** CPU quota over period, in cores. null: no quota. */
  readonly cpus: number | null;
  readonly memoryBytes: number | null;
}

interface Mount {
  readonly version: 1 | 2;
  readonly controllers: readonly string[];
  /** The cgroup at the mount's root, and the mount point. */
  readonly root: string;
  readonly point: string;
}

const readText: ReadText = (path) => {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return null;
  }
};

/** Threads for computation: the CPU affinity, as Node counts it, or the whole cores of the quota, whichever is smaller; at least 1. */
export function usableThreads(read: ReadText = readText, affinity: number = availableParallelism()): number {
  const quota = cgroupLimits(read).cpus;
  return Math.max(1, Math.min(affinity, quota === null ? affinity : Math.floor(quota)));
}

/** Total bytes that this process may use: the machine's memory or the cgroup's limit, whichever is smaller. */
export function usableMemory(read: ReadText = readText, installed: number = totalmem()): number {
  return Math.min(installed, cgroupLimits(read).memoryBytes ?? installed);
}

/**
 * Bytes that this process could still allocate: what the machine has available (counting droppable page cache) or what its cgroups
 * leave, whichever is smaller.
 */
export function freeMemory(read: ReadText = readText, free: number = freemem()): number {
  const available = /^MemAvailable:\s+(\d+) kB$/m.exec(read("/proc/meminfo") ?? "")?.[1];
  const left = available === undefined ? free : 1024 * Number(available);
  return Math.max(0, Math.min(left, memoryLeftInGroups(read) ?? left));
}

/** The smallest difference between a cgroup's limit and its usage; null without a limit. */
function memoryLeftInGroups(read: ReadText): number | null {
  let left: number | null = null;
  for (const { directory, mount } of ownGroups(read)) {
    const limit = memoryLimit(read, directory, mount);
    if (limit !== null) left = smaller(left, limit - memoryHeld(read, directory, mount));
  }
  return left;
}

/** A cgroup's usage without inactive file cache, which the kernel reclaims first. */
function memoryHeld(read: ReadText, directory: string, { version }: Mount): number {
  const [usage, cached] =
    version === 2 ? ["memory.current", "inactive_file"] : ["memory.usage_in_bytes", "total_inactive_file"];
  const held = Number(read(posix.join(directory, usage))?.trim() || 0);
  const statistics = read(posix.join(directory, "memory.stat")) ?? "";
  const droppable = Number(new RegExp(`^${cached} (\\d+)$`, "m").exec(statistics)?.[1] ?? 0);
  return Math.max(0, held - droppable);
}

/**
 * The tightest limits of this process's cgroups and all their ancestors, version 1 or 2, from /proc/self/cgroup and
 * /proc/self/mountinfo. In a container the cgroup's own path may lie outside the mount: then the mount is the cgroup.
 */
export function cgroupLimits(read: ReadText): CgroupLimits {
  let cpus: number | null = null;
  let memoryBytes: number | null = null;
  for (const { directory, mount } of ownGroups(read)) {
    cpus = smaller(cpus, cpuQuota(read, directory, mount));
    memoryBytes = smaller(memoryBytes, memoryLimit(read, directory, mount));
  }
  return { cpus, memoryBytes };
}

/** The process's cgroups and their ancestors, in every mount. */
function ownGroups(read: ReadText): { readonly directory: string; readonly mount: Mount }[] {
  const groups = read("/proc/self/cgroup");
  const mountinfo = read("/proc/self/mountinfo");
  if (groups === null || mountinfo === null) return [];
  return parseMounts(mountinfo).flatMap((mount) =>
    groupDirectories(groups, mount).map((directory) => ({ directory, mount })),
  );
}

function parseMounts(mountinfo: string): Mount[] {
  const mounts: Mount[] = [];
  for (const line of mountinfo.split("\n")) {
    const [left = "", right = ""] = line.split(" - ");
    const [, , , root, point] = left.split(" ");
    const [type, , options = ""] = right.split(" ");
    if (root === undefined || point === undefined) continue;
    if (type === "cgroup2") mounts.push({ version: 2, controllers: [], root, point });
    if (type === "cgroup") mounts.push({ version: 1, controllers: options.split(","), root, point });
  }
  return mounts;
}

/** The process's own cgroup under `mount`, and its ancestors up to the mount. */
function groupDirectories(groups: string, mount: Mount): string[] {
  let path: string | undefined;
  for (const line of groups.split("\n")) {
    const [, id, controllers, group] = /^(\d+):([^:]*):(.*)$/.exec(line) ?? [];
    if (id === undefined || group === undefined || controllers === undefined) continue;
    const names = controllers.split(",");
    const matches = mount.version === 2 ? id === "0" && controllers === "" : sharesController(names, mount.controllers);
    if (matches) path = group;
  }
  if (path === undefined) return [];
  const root = mount.root === "/" ? "" : mount.root;
  const inside = path === root || path.startsWith(`${root}/`) ? path.slice(root.length) : "/";
  const directories: string[] = [];
  for (let below = posix.normalize(inside || "/"); ; below = posix.dirname(below)) {
    directories.push(posix.join(mount.point, below));
    if (below === "/" || below === ".") return directories;
  }
}

function sharesController(names: readonly string[], mounted: readonly string[]): boolean {
  return names.some((name) => (name === "cpu" || name === "memory") && mounted.includes(name));
}

function cpuQuota(read: ReadText, directory: string, mount: Mount): number | null {
  if (mount.version === 2) {
    const [quota, period] = (read(posix.join(directory, "cpu.max")) ?? "max").trim().split(/\s+/);
    return ratio(quota, period ?? "100000");
  }
  if (!mount.controllers.includes("cpu")) return null;
  return ratio(
    read(posix.join(directory, "cpu.cfs_quota_us"))?.trim(),
    read(posix.join(directory, "cpu.cfs_period_us"))?.trim(),
  );
}

function memoryLimit(read: ReadText, directory: string, mount: Mount): number | null {
  if (mount.version === 1 && !mount.controllers.includes("memory")) return null;
  const file = mount.version === 2 ? "memory.max" : "memory.limit_in_bytes";
  const limit = Number(read(posix.join(directory, file))?.trim() || Number.NaN);
  // In version 1, a number near 2^63 means "no limit".
  return limit > 0 && limit < 2 ** 60 ? limit : null;
}

/** Quota over period; "max", -1 and a missing file mean no quota. */
function ratio(quota: string | undefined, period: string | undefined): number | null {
  const value = Number(quota) / Number(period);
  return value > 0 && Number.isFinite(value) ? value : null;
}

function smaller(a: number | null, b: number | null): number | null {
  if (a === null) return b;
  return b === null ? a : Math.min(a, b);
}
