/** Options: one table, four sources, and a clear message for every bad value. */

import assert from "node:assert/strict";
import { mkdtempSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { nearest } from "../../src/base/nearest.js";
import { readConfigFile } from "../../src/cli/options/config-file.js";
import { environmentName, flagName } from "../../src/cli/options/names.js";
import { resolveSettings, type Sources } from "../../src/cli/options/settings.js";
import { bytes, decimal, duration, flag, formatBytes, formatCount, integer } from "../../src/cli/options/units.js";
import { serveOptions } from "../../src/cli/serve/options.js";
import { trainOptions } from "../../src/cli/train/options.js";
import { UsageError } from "../../src/cli/usage.js";

const nothing: Sources = { flags: {}, environment: {}, file: {} };

function faultOf(sources: Partial<Sources>): string {
  try {
    resolveSettings(serveOptions, { ...nothing, ...sources });
  } catch (error) {
    assert.ok(error instanceof UsageError);
    return error.message;
  }
  return assert.fail("no fault was found");
}

test("flags override environment variables, which override the config file, which overrides defaults", () => {
  const file = { "max-batch": 3, port: 1, "log-level": "warn" };
  const environment = { LORIKEET_MAX_BATCH: "4", LORIKEET_PORT: "2" };
  const settings = resolveSettings(serveOptions, { flags: { maxBatch: "5" }, environment, file });
  assert.equal(settings.maxBatch, 5);
  assert.equal(settings.port, 2);
  assert.equal(settings.logLevel, "warn");
  assert.equal(settings.maxQueue, 256);
  assert.equal(settings.threads, null);
});

test("sizes, times, switches and lists of choices are read with their units from any source", () => {
  const settings = resolveSettings(serveOptions, {
    flags: { exact: true, kvBytes: "2GiB" },
    environment: { LORIKEET_ADAPTER_CACHE_BYTES: "512M", LORIKEET_QUEUE_TIMEOUT: "1500ms" },
    file: { exact: false, "request-timeout": 90, dtype: "int4" },
  });
  assert.equal(settings.exact, true);
  assert.equal(settings.kvBytes, 2 * 1024 ** 3);
  assert.equal(settings.adapterCacheBytes, 512 * 1024 ** 2);
  assert.equal(settings.queueTimeout, 1500);
  assert.equal(settings.requestTimeout, 90_000);
  assert.equal(settings.dtype, "int4");
});

test("trusted proxies are addresses and networks", () => {
  const file = { "trusted-proxies": ["10.0.0.0/8", "::1"] };
  assert.deepEqual(resolveSettings(serveOptions, { ...nothing, file }).trustedProxies, file["trusted-proxies"]);
  for (const wrong of ["proxy.example", "10.0.0.0/33", "fd00::/129", "10.0.0.0/", "10.0.0.0/8/8", "fe80::1%eth0"]) {
    assert.match(
      faultOf({ flags: { trustedProxies: wrong } }),
      /^--trusted-proxies must be addresses or networks/,
      wrong,
    );
  }
});

test("origins are read as browsers spell them", () => {
  const allowed = (allowedOrigins: string) => resolveSettings(serveOptions, { ...nothing, flags: { allowedOrigins } });
  assert.equal(resolveSettings(serveOptions, nothing).allowedOrigins, null);
  const found = allowed("HTTPS://Chat.Example:443/, http://10.0.0.5:3000,app://lorikeet,null,*").allowedOrigins;
  assert.deepEqual(found, ["https://chat.example", "http://10.0.0.5:3000", "app://lorikeet", "null", "*"]);
  const file = { "allowed-origins": ["https://a.example", "https://b.example"] };
  assert.deepEqual(resolveSettings(serveOptions, { ...nothing, file }).allowedOrigins, file["allowed-origins"]);
  for (const wrong of ["chat.example", "https://chat.example/page", "https://*.example", "https://a@b", ","]) {
    assert.match(faultOf({ flags: { allowedOrigins: wrong } }), /^--allowed-origins must be /, wrong);
  }
});

test("a fault names its source, what was found and what is allowed", () => {
  assert.equal(faultOf({ flags: { port: "http" } }), '--port must be a whole number from 0 to 65535, not "http".');
  assert.equal(
    faultOf({ environment: { LORIKEET_DTYPE: "fp8" } }),
    'LORIKEET_DTYPE must be one of auto, fp32, fp16, int8, int4, not "fp8".',
  );
  assert.equal(
    faultOf({ file: { "max-batch": [1] }, filePath: "a.json" }),
    '"max-batch" in a.json must be a string, a number or a boolean, not [1].',
  );
  assert.match(faultOf({ file: { maxBatch: 1 }, filePath: "a.json" }), /^"maxBatch" in a\.json is not an option/);
});

test("all faults are reported together", () => {
  const message = faultOf({ flags: { port: "-1", maxBatch: "0", kvBytes: "12 parsecs" } });
  for (const name of ["--port", "--max-batch", "--kv-bytes"]) assert.match(message, new RegExp(name));
});

test("an empty variable and a null in the file count as absent", () => {
  const settings = resolveSettings(serveOptions, {
    flags: {},
    environment: { LORIKEET_PORT: "" },
    file: { port: null },
  });
  assert.equal(settings.port, 8080);
});

test("every default is valid, and every option has a description", () => {
  for (const [name, option] of Object.entries(serveOptions)) {
    if (option.fallback !== null) {
      const written = option.placeholder === "time" ? option.shown : String(option.fallback);
      assert.equal(option.parse(written), option.fallback, name);
    }
    assert.ok(option.help.length > 10 && option.shown.length > 0, name);
  }
  assert.equal(flagName("activeAdapterBytes"), "active-adapter-bytes");
  assert.equal(environmentName("activeAdapterBytes"), "LORIKEET_ACTIVE_ADAPTER_BYTES");
});

test("the nearest name is a few typos away: letters added, dropped, replaced or swapped", () => {
  const names = ["models", "plays", "max-batch"];
  for (const [typed, meant] of [
    ["modles", "models"],
    ["model", "models"],
    ["PLAYS", "plays"],
    ["palys", "plays"],
    ["max_bach", "max-batch"],
    ["mdels", "models"],
    ["maps", null],
    ["", null],
  ] as const) {
    assert.equal(nearest(typed, names), meant, typed);
  }
});

test("units", () => {
  assert.equal(bytes()("1.5k"), 1536);
  assert.equal(bytes()("1 GB"), 1024 ** 3);
  assert.equal(duration("s")("2"), 2000);
  assert.equal(duration("s")("5m"), 300_000);
  assert.equal(duration("ms")("2"), 2);
  assert.equal(duration("s", 1, 40 * 86_400_000)("30d"), 30 * 86_400_000);
  assert.equal(decimal(0, 2)("0.8"), 0.8);
  assert.equal(flag("off"), false);
  for (const bad of ["", "-1", "1.5", "0x10", "1e3", "9007199254740993"]) assert.throws(() => integer(0)(bad), bad);
  for (const bad of ["", "-1M", "1X", "M", "0", "1e30T"]) assert.throws(() => bytes()(bad), bad);
  for (const bad of ["", "1y", "-5s", "30d", "1000000h"]) assert.throws(() => duration("s")(bad), bad);
  assert.throws(() => decimal(0, 2)("2.1"));
  assert.throws(() => flag("maybe"));
  assert.equal(formatBytes(1536), "1.5 KiB");
  assert.equal(formatBytes(512 * 1024 ** 2), "512 MiB");
  assert.equal(formatCount(7_343_360), "7.3 M");
});

test("a configuration file that is missing, not JSON or not an object is one clear error", () => {
  const folder = mkdtempSync(join(tmpdir(), "lorikeet-settings-"));
  const at = (content: string): string => {
    const path = join(folder, "config.json");
    writeFileSync(path, content);
    return path;
  };
  assert.throws(() => readConfigFile(join(folder, "none.json")), /cannot be read \(ENOENT\)/);
  assert.throws(() => readConfigFile(at("{")), /is not JSON/);
  assert.throws(() => readConfigFile(at("[1]")), /must hold one JSON object/);
  assert.deepEqual(readConfigFile(at('{"port":1}')), { port: 1 });
});

test("--warmup-steps is a whole number of steps, or a fraction below 1", () => {
  const read = (value: string): unknown =>
    resolveSettings(trainOptions, { ...nothing, flags: { warmupSteps: value } }).warmupSteps;
  assert.deepEqual(["0", "0.03", "1", "40", "1e2"].map(read), [0, 0.03, 1, 40, 100]);
  for (const wrong of ["-1", "1.5", "", "3 %", "Infinity"]) {
    assert.throws(
      () => read(wrong),
      /--warmup-steps must be a whole number of steps, or a fraction of all steps below 1/,
    );
  }
});

test("a file may be YAML, with the same keys, lists of words, and errors with their line", () => {
  const folder = mkdtempSync(join(tmpdir(), "lorikeet-yaml-"));
  const put = (name: string, text: string): string => {
    writeFileSync(join(folder, name), text);
    return join(folder, name);
  };
  const path = put(
    "recipe.yaml",
    [
      "# a recipe",
      "data: rows.jsonl",
      "learning-rate: 2e-4   # peak",
      "target-modules: [q_proj, v_proj]",
      "use-rslora: true",
      "max-time: 90s",
      'label-template: "{text}\\n=> {label}"',
      "",
    ].join("\n"),
  );
  const file = readConfigFile(path);
  const settings = resolveSettings(trainOptions, { ...nothing, file, filePath: path });
  assert.deepEqual(settings.targetModules, ["q_proj", "v_proj"]);
  assert.deepEqual(
    [settings.data, settings.learningRate, settings.useRslora, settings.maxTime],
    ["rows.jsonl", 2e-4, true, 90_000],
  );
  assert.equal(settings.labelTemplate, "{text}\n=> {label}");
  assert.deepEqual(readConfigFile(put("empty.yml", "# nothing\n")), {});
  assert.throws(() => readConfigFile(put("twice.yml", "rank: 1\nrank: 2\n")), /twice\.yml is not YAML: .*line 2/);
  assert.throws(() => readConfigFile(put("list.yml", "- rank\n")), /must hold one mapping/);
  assert.throws(() => readConfigFile(put("rows.json", "rank: 1\n")), /is not JSON/);
  assert.match(
    faultOf({ file: readConfigFile(put("deep.yml", "max-batch:\n  n: 1\n")) }),
    /must be a string, a number/,
  );
});
