import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { copyFile, mkdtemp, readdir, readFile, rm, stat, symlink, truncate, utimes, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, beforeEach, describe, it } from "node:test";
import { LorikeetError } from "../../src/base/errors.js";
import { openCheckpoint } from "../../src/model/checkpoint/open.js";
import type { Checkpoint } from "../../src/model/types.js";
import { float16ToFloat32, float32ToFloat16 } from "../../src/tensor/half.js";
import { SafetensorsFile } from "../../src/tensor/safetensors.js";
import { defaultCacheDirectory } from "../../src/weights/cache/cache.js";
import { readSegment } from "../../src/weights/convert/task.js";
import { planWeights, type WeightPlan } from "../../src/weights/plan.js";
import { type PreparedWeights, type PrepareOptions, prepareWeights } from "../../src/weights/prepare.js";
import { readWeight } from "../support/read-weight.js";
import { relativeDistance } from "../support/relative-distance.js";
import { gaussian, writeCheckpoint } from "../support/synthetic-weights.js";

type Source = Pick<Checkpoint, "tensors">;

let root: string;
let cacheDirectory: string;
let source: Source;

const matrix = gaussian(1, 40 * 200, 0.1);
const plan: WeightPlan = new Map([["a", { form: "int4" }]]);

before(async () => {
  root = await mkdtemp(join(tmpdir(), "lorikeet-prepare-"));
  source = await writeCheckpoint(root, {
    a: { dtype: "F32", shape: [40, 200], values: matrix },
    half: { dtype: "F16", shape: [8, 16], values: gaussian(2, 128) },
    wide: { dtype: "F64", shape: [7], values: gaussian(3, 7) },
    ends: { dtype: "BF16", shape: [24, 200], values: gaussian(4, 24 * 200, 0.1) },
  });
});

let count = 0;
beforeEach(() => {
  cacheDirectory = join(root, `cache-${count++}`);
});

after(() => rm(root, { recursive: true }));

const prepare = (plan_: WeightPlan, options: PrepareOptions = {}, from: Source = source): Promise<PreparedWeights> =>
  prepareWeights(from, plan_, { cacheDirectory, threads: 2, ...options });

/** The same names and sizes, other numbers: a fine-tune of the first. */
const another = async (seed: number): Promise<Source> =>
  writeCheckpoint(await mkdtemp(join(root, "another-")), {
    a: { dtype: "F32", shape: [40, 200], values: gaussian(seed, 40 * 200, 0.1) },
  });

const filesOf = async (suffix: string): Promise<string[]> =>
  (await readdir(cacheDirectory)).filter((name) => name.endsWith(suffix));

