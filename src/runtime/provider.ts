/** Appends an execution provider to the options of a session. */
import { ort, type Pointer } from "./api.js";
import type { ExecutionProvider } from "./device/device.js";

/** Without `cpuFallback` nodes that the provider has no kernel for are refused: they would run on the CPU, at the price of two copies each. */
export function appendProvider(
  settings: Pointer,
  { name, options }: ExecutionProvider,
  more: Readonly<Record<string, string>> = {},
  cpuFallback = false,
): void {
  if (!cpuFallback) ort().call("AddSessionConfigEntry", settings, "session.disable_cpu_ep_fallback", "1");
  const all = { ...options, ...more };
  if (name === "CUDA") appendCuda(settings, all);
  else appendByName(settings, name, all);
}

function appendByName(settings: Pointer, name: string, options: Readonly<Record<string, string>>): void {
  withOptions(options, (keys, values, count) =>
    ort().call("SessionOptionsAppendExecutionProvider", settings, name, keys, values, count),
  );
}

/** CUDA's options have a type of their own. */
function appendCuda(settings: Pointer, options: Readonly<Record<string, string>>): void {
  const cuda = ort().make("CreateCUDAProviderOptions");
  try {
    withOptions(options, (keys, values, count) => ort().call("UpdateCUDAProviderOptions", cuda, keys, values, count));
    ort().call("SessionOptionsAppendExecutionProvider_CUDA_V2", settings, cuda);
  } finally {
    ort().call("ReleaseCUDAProviderOptions", cuda);
  }
}

/** Names and values as C strings, which live until `use` returns. */
function withOptions(
  options: Readonly<Record<string, string>>,
  use: (keys: BigUint64Array, values: BigUint64Array, count: number) => void,
): void {
  const entries = Object.entries(options);
  const keys = ort().strings(entries.map(([key]) => key));
  const values = ort().strings(entries.map(([, value]) => value));
  use(keys.addresses, values.addresses, Math.min(keys.held.length, values.held.length));
}
