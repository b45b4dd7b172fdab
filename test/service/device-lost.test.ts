/** A device that is lost in service: calls of ONNX Runtime that fail from one moment on, as they do after a driver's reset. */
import assert from "node:assert/strict";
import { cpSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { WebSocket } from "ws";
import { post } from "../support/client.js";
import { addressOf, killAll, start } from "../support/process.js";

const model = "test/fixtures/oracle/llama";
const folder = mkdtempSync(join(tmpdir(), "lorikeet-device-lost-"));
after(() => {
  killAll();
  rmSync(folder, { recursive: true, force: true });
});

const extension = import.meta.url.endsWith(".ts") ? "ts" : "js";
const api = new URL(`../../src/runtime/api.${extension}`, import.meta.url).href;

/** At SIGUSR2 every later run and copy of the server's process fails. */
const planted = `process.on("SIGUSR2", async () => {
  const { ort } = await import(${JSON.stringify(api)});
  const { LorikeetError } = await import(${JSON.stringify(api.replace("runtime/api", "base/errors"))});
  const call = ort().callAsync.bind(ort());
  ort().callAsync = async (name, ...args) => {
    if (name !== "RunWithBinding" && name !== "CopyTensors") return call(name, ...args);
    throw new LorikeetError("runtime_failed", "ONNX Runtime's " + name + " failed: WebGPU device lost (1): reset");
  };
})`;

const skip = process.env.LORIKEET_TEST_DEVICE === "webgpu" ? false : "it takes LORIKEET_TEST_DEVICE=webgpu";

test("streams end with device_lost, the process exits with 11, and a restart finds every adapter", {
  skip,
}, async () => {
  cpSync(join(model, "adapters"), folder, { recursive: true });
  const args = ["serve", "--model", model, "--adapters", folder, "--dtype", "fp32", "--port", "0", "--max-batch", "4"];
  const options = [...args, "--max-context", "256", "--threads", "1"];
  const run = start(options, { NODE_OPTIONS: `--import=data:text/javascript,${encodeURIComponent(planted)}` });
  const url = await addressOf(run);
  assert.match(run.err, /^device +webgpu: /m);
  const metrics = await (await fetch(`${url}/metrics`)).text();
  assert.match(metrics, /^lorikeet_device_info\{device="webgpu",name="[^"]+".*\} 1$/m);

  const body = { model: "llama", prompt: [1, 2, 3], max_tokens: 240, ignore_eos: true };
  const paused = await post(url, "/v1/completions", { ...body, stream: true });
  const socket = new WebSocket(`${url.replace("http", "ws")}/v1/ws`);
  const frames: { type: string; error?: { code: string } }[] = [];
  const closed = new Promise<number>((resolve) => socket.once("close", resolve));
  await new Promise<void>((resolve) => {
    socket.on("message", (data) => {
      frames.push(JSON.parse(String(data)));
      if (frames.length === 1) resolve();
    });
    socket.once("open", () => socket.send(JSON.stringify({ type: "completions", id: "a", body })));
  });
  run.child.kill("SIGUSR2");

  assert.match(await paused.text(), /data: \{"error":\{[^\n]*"code":"device_lost"\}\}\n\n$/);
  assert.equal(await closed, 1001);
  assert.equal(frames.at(-1)?.error?.code, "device_lost");
  assert.equal(await run.ended, 11, run.err);
  const lines: { level: string; msg: string }[] = run.out
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line));
  assert.ok(lines.some(({ level, msg }) => level === "error" && /The device was lost/.test(msg)));

  const verified = start(["adapters", "verify", "--adapters", folder]);
  assert.equal(await verified.ended, 0, verified.err);
});

test("a request to a task model ends with device_lost, and the process exits with 11", { skip }, async () => {
  const options = ["serve", "test/fixtures/tasks/policy-mlp", "--port", "0", "--threads", "1"];
  const run = start(options, { NODE_OPTIONS: `--import=data:text/javascript,${encodeURIComponent(planted)}` });
  const url = await addressOf(run);
  assert.match(run.err, /^device +webgpu: /m);
  const input = { name: "observation", shape: [1, 4], datatype: "FP32", data: [1, 2, 3, 4] };
  const infer = () => post(url, "/v2/models/policy-mlp/infer", { inputs: [input] });
  assert.equal((await infer()).status, 200);
  run.child.kill("SIGUSR2");
  let lost = await infer();
  while (lost.status === 200) lost = await infer(); // until the signal has come
  assert.equal(lost.status, 503);
  assert.match(await lost.text(), /was lost/);
  assert.equal(await run.ended, 11, run.err);
});
