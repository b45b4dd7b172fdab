/** Surveys of this machine: whatever drivers it has, they return adapters or a reason. */

import assert from "node:assert/strict";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { surveyCards, surveyGpus } from "../../../src/runtime/device/survey.js";
import { explainNoDriver } from "../../../src/runtime/device/vulkan-manifests.js";

const root = await mkdtemp(join(tmpdir(), "lorikeet-survey-"));
after(() => rm(root, { recursive: true }));
const skip = process.platform === "linux" ? false : "Vulkan is asked on Linux";

/** An environment in which the loader finds only this driver. */
async function withDriver(library: string): Promise<NodeJS.ProcessEnv> {
  const manifest = join(root, "driver.json");
  const driver = { file_format_version: "1.0.0", ICD: { library_path: library, api_version: "1.1.0" } };
  await writeFile(manifest, JSON.stringify(driver));
  return { ...process.env, VK_DRIVER_FILES: manifest, VK_ICD_FILENAMES: manifest };
}

test("a survey names each adapter's sizes, or why there are none", { skip }, async () => {
  const { adapters, fault } = await surveyGpus();
  assert.equal(adapters.length > 0, fault === null);
  for (const adapter of adapters) {
    assert.notEqual(adapter.name, "");
    assert.ok((adapter.memoryBytes ?? 0) > 0);
    // Vulkan's least.
    assert.ok((adapter.maxStorageBufferBytes ?? 0) >= 2 ** 27);
    assert.ok((adapter.maxAllocationBytes ?? 0) >= 2 ** 30);
  }
});

test("a driver that cannot be loaded is named with the reason", { skip }, async () => {
  const { adapters, fault } = await surveyGpus(await withDriver(join(root, "missing.so")));
  assert.deepEqual(adapters, []);
  assert.match(
    fault ?? "",
    /no Vulkan driver works here \(driver\.json: .*missing\.so.*\)|the Vulkan loader .* is not installed/,
  );
});

test("a system without a driver's manifest has no driver", () => {
  assert.equal(explainNoDriver({ VK_DRIVER_FILES: join(root, "none.json") }), "no Vulkan driver is installed");
});

test("a survey whose process dies is a reason, not an error", { skip }, async () => {
  const preload = join(root, "die.cjs");
  await writeFile(preload, "process.kill(process.pid, 'SIGSEGV');");
  const { adapters, fault } = await surveyGpus({ ...process.env, NODE_OPTIONS: `--require ${preload}` });
  assert.deepEqual(adapters, []);
  assert.match(fault ?? "", /a Vulkan driver failed .*\(SIGSEGV\)/);
});

test("a survey of cards leaves the environment alone where no card stands beside a software driver", {
  skip,
}, async () => {
  const environment = await withDriver(join(root, "missing.so"));
  await surveyCards(environment);
  assert.equal(environment.VK_LOADER_DRIVERS_DISABLE, undefined);
});