describe("forms", () => {
  it("reference F32 and raw weights in place, without touching the cache", async () => {
    const prepared = await prepare(
      new Map([
        ["a", { form: "fp32" }],
        ["half", { form: "raw" }],
      ] as const),
    );
    assert.equal(prepared.file, null);
    assert.equal(prepared.weights.get("a")?.data, source.tensors.get("a"));
    assert.equal(prepared.weights.get("half")?.data.dtype, "F16");
    await assert.rejects(stat(cacheDirectory));
    await prepared.close();
  });

  it("round to float16 what is stored in other types, and reference F16", async () => {
    const prepared = await prepare(
      new Map([
        ["half", { form: "fp16" }],
        ["ends", { form: "fp16" }],
        ["a", { form: "int4", halfScales: true }],
      ] as const),
    );
    const { half, ends, a } = Object.fromEntries(prepared.weights);
    assert.equal(half?.data, source.tensors.get("half"));
    assert.deepEqual([ends?.data.dtype, ends?.bytes, a?.scales?.dtype], ["F16", 2 * 24 * 200, "F16"]);
    const exact = await prepare(new Map([["ends", { form: "fp32" }]]));
    const values = readWeight(exact.weights.get("ends") as never);
    assert.deepEqual(readWeight(ends as never), float16ToFloat32(float32ToFloat16(values)));
    const whole = await prepare(plan);
    const difference = relativeDistance(readWeight(a as never), readWeight(whole.weights.get("a") as never));
    assert.ok(difference > 0 && difference < 1e-3, "scales are rounded, integers stay");
    for (const each of [prepared, exact, whole]) await each.close();
  });

  it("refuse float16 for a number that it does not hold", async () => {
    const values = new Float32Array(4).fill(70_000);
    const large = await writeCheckpoint(await mkdtemp(join(root, "large-")), {
      b: { dtype: "F32", shape: [2, 2], values },
    });
    await assert.rejects(prepare(new Map([["b", { form: "fp16" }]]), {}, large), {
      code: "model_invalid",
      message: /"b" holds numbers up to 70000/,
    });
  });

  it("convert halves and doubles to float32, exactly", async () => {
    const prepared = await prepare(
      new Map([
        ["half", { form: "fp32" }],
        ["wide", { form: "fp32" }],
      ] as const),
    );
    const { half, wide } = Object.fromEntries(prepared.weights);
    assert(half && wide);
    assert.deepEqual(readWeight(half), float16ToFloat32(float32ToFloat16(gaussian(2, 128))));
    assert.deepEqual(readWeight(wide), gaussian(3, 7));
    await prepared.close();
  });

  it("join stored tensors along their outputs", async () => {
    const joined = await prepare(new Map([["both", { form: "int8", sources: ["a", "ends"] }]] as const));
    const alone = await prepare(
      new Map([
        ["a", { form: "int8" }],
        ["ends", { form: "int8" }],
      ] as const),
    );
    const both = joined.weights.get("both");
    const [a, ends] = [alone.weights.get("a"), alone.weights.get("ends")];
    assert(both && a && ends);
    assert.deepEqual(both.shape, [64, 200]);
    assert.deepEqual([...readWeight(both)], [...readWeight(a), ...readWeight(ends)]);
    await Promise.all([joined.close(), alone.close()]);
  });

  it("quantize a matrix stored [in, out] as its transpose would be", async () => {
    for (const form of ["int4", "int8", "int8row"] as const) {
      const turned = await prepare(new Map([["a", { form, transposed: true }]]));
      const weight = turned.weights.get("a");
      assert(weight?.scales);
      assert.deepEqual(weight.data.shape.slice(0, 2), form === "int8row" ? [40, 200] : [200, 1]);
      assert(relativeDistance(readWeight(weight), matrix) < (form === "int4" ? 0.12 : 0.01));
      assert(Math.abs(relativeDistance(readWeight(weight), matrix) - weight.error) < 1e-5);
      await turned.close();
    }
  });

  it("fall back from rows to blocks where the rows' error is too large", async () => {
    const values = gaussian(9, 4 * 512, 0.1);
    for (let row = 0; row < 4; row++) values[row * 512] = 300 * (values[row * 512] ?? 0);
    const spiky = await writeCheckpoint(await mkdtemp(join(root, "spiky-")), {
      a: { dtype: "F32", shape: [40, 200], values: matrix },
      spiky: { dtype: "F32", shape: [4, 512], values },
    });
    const entry = { form: "int8row", maxRowError: 0.008 } as const;
    const prepared = await prepare(
      new Map([
        ["a", entry],
        ["spiky", entry],
      ]),
      {},
      spiky,
    );
    assert.deepEqual(
      [...prepared.weights.values()].map(({ form }) => form),
      ["int8row", "int8"],
    );
    const [a, left] = [...prepared.weights.values()];
    assert.deepEqual([a?.rowLimit, a?.rowError, left?.rowLimit], [127, undefined, undefined]);
    assert(left?.rowError !== undefined && left.rowError > 0.008 && left.error < left.rowError);
    for (const weight of prepared.weights.values()) {
      const expected = weight.name === "a" ? matrix : values;
      assert(Math.abs(relativeDistance(readWeight(weight), expected) - weight.error) < 1e-5);
    }
    await prepared.close();
  });

  it("keep rows within their limit, and cache another limit as another file", async () => {
    const rows = (rowLimit: number) => prepare(new Map([["a", { form: "int8row", rowLimit }]] as const));
    const [full, reduced] = [await rows(127), await rows(64)];
    assert.notEqual(full.file, reduced.file);
    for (const [{ weights }, limit] of [
      [full, 127],
      [reduced, 64],
    ] as const) {
      const weight = weights.get("a") ?? assert.fail();
      assert.equal(weight.rowLimit, limit);
      const steps = new Int8Array(readSegment(weight.data).buffer);
      assert.equal(Math.max(...steps.map(Math.abs)), limit);
      assert(relativeDistance(readWeight(weight), matrix) < 0.95 / limit);
    }
    const again = await rows(64);
    assert.deepEqual([again.cached, again.weights], [true, reduced.weights]);
    await Promise.all([full, reduced, again].map((prepared) => prepared.close()));
  });

  it("refuse weights that are not finite or missing, by name, and leave no files behind", async () => {
    const bad = new Float32Array(256);
    bad[200] = Number.NaN;
    const checkpoint = await writeCheckpoint(await mkdtemp(join(root, "bad-")), {
      bad: { dtype: "F32", shape: [2, 128], values: bad },
    });
    await assert.rejects(
      prepare(new Map([["bad", { form: "int8" }]] as const), {}, checkpoint),
      has("model_invalid", "bad"),
    );
    await assert.rejects(prepare(new Map([["wide", { form: "int8" }]] as const)), has("model_invalid", "matrix"));
    const { file, ...place } = source.tensors.get("a") ?? assert.fail();
    for (const gone of [
      { ...place, file: `${file}.gone` },
      { ...place, file, offset: 1e9 },
    ]) {
      const checkpoint = { tensors: new Map([["a", gone]]) };
      await assert.rejects(prepare(plan, {}, checkpoint), has("model_invalid", gone.file));
    }
    assert.deepEqual(await readdir(cacheDirectory), []);
  });
});

