// Runs tests with the model on WebGPU: on the machine's card if it has one, else on a software driver. `subset` is what CI has
// time for, `all` is everything that takes a device. Without any driver it fails where CI=true, and skips with a message elsewhere.
import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { lavapipeEnvironment, unpackLavapipe } from "./lavapipe.mjs";

const engine = ["oracle", "dora", "quantized", "exact", "half", "levels", "task/oracle"].map(
  (name) => `engine/${name}`,
);
const service = ["oracle", "adapters", "dora", "endings", "turns", "tiers", "alike"].map((name) => `service/${name}`);
const device = ["runtime/device/webgpu", "engine/webgpu", "engine/device-lost", "service/device-lost"];

/** Runs of test files, each with the names of its tests; null: all. Shaders compile slowly, and families share most of them. */
const plans = {
  all: [{ files: [...device, ...engine, ...service], names: null }],
  subset: [
    {
      files: ["engine/oracle"],
      names: "^(llama|qwen2|gemma2|gemma3|gpt2|lfm2): logits",
    },
    { files: ["service/oracle"], names: "^llama: " },
    { files: ["engine/task/oracle"], names: "policy-mlp/model.onnx$" },
    // A server is killed that takes three minutes: by now its shaders are compiled.
    { files: device, names: null },
  ],
};

/** The first device that WebGPU accepts, or null. Drivers are queried in a child process. */
function deviceOf(environment) {
  const entry = "dist/src/runtime/device/vulkan-main.js";
  const env = { ...process.env, ...environment };
  const stdio = ["ignore", "pipe", "ignore"];
  const { stdout } = spawnSync(process.execPath, [entry], { encoding: "utf8", env, stdio });
  const { adapters } = JSON.parse(stdout || '{"adapters":[]}');
  return adapters.find(({ lacks }) => lacks.length === 0) ?? null;
}

/** A device, and the variables with which it is found. */
function findDevice() {
  const own = deviceOf({});
  if (own) return { device: own, environment: {} };
  const kept = deviceOf(lavapipeEnvironment);
  if (kept) return { device: kept, environment: lavapipeEnvironment };
  unpackLavapipe();
  const unpacked = deviceOf(lavapipeEnvironment);
  if (!unpacked) throw new Error("the unpacked driver lists no device that WebGPU accepts");
  return { device: unpacked, environment: lavapipeEnvironment };
}

/** Shows every line but those of tests that the names leave out. */
async function runTests({ files, names }, environment) {
  const args = ["--test", "--test-concurrency=2", "--test-reporter=spec"];
  if (names !== null) args.push(`--test-name-pattern=${names}`);
  const child = spawn(process.execPath, [...args, ...files.map((file) => join("dist/test", `${file}.test.js`))], {
    stdio: ["ignore", "pipe", "inherit"],
    env: { ...process.env, ...environment, LORIKEET_TEST_DEVICE: "webgpu" },
  });
  const ended = once(child, "close");
  for await (const line of createInterface({ input: child.stdout })) {
    if (!line.includes("does not match pattern")) console.log(line);
  }
  const [code, signal] = await ended;
  if (code !== 0) throw new Error(`The tests on WebGPU ended with ${signal ?? code}.`);
}

const plan = plans[process.argv[2]];
if (!plan) throw new Error(`Name what to run: ${Object.keys(plans).join(" or ")}.`);
let found = null;
try {
  found = findDevice();
} catch (error) {
  if (process.env.CI === "true") throw error;
  console.log(`Skipped: there is no driver for WebGPU (${error.message}).`);
}
if (found) {
  console.log(`WebGPU on ${found.device.name} (${found.device.driver})`);
  for (const run of plan) await runTests(run, found.environment);
}
