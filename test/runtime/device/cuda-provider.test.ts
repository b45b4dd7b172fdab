/** CUDA without its libraries, its driver or its cards: what is missing is named, and nothing crashes. */
import assert from "node:assert/strict";
import { mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { after, afterEach, test } from "node:test";
import { ort } from "../../../src/runtime/api.js";
import { openCuda } from "../../../src/runtime/device/cuda.js";
import { hasCudaProvider, surveyCuda } from "../../../src/runtime/device/cuda-provider.js";
import { libraryPath } from "../../../src/runtime/ort-library.js";

const root = mkdtempSync(join(tmpdir(), "lorikeet-cuda-"));
after(() => rmSync(root, { recursive: true }));
afterEach(() => {
  ort().faultOf = null;
});
const isHere = process.platform === "linux" && process.arch === "x64";
const skip = isHere ? false : "CUDA's provider is used on linux/x64";

const card = { name: "Card N", memoryBytes: 2 ** 33, computeCapability: "9.0", cudaVersion: "13.0" };

/** An environment whose ONNX Runtime has files of the provider beside it, and whose driver's process runs `script` first. */
function installed(script: string): NodeJS.ProcessEnv {
  const folder = mkdtempSync(join(root, "ort-"));
  symlinkSync(libraryPath({}), join(folder, basename(libraryPath({}))));
  for (const name of ["shared", "cuda"]) writeFileSync(join(folder, `libonnxruntime_providers_${name}.so`), "");
  const preload = join(folder, "preload.cjs");
  writeFileSync(preload, script);
  return { ...process.env, LORIKEET_ONNXRUNTIME_LIBRARY: folder, NODE_OPTIONS: `--require ${preload}` };
}

const answer = (survey: unknown): string =>
  `process.stdout.write(${JSON.stringify(JSON.stringify(survey))}, () => process.exit(0));`;

test("a provider that is not there is named with how to get it", { skip }, async () => {
  assert.equal(hasCudaProvider({}), false);
  const { cards, fault } = await surveyCuda({});
  assert.deepEqual(cards, []);
  assert.match(
    fault ?? "",
    /is not installed \(libonnxruntime_providers_shared\.so and libonnxruntime_providers_cuda\.so/,
  );
});

test("a driver that is missing, has no card or dies is a reason, not an error", { skip }, async () => {
  for (const [script, expected] of [
    [
      answer({ cards: [], fault: "NVIDIA's driver (libcuda.so.1) is not installed" }),
      /libcuda\.so\.1\) is not installed/,
    ],
    [answer({ cards: [], fault: null }), /NVIDIA's driver lists no card/],
    ["process.kill(process.pid, 'SIGSEGV');", /NVIDIA's driver failed while it was asked for its cards \(SIGSEGV\)/],
  ] as const) {
    const environment = installed(script);
    assert.equal(hasCudaProvider(environment), true);
    const { cards, fault } = await surveyCuda(environment);
    assert.deepEqual(cards, []);
    assert.match(fault ?? "", expected);
  }
});

test("a provider that does not load is refused with what ONNX Runtime says of it", { skip }, async () => {
  const environment = installed(answer({ cards: [card], fault: null }));
  ort().faultOf = (name) =>
    name === "GetCUDAProviderOptionsAsString" ? "libcublasLt.so.13: cannot open shared object file" : null;
  const { cards, fault } = await surveyCuda(environment);
  assert.deepEqual(cards, []);
  assert.match(
    fault ?? "",
    /CUDA provider does not load \(.*libcublasLt\.so\.13: cannot open.*\); it needs CUDA and cuDNN/,
  );
});

test("a provider that does not start is one clear error", { skip }, async () => {
  ort().faultOf = (name) => (name === "RegisterExecutionProviderLibrary" ? "no symbol CreateEpFactories" : null);
  await assert.rejects(openCuda({ name: "Card N", software: false, memoryBytes: 2 ** 33 }), {
    code: "device_unavailable",
    message: /^CUDA does not start on Card N: .*no symbol CreateEpFactories/,
  });
});
