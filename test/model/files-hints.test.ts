/** Messages about files on disk: where their JSON breaks, which shards are missing, and what was found instead of weights. */
import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { readConfigFile } from "../../src/cli/options/config-file.js";
import { findWeights, readJson } from "../../src/model/checkpoint/files.js";
import { parseRecord } from "../../src/text/json.js";

test("invalid JSON is reported with its line and column", async () => {
  const broken = '{\n  "model": "x",\n  oops\n}';
  assert.throws(() => parseRecord(Buffer.from(broken), "tokenizer.json"), /line 3, column 3/);
  assert.throws(() => parseRecord(Buffer.from([0xff]), "tokenizer.json"), /not UTF-8/);
  const folder = mkdtempSync(join(tmpdir(), "lorikeet-json-"));
  try {
    writeFileSync(join(folder, "config.json"), broken);
    assert.throws(() => readConfigFile(join(folder, "config.json")), /is not JSON: line 3, column 3/);
    await assert.rejects(readJson(folder, "config.json"), /cannot be read as JSON: line 3, column 3/);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
});

test("missing shards, and a GGUF file in place of weights, are named", async () => {
  await assert.rejects(
    findWeights("m", ["config.json", "model-00002-of-00003.safetensors"]),
    /lacks model-00001-of-00003\.safetensors, model-00003-of-00003\.safetensors and the shards' model\.safetensors\.index\.json/,
  );
  await assert.rejects(findWeights("m", ["config.json", "m.Q4.gguf"]), /m\.Q4\.gguf is a GGUF file/);
});
