/** Cores and memory are counted after affinity and control groups, version 1 and 2, host and container. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { cgroupLimits, freeMemory, type ReadText, usableMemory, usableThreads } from "../../src/cli/machine.js";

const files =
  (content: Record<string, string>): ReadText =>
  (path) =>
    content[path] ?? null;

const v2 = {
  "/proc/self/cgroup": "0::/app.slice/lorikeet.service\n",
  "/proc/self/mountinfo": "30 23 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n",
};
const v1Mounts = [
  "32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime - cgroup cgroup rw,cpu,cpuacct",
  "35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory",
].join("\n");

test("version 2: the tightest quota and limit of the group and its ancestors count", () => {
  const limits = cgroupLimits(
    files({
      ...v2,
      "/sys/fs/cgroup/app.slice/cpu.max": "150000 100000\n",
      "/sys/fs/cgroup/app.slice/lorikeet.service/cpu.max": "max 100000\n",
      "/sys/fs/cgroup/app.slice/memory.max": "max\n",
      "/sys/fs/cgroup/app.slice/lorikeet.service/memory.max": "1073741824\n",
    }),
  );
  assert.deepEqual(limits, { cpus: 1.5, memoryBytes: 1024 ** 3 });
});

test("version 1: each controller has its own mount, and huge numbers mean no limit", () => {
  const base = {
    "/proc/self/cgroup": "4:memory:/docker/ab\n1:cpu,cpuacct:/docker/ab\n",
    "/proc/self/mountinfo": v1Mounts,
    "/sys/fs/cgroup/cpu,cpuacct/docker/ab/cpu.cfs_quota_us": "400000\n",
    "/sys/fs/cgroup/cpu,cpuacct/docker/ab/cpu.cfs_period_us": "100000\n",
    "/sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us": "-1\n",
    "/sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us": "100000\n",
    "/sys/fs/cgroup/memory/docker/ab/memory.limit_in_bytes": "9223372036854771712\n",
  };
  assert.deepEqual(cgroupLimits(files(base)), { cpus: 4, memoryBytes: null });
});

test("in a container whose mount is the group itself the mount's own files count", () => {
  const limits = cgroupLimits(
    files({
      "/proc/self/cgroup": "1:cpu:/docker/ab\n4:memory:/docker/ab\n",
      "/proc/self/mountinfo": v1Mounts.replaceAll(" / /sys", " /docker/ab /sys"),
      "/sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us": "50000\n",
      "/sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us": "100000\n",
      "/sys/fs/cgroup/memory/memory.limit_in_bytes": "2048\n",
    }),
  );
  assert.deepEqual(limits, { cpus: 0.5, memoryBytes: 2048 });
});

test("threads: the smaller of affinity and the quota's whole cores, and at least one", () => {
  const quota = (text: string): ReadText => files({ ...v2, "/sys/fs/cgroup/cpu.max": text });
  assert.equal(usableThreads(quota("250000 100000"), 8), 2);
  assert.equal(usableThreads(quota("50000 100000"), 8), 1);
  assert.equal(usableThreads(quota("1600000 100000"), 8), 8);
  assert.equal(usableThreads(quota("max 100000"), 8), 8);
  assert.equal(usableThreads(files({}), 3), 3);
});

test("memory: the smaller of what is installed and the group's limit", () => {
  assert.equal(usableMemory(files({ ...v2, "/sys/fs/cgroup/memory.max": "4096" }), 8192), 4096);
  assert.equal(usableMemory(files({ ...v2, "/sys/fs/cgroup/memory.max": "16384" }), 8192), 8192);
  assert.equal(usableMemory(files({}), 8192), 8192);
});

test("free memory: what the machine has left or what the group leaves, droppable cache counted as free", () => {
  const meminfo = "MemTotal:       16384 kB\nMemFree:        1000 kB\nMemAvailable:       8 kB\n";
  assert.equal(freeMemory(files({ "/proc/meminfo": meminfo }), 1), 8192);
  assert.equal(freeMemory(files({}), 77), 77, "elsewhere than on Linux what Node says");
  const group = (limit: string, current: string, stat = ""): ReadText =>
    files({
      ...v2,
      "/proc/meminfo": meminfo,
      "/sys/fs/cgroup/memory.max": limit,
      "/sys/fs/cgroup/memory.current": current,
      "/sys/fs/cgroup/memory.stat": stat,
    });
  assert.equal(freeMemory(group("max", "5000")), 8192);
  assert.equal(freeMemory(group("6000", "5000")), 1000);
  assert.equal(freeMemory(group("6000", "5000", "anon 100\ninactive_file 500\nactive_file 9\n")), 1500);
  assert.equal(freeMemory(group("6000", "7000")), 0);
  assert.ok(freeMemory() > 2 ** 20 && freeMemory() < usableMemory());
});

test("invalid contents of the files mean no limit", () => {
  const read = files({ ...v2, "/sys/fs/cgroup/cpu.max": "x y", "/sys/fs/cgroup/memory.max": "" });
  assert.deepEqual(cgroupLimits(read), { cpus: null, memoryBytes: null });
});

test("this machine has at least one thread and some memory", () => {
  assert.ok(usableThreads() >= 1);
  assert.ok(usableMemory() > 2 ** 26);
});