describe("the embedded model", () => {
  it("has small errors in each precision, and complete, aligned bytes", async () => {
    const checkpoint = await openCheckpoint("models/bookworm-7m");
    for (const [dtype, limit] of [
      ["int4", 0.11],
      ["int8", 0.008],
    ] as const) {
      const weightPlan = planWeights(checkpoint.config, checkpoint.tensors, { dtype, pack: dtype === "int4" });
      const steps: number[] = [];
      const progress = (_: string, done: number, total: number): void => void steps.push(done / total);
      const prepared = await prepare(weightPlan, { progress }, checkpoint);
      assert.deepEqual([steps[0], steps.at(-1)], [0, 1]);
      assert.deepEqual([...prepared.weights.keys()], [...weightPlan.keys()]);
      for (const { error, data, scales } of prepared.weights.values()) {
        assert(error < limit);
        assert.equal(data.offset % 64, 0);
        assert.equal((scales?.offset ?? 0) % 64, 0);
      }
      assert(prepared.file);
      await using file = await SafetensorsFile.open(prepared.file);
      assertWithoutGaps(file);
      await prepared.close();
    }
  });
});

describe("the cache", () => {
  it("is hit by the same plan and checkpoint only", async () => {
    const first = await prepare(plan);
    const again = await prepare(plan);
    assert.deepEqual([first.cached, again.cached, again.file], [false, true, first.file]);
    assert.deepEqual(again.weights, first.weights);
    const other = await prepare(plan, {}, await another(11));
    const more = await prepare(new Map([["a", { form: "int8" }]]));
    assert.equal(new Set([first.file, other.file, more.file]).size, 3);
    await Promise.all([first, again, other, more].map((prepared) => prepared.close()));
    assert.deepEqual(await filesOf(".lease"), []);
  });

  it("recognizes a copy at another path by its content, and reads it once", async () => {
    const first = await prepare(plan);
    const folder = await mkdtemp(join(root, "copy-"));
    const { file, ...place } = source.tensors.get("a") ?? assert.fail();
    const copy = join(folder, "other-name.safetensors");
    await copyFile(file, copy);
    const copied = { tensors: new Map([["a", { ...place, file: copy }]]) };
    const read: string[] = [];
    const progress = (what: string): void => void read.push(what);
    const again = await prepare(plan, { progress }, copied);
    assert.deepEqual([again.cached, again.file], [true, first.file]);
    assert.deepEqual(read, ["reading weights", "reading weights"]);
    const third = await prepare(plan, { progress }, copied);
    assert.deepEqual([third.cached, read.length], [true, 2]);
    await Promise.all([first, again, third].map((prepared) => prepared.close()));
  });

  it("does not mistake another model of the same path, size and time for the first", async () => {
    const here = await another(41);
    const { file } = here.tensors.get("a") ?? assert.fail();
    await utimes(file, 1, 1); // as images and stores that are built reproducibly set it
    const first = await prepare(plan, {}, here);
    const there = await another(42);
    await copyFile(there.tensors.get("a")?.file ?? "", file);
    await utimes(file, 1, 1);
    const second = await prepare(plan, {}, here);
    assert.equal(second.cached, false);
    assert.notEqual(second.file, first.file);
    await Promise.all([first, second].map((prepared) => prepared.close()));
  });

  it("rereads the weights if the remembered digests are invalid", async () => {
    const first = await prepare(plan);
    await first.close();
    for (const nonsense of ["{", "[1]", '[["a"]]', "null"]) {
      await writeFile(join(cacheDirectory, "contents.json"), nonsense);
      const again = await prepare(plan);
      assert.deepEqual([again.cached, again.file], [true, first.file]);
      await again.close();
    }
  });

  it("holds the same bytes with any number of threads", async () => {
    const one = await prepare(plan, { threads: 1 });
    const two = await prepare(plan, { threads: 3, cacheDirectory: `${cacheDirectory}-b` });
    assert(one.file && two.file);
    assert.deepEqual(await readFile(one.file), await readFile(two.file));
    await Promise.all([one.close(), two.close()]);
  });

  it("rewrites a truncated, foreign, empty or damaged file", async () => {
    const first = await prepare(plan);
    await first.close();
    const { file } = first;
    assert(file);
    const bytes = await readFile(file);
    const other = await prepare(new Map([["a", { form: "int8" }]]));
    const foreign = await readFile(other.file ?? assert.fail());
    await other.close();
    const flipped = Buffer.from(bytes);
    flipped[bytes.length - 100] = (flipped.at(-100) ?? 0) ^ 0x80;
    const damages = [
      () => truncate(file, bytes.length - 1),
      () => writeFile(file, foreign),
      () => writeFile(file, ""),
      () => writeFile(file, flipped),
    ];
    for (const damage of damages) {
      await damage();
      const again = await prepare(plan);
      assert.deepEqual([again.cached, again.file], [false, file]);
      assert.deepEqual(await readFile(file), bytes);
      await again.close();
    }
  });

  it("serves concurrent callers from one file", async () => {
    const all = await Promise.all([1, 2, 3].map(() => prepare(plan)));
    assert.equal(new Set(all.map(({ file }) => file)).size, 1);
    for (const { weights } of all) assert.deepEqual(weights, all[0]?.weights);
    await Promise.all(all.map((prepared) => prepared.close()));
    assert.deepEqual(await filesOf(".tmp"), []);
    assert.equal((await filesOf(".safetensors")).length, 1);
  });

  it("removes the least recently used files for room, but none in use", async () => {
    const measured = await prepare(plan);
    await measured.close();
    const { size } = await stat(measured.file ?? "");
    await rm(cacheDirectory, { recursive: true });
    const cacheBytes = 2 * size;
    const open = async (seed: number) => prepare(plan, { cacheBytes }, await another(seed));
    const old = await open(21);
    await utimes(old.file ?? "", 1, 1);
    const idle = await open(22);
    await idle.close();
    const fresh = await open(23); // room must be made: `old` is older but in use
    const left = await filesOf(".safetensors");
    assert.deepEqual(left.sort(), [old, fresh].map(({ file }) => file?.split("/").at(-1)).sort());
    await assert.rejects(open(24), has("store_full", String(size)));
    await old.close();
    const more = await open(24);
    assert(!(await filesOf(".safetensors")).includes(old.file?.split("/").at(-1) ?? ""));
    await Promise.all([fresh.close(), more.close()]);
  });

  it("says how many bytes it needs if the limit or the disk has no room, and removes nothing in vain", async () => {
    const kept = await prepare(plan);
    await kept.close();
    const location = source.tensors.get("a") ?? assert.fail();
    const shape = [2 ** 22, 2 ** 24]; // 36 TB as int4
    const huge = { tensors: new Map([["a", { ...location, shape }]]) };
    const options = { cacheBytes: Number.POSITIVE_INFINITY };
    await assert.rejects(prepare(plan, options, huge), has("store_full", "disk of the cache folder"));
    await assert.rejects(prepare(plan, {}, huge), has("store_full", cacheDirectory));
    assert.deepEqual(await filesOf(".safetensors"), [kept.file?.split("/").at(-1)]);
  });

  it("removes unfinished files and leases of dead processes", async () => {
    const kept = await prepare(plan);
    await kept.close();
    const key = "0".repeat(64);
    const dead = await endedProcess();
    const mark = (await leaseName()).replace(/\.\d+\.[0-9a-f]+\.lease$/, `.${dead}.abc`).replace(/^[0-9a-f]{64}/, key);
    await writeFile(join(cacheDirectory, `${mark}.tmp`), "half");
    await writeFile(join(cacheDirectory, `${key}.safetensors`), "x");
    await writeFile(join(cacheDirectory, `${mark}.lease`), "");
    await writeFile(join(cacheDirectory, "notes.txt"), "not ours");
    const { size } = await stat(kept.file ?? "");
    await utimes(join(cacheDirectory, `${key}.safetensors`), 1, 1);
    const next = await prepare(plan, { cacheBytes: 2 * size }, await another(31));
    const names = await readdir(cacheDirectory);
    assert(!names.some((name) => name.startsWith(key)), names.join());
    assert(names.includes("notes.txt"));
    await next.close();
  });

  it("stops at an abort and leaves no unfinished file", async () => {
    const stop = new AbortController();
    const progress = (): void => stop.abort();
    await assert.rejects(prepare(plan, { signal: stop.signal, progress }), has("cancelled", "stopped"));
    await assert.rejects(prepare(plan, { signal: AbortSignal.abort() }), has("cancelled", "stopped"));
    assert.deepEqual(await readdir(cacheDirectory), []);
  });

  it("resolves a symbolic link to its folder, and names a folder that cannot be used", async () => {
    const target = await mkdtemp(join(root, "target-"));
    await symlink(target, cacheDirectory);
    const prepared = await prepare(plan);
    assert(prepared.file?.startsWith(target));
    await prepared.close();
    const blocked = join(root, "model.safetensors", "cache");
    await assert.rejects(prepare(plan, { cacheDirectory: blocked }), has("invalid_value", blocked));
  });

  it("lies under XDG_CACHE_HOME, or under the home folder", () => {
    assert.equal(defaultCacheDirectory({ XDG_CACHE_HOME: "/x" }), join("/x", "lorikeet"));
    assert.match(defaultCacheDirectory({ XDG_CACHE_HOME: "relative" }), /\.cache.lorikeet$/);
  });
});

function assertWithoutGaps(file: SafetensorsFile): void {
  const ranges = [...file.tensors.values()].sort((left, right) => left.offset - right.offset);
  let end = ranges[0]?.offset ?? 0;
  for (const { offset, byteLength } of ranges) {
    assert.equal(offset, end, "the reference implementation accepts no gaps");
    end += byteLength;
  }
  assert.equal(end, file.fileBytes);
}

async function leaseName(): Promise<string> {
  const held = await prepare(plan);
  const [name] = await filesOf(".lease");
  await held.close();
  return name ?? assert.fail("a lease is taken");
}

/** The id of a process that has lived and is gone. */
function endedProcess(): Promise<number> {
  return new Promise((resolve) => {
    const child = spawn(process.execPath, ["--version"], { stdio: "ignore" });
    child.on("exit", () => resolve(child.pid ?? 0));
  });
}

function has(code: string, words: string): (error: unknown) => boolean {
  return (error) => {
    assert(error instanceof LorikeetError, String(error));
    assert.equal(error.code, code);
    assert(error.message.includes(words), error.message);
    return true;
  };
}
