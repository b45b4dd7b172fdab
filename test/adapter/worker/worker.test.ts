import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import { test } from "node:test";
import { checkAdapter, loadAdapter } from "../../../src/adapter/format.js";
import { AdapterWorker } from "../../../src/adapter/worker/worker.js";
import { edited, modulesOf, oracle, refusalOf, valid } from "../format/helpers.js";

const llama = await modulesOf(`${oracle}/llama`);

test("the worker returns what direct calls return", async (t) => {
  const worker = new AdapterWorker();
  t.after(() => worker.close());
  const checked = await worker.check(valid, llama, { baseNames: ["other"] });
  assert.deepEqual(checked, await checkAdapter(valid, llama, { baseNames: ["other"] }));
  assert.deepEqual(await worker.load(valid, llama), await loadAdapter(valid, llama));
});

test("errors keep every field", async (t) => {
  const worker = new AdapterWorker();
  t.after(() => worker.close());
  const folder = await edited({ config: { use_dora: true, r: 0 } });
  const near = await refusalOf(checkAdapter(folder, llama));
  for (const far of [await refusalOf(worker.check(folder, llama)), await refusalOf(worker.load(folder, llama))]) {
    for (const key of ["code", "message", "param", "found", "allowed", "faults", "status"] as const) {
      assert.deepEqual(far[key], near[key], key);
    }
  }
  const mismatch = await refusalOf(worker.load(valid, llama, { expectedDigest: "sha256:0" }));
  assert.equal(mismatch.code, "digest_mismatch");
  assert.equal(mismatch.allowed, "sha256:0");
});

test("many jobs at once each get their own answer", async (t) => {
  const worker = new AdapterWorker();
  t.after(() => worker.close());
  const names = ["attn-r8", "patterns", "all-r4-rslora"];
  const jobs = Array.from({ length: 12 }, (_, i) => worker.load(`${oracle}/llama/adapters/${names[i % 3]}`, llama));
  const loaded = await Promise.all(jobs);
  for (const [i, name] of names.entries()) {
    const expected = await loadAdapter(`${oracle}/llama/adapters/${name}`, llama);
    for (const adapter of loaded.filter((_, job) => job % 3 === i)) assert.deepEqual(adapter, expected);
  }
});

test("closing ends running, waiting and later jobs, and is idempotent", async () => {
  const worker = new AdapterWorker();
  const jobs = Array.from({ length: 5 }, () => refusalOf(worker.load(valid, llama)));
  await worker.close();
  for (const error of await Promise.all(jobs)) assert.equal(error.code, "draining");
  assert.equal((await refusalOf(worker.check(valid, llama))).code, "draining");
  await worker.close();
});

test("an idle worker does not keep the process alive", async () => {
  const { spawnSync } = await import("node:child_process");
  const self = new URL(import.meta.url).pathname;
  const extension = self.endsWith(".ts") ? ".ts" : ".js";
  const at = (path: string): string => JSON.stringify(new URL(`${path}${extension}`, import.meta.url).href);
  const script = `
    import { AdapterWorker } from ${at("../../../src/adapter/worker/worker")};
    import { modulesOf, oracle, valid } from ${at("../format/helpers")};
    const { summary } = await new AdapterWorker().check(valid, await modulesOf(oracle + "/llama"));
    process.stdout.write(summary.digest);`;
  const loader = extension === ".ts" ? ["--import", "tsx"] : [];
  const child = spawnSync(process.execPath, [...loader, "--input-type=module", "-e", script], {
    encoding: "utf8",
    timeout: 20_000,
  });
  assert.equal(child.status, 0, child.stderr);
  assert.match(child.stdout, /^sha256:/);
});

test("a thread that dies fails its jobs, not the process, and the next job starts another", async (t) => {
  const worker = new AdapterWorker({ maxHeapMb: 24 });
  t.after(() => worker.close());
  const entry = (i: number): string => `"t${i}":{"dtype":"F32","shape":[${Array(16).fill(0)}],"data_offsets":[0,0]}`;
  const json = `{${Array.from({ length: 100_000 }, (_, i) => entry(i)).join(",")}}`;
  const folder = await edited();
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(json.length));
  writeFileSync(`${folder}/adapter_model.safetensors`, Buffer.concat([length, Buffer.from(json)]));
  const limits = { maxHeaderBytes: 2 ** 30, maxTensors: 2 ** 30 };
  const error = await refusalOf(worker.check(folder, llama, { limits }));
  assert.equal(error.code, "internal");
  assert.match(error.message, /ended before its job was done \(.*memory/);
  assert.equal((await worker.check(valid, llama)).summary.modules, 6);
});
