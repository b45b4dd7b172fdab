/** Finds the cards of this machine safely: drivers are loaded in a child process. */

import { execFile } from "node:child_process";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import type { GpuAdapter } from "./vulkan.js";

export interface GpuSurvey {
  readonly adapters: readonly GpuAdapter[];
  /** Why there are none, as half a sentence; null if there are some. */
  readonly fault: string | null;
}

const run = promisify(execFile);
/** A driver that takes longer hangs. */
const limitMs = 30_000;

/** The variable that keeps Vulkan's loader from loading software drivers, by the names of their manifests. */
const disabled = "VK_LOADER_DRIVERS_DISABLE";
const softwareManifests = "*lvp*,*swiftshader*,*llvmpipe*";

/** What the drivers of this machine offer. Never throws. */
export async function surveyGpus(environment: NodeJS.ProcessEnv = process.env): Promise<GpuSurvey> {
  // Metal has one device and no software driver. Asking it takes Objective-C, so only its presence is known.
  if (process.platform === "darwin") return process.arch === "arm64" ? { adapters: [apple], fault: null } : noMetal;
  try {
    return await askProcess<GpuSurvey>("vulkan-main", environment);
  } catch (error) {
    return {
      adapters: [],
      fault: `a Vulkan driver failed while it was asked for its devices (${(error as Error).message})`,
    };
  }
}

/**
 * A survey without software drivers. Where there are cards beside them, the loader of this process is told to skip the software
 * drivers, so that Dawn cannot fall back to one.
 */
export async function surveyCards(environment: NodeJS.ProcessEnv = process.env): Promise<GpuSurvey> {
  const all = await surveyGpus(environment);
  const software = all.adapters.filter(({ type }) => type === "software");
  if (software.length === 0 || software.length === all.adapters.length) return all;
  environment[disabled] = [environment[disabled], softwareManifests].filter(Boolean).join(",");
  return surveyGpus(environment);
}

const apple: GpuAdapter = {
  name: "Apple GPU",
  type: "integrated",
  driver: "Metal",
  memoryBytes: null,
  maxStorageBufferBytes: null,
  maxAllocationBytes: null,
  fp16: null,
  subgroupSize: null,
  lacks: [],
};

const noMetal: GpuSurvey = { adapters: [], fault: "only Macs with Apple silicon are supported" };

/** What a process of this folder prints, as JSON. Throws an Error whose message says how the process died. */
export async function askProcess<T>(name: string, environment: NodeJS.ProcessEnv): Promise<T> {
  const extension = import.meta.url.endsWith(".ts") ? "ts" : "js";
  const entry = fileURLToPath(new URL(`./${name}.${extension}`, import.meta.url));
  // Pass on the flags that load sources, but not those of the test runner.
  const execArgv = process.execArgv.filter((argument) => !argument.startsWith("--test"));
  const options = { env: environment, timeout: limitMs, windowsHide: true, killSignal: "SIGKILL" } as const;
  try {
    const { stdout } = await run(process.execPath, [...execArgv, entry], options);
    return JSON.parse(stdout) as T;
  } catch (cause) {
    throw new Error(causeOf(cause), { cause });
  }
}

function causeOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  if ("killed" in error && error.killed === true) return `no answer in ${limitMs / 1000} s`;
  if ("signal" in error && typeof error.signal === "string") return error.signal;
  if ("code" in error && typeof error.code === "number") return `exit code ${error.code}`;
  return error.message.split("\n")[0] ?? error.name;
}
