/** Which models' decode steps are captured, by what a device replays correctly. */
import assert from "node:assert/strict";
import { join } from "node:path";
import { test } from "node:test";
import { captureFor } from "../../src/engine/capture.js";
import { openCheckpoint } from "../../src/model/checkpoint/open.js";
import type { Capture } from "../../src/runtime/device/device.js";
import { oracleRoot } from "../support/oracle.js";

const all: Capture = { options: { graphs: "1" }, keepsWindows: true };
const { config: plain } = await openCheckpoint(join(oracleRoot, "llama"));
const { config: windowed } = await openCheckpoint(join(oracleRoot, "mistral-sliding"));
const { config: filtered } = await openCheckpoint(join(oracleRoot, "lfm2"));

test("steps are captured where the device captures at all", () => {
  for (const config of [plain, windowed, filtered]) {
    assert.equal(captureFor(config, { capture: all }), all);
    assert.equal(captureFor(config, { capture: null }), null);
  }
});

test("layers with a window of attention are left out where a replay loses it", () => {
  const capture = { ...all, keepsWindows: false };
  assert.equal(captureFor(windowed, { capture }), null);
  assert.equal(captureFor(plain, { capture }), capture);
});
