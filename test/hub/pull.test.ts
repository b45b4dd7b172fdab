/** Downloads into the Hugging Face cache: the layout, what is chosen, and every way in which a transfer can break. */

import assert from "node:assert/strict";
import { createHash, randomBytes } from "node:crypto";
import {
  appendFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join, relative } from "node:path";
import { after, test } from "node:test";
import { LorikeetError } from "../../src/base/errors.js";
import { isObject } from "../../src/base/json.js";
import { findCached } from "../../src/hub/cached.js";
import { fullDisk, requireSpace } from "../../src/hub/disk-space.js";
import { readHubEnvironment } from "../../src/hub/environment.js";
import { acquireLock } from "../../src/hub/lock.js";
import { Pace } from "../../src/hub/pace.js";
import { type PullOptions, pullRepository } from "../../src/hub/pull.js";
import { parseRepository } from "../../src/hub/repository.js";
import type { OnnxChoice } from "../../src/hub/selection.js";
import { tryLockFile } from "../../src/runtime/file-lock.js";
import { type HubRepository, hubToken, LoopbackHub } from "../support/hub.js";

const folder = mkdtempSync(join(tmpdir(), "lorikeet-hub-"));
after(() => rmSync(folder, { recursive: true }));

const weights = randomBytes(100_000);
const config = Buffer.from('{"model_type":"llama"}');
const small: Readonly<Record<string, Buffer>> = {
  "config.json": config,
  "tokenizer.json": Buffer.from("{}"),
  "model.safetensors": weights,
};

const repository = (
  files: Readonly<Record<string, Buffer>>,
  more: Omit<HubRepository, "files"> = {},
): HubRepository => ({
  files: new Map(Object.entries(files)),
  ...more,
});

/** Llama's are read from safetensors; others from these ONNX files. */
const onnx: OnnxChoice = {
  file: null,
  served: (names) => names,
  beside: (_, file) => [file],
  isPart: () => false,
  readsSafetensors: (json) => isObject(json) && json.model_type === "llama",
  choose: (names) => names.filter((name) => name === "onnx/model.onnx"),
};

let homes = 0;
const newHome = (): string => join(folder, `home-${++homes}`);
const quick = { maxAttempts: 3, minBytes: 1000, pauseMs: 1, maxPauseMs: 1000 };

/** Pulls `org/model`, or another name, from a hub into a new cache, or that of `home`. */
function pull(
  hub: LoopbackHub,
  {
    name = "org/model",
    home = newHome(),
    variables = {},
    ...more
  }: Partial<PullOptions> & {
    readonly name?: string;
    readonly home?: string;
    readonly variables?: Readonly<Record<string, string>>;
  } = {},
) {
  const parsed = parseRepository(name);
  assert.ok(parsed);
  return pullRepository(parsed, {
    environment: readHubEnvironment({ HF_ENDPOINT: hub.endpoint, HF_HOME: home, ...variables }),
    kind: "model",
    userAgent: "test",
    tryLock: tryLockFile,
    onnx,
    progress: () => {},
    signal: new AbortController().signal,
    retries: quick,
    ...more,
  });
}

const sha256 = (bytes: Buffer): string => createHash("sha256").update(bytes).digest("hex");
const blobsOf = (home: string): string => join(home, "hub", "models--org--model", "blobs");

test("a pulled model has huggingface_hub's layout in the cache", async () => {
  await using hub = await LoopbackHub.start({ "org/model": repository(small) });
  const home = newHome();
  const { folder: snapshot, commit, fetched } = await pull(hub, { home });
  const root = join(home, "hub", "models--org--model");
  assert.equal(snapshot, join(root, "snapshots", commit));
  assert.equal(readFileSync(join(root, "refs", "main"), "utf8"), commit);
  assert.equal(readlinkSync(join(snapshot, "model.safetensors")), `../../blobs/${sha256(weights)}`);
  const gitHash = createHash("sha1").update(`blob ${config.length}\0`).update(config).digest("hex");
  assert.equal(readlinkSync(join(snapshot, "config.json")), `../../blobs/${gitHash}`);
  assert.deepEqual(readFileSync(join(snapshot, "model.safetensors")), weights);
  assert.deepEqual(readdirSync(root).sort(), ["blobs", "refs", "snapshots"]);
  assert.equal(readdirSync(blobsOf(home)).length, 3);
  assert.deepEqual([...fetched].sort(), Object.keys(small).sort());
  assert.deepEqual((await pull(hub, { home })).fetched, []);
});

test("only the files that a model needs are downloaded, and only one format of its weights", async () => {
  const index = { weight_map: { a: "model-1-of-2.safetensors", b: "model-2-of-2.safetensors" } };
  const files = {
    ...{
      "config.json": config,
      "README.md": config,
      "pytorch_model.bin": weights,
      "consolidated.safetensors": weights,
    },
    ...{ "model-1-of-2.safetensors": weights, "model-2-of-2.safetensors": config, "other.safetensors": weights },
    ...{
      "model.safetensors.index.json": Buffer.from(JSON.stringify(index)),
      "onnx/model.onnx": weights,
      "x.gguf": weights,
    },
    ...{ "chat_template.jinja": config, "special_tokens_map.json": config, "merges.txt": config, "train.py": config },
  };
  await using hub = await LoopbackHub.start({ "org/model": repository(files) });
  const home = newHome();
  const { folder: snapshot } = await pull(hub, { home });
  assert.deepEqual(readdirSync(snapshot).sort(), [
    ...["chat_template.jinja", "config.json", "merges.txt", "model-1-of-2.safetensors", "model-2-of-2.safetensors"],
    ...["model.safetensors.index.json", "special_tokens_map.json"],
  ]);
  // It has no tokenizer, and the cache says so: the hub need not be asked again.
  const cached = await findCached(join(home, "hub"), { id: "org/model", revision: "main" }, "model", onnx);
  assert.deepEqual(cached, { kind: "model", folder: snapshot, isWhole: true });
});

test("a model of ONNX files comes in one precision, with its external data, checkpoint and preprocessing, in their folders", async () => {
  const graph = randomBytes(30_000);
  const chosen = {
    ...{
      "config.json": Buffer.from('{"model_type":"bert"}'),
      "onnx/model.onnx": graph,
      "model.safetensors": weights,
    },
    ...{ "onnx/model.onnx_data": randomBytes(20_000), "onnx/model.onnx_data_1": config, "tokenizer.json": config },
    ...{ "preprocessor_config.json": config, "modules.json": config, "1_Pooling/config.json": config },
    ...{ "2_Dense/config.json": config, "2_Dense/model.safetensors": weights },
    "additional_chat_templates/tool_use.jinja": config,
    "config_sentence_transformers.json": config,
  };
  const others = {
    ...{ "onnx/model_fp16.onnx": weights, "onnx/model_fp16.onnx_data": weights, "pytorch_model.bin": weights },
    ...{ "openvino/model.xml": config, "onnx/deeper/model.onnx": weights, "../onnx/model.onnx": weights },
  };
  await using hub = await LoopbackHub.start({ "org/model": repository({ ...others, ...chosen }) });
  const home = newHome();
  const find = () => findCached(join(home, "hub"), { id: "org/model", revision: "main" }, "model", onnx);
  hub.fail({ path: "model.onnx", breakAfter: 10, times: 3 });
  await assert.rejects(pull(hub, { home }), { code: "hub_unreachable" });
  assert.equal(await find(), null);
  const { folder: snapshot } = await pull(hub, { home });
  const found = readdirSync(snapshot, { recursive: true, withFileTypes: true }).filter((entry) => !entry.isDirectory());
  const names = found.map(({ parentPath, name }) => relative(snapshot, join(parentPath, name)));
  assert.deepEqual(names.sort(), Object.keys(chosen).sort());
  for (const [name, bytes] of Object.entries(chosen)) assert.deepEqual(readFileSync(join(snapshot, name)), bytes);
  assert.equal(readlinkSync(join(snapshot, "onnx", "model.onnx")), `../../../blobs/${sha256(graph)}`);
  assert.deepEqual(await find(), { kind: "model", folder: snapshot, isWhole: true });
  rmSync(join(snapshot, "onnx"), { recursive: true });
  assert.deepEqual(
    await find(),
    { kind: "model", folder: snapshot, isWhole: false },
    "an earlier pull took no ONNX files",
  );
  hub.set("org/model", repository({ "config.json": config, "onnx/a.onnx": weights, "onnx/b.onnx": weights }));
  await assert.rejects(pull(hub), {
    code: "model_unsupported",
    message: /has the ONNX files onnx\/a\.onnx, onnx\/b\.onnx/,
  });
});

test("a decoder whose ONNX files alone are in the cache is pulled, unless the hub has no safetensors", async () => {
  const graph = { "config.json": config, "tokenizer.json": config, "onnx/model.onnx": weights };
  await using hub = await LoopbackHub.start({
    "org/model": repository({ ...graph, "model.safetensors": weights }),
    "org/graph": repository(graph),
  });
  const home = newHome();
  const find = (id: string) => findCached(join(home, "hub"), { id, revision: "main" }, "model", onnx);
  const { folder: snapshot } = await pull(hub, { home });
  rmSync(join(snapshot, "model.safetensors"));
  mkdirSync(join(snapshot, "onnx"));
  writeFileSync(join(snapshot, "onnx/model.onnx"), weights);
  assert.deepEqual(await find("org/model"), { kind: "model", folder: snapshot, isWhole: false });
  await pull(hub, { home });
  assert.deepEqual(await find("org/model"), { kind: "model", folder: snapshot, isWhole: true });
  const { folder: own } = await pull(hub, { home, name: "org/graph" });
  assert.deepEqual(await find("org/graph"), { kind: "model", folder: own, isWhole: true });
});

test("a JSON file that decides what is downloaded is not read beyond a bound", async () => {
  const files = { ...small, "onnx/model.onnx": weights };
  const { "model.safetensors": shard = config, ...rest } = small;
  const index = { ...rest, "model.safetensors.index.json": config, "a.safetensors": shard };
  const sizeOf = (name: string) => ({ sizes: new Map([[name, 2 ** 26 + 1]]) });
  await using hub = await LoopbackHub.start({
    "org/model": repository(files, sizeOf("config.json")),
    "org/shards": repository(index, sizeOf("model.safetensors.index.json")),
  });
  for (const [name, message] of [
    ["org/model", /^config\.json of org\/model has 67108865 bytes; 67108864 are allowed/],
    ["org/shards", /^model\.safetensors\.index\.json of org\/shards has 67108865 bytes; 67108864/],
  ] as const) {
    await assert.rejects(pull(hub, { name }), { code: "model_invalid", message });
  }
  assert.ok(hub.seen.every(({ path }) => !path.includes("/resolve/")));
});

test("a mirror that lists only names is asked for each file's size and hash", async () => {
  await using hub = await LoopbackHub.start({ "org/model": repository(small, { bare: true }) });
  const { folder: snapshot } = await pull(hub);
  assert.equal(readlinkSync(join(snapshot, "model.safetensors")), `../../blobs/${sha256(weights)}`);
  assert.deepEqual(readFileSync(join(snapshot, "config.json")), config);
  assert.ok(hub.seen.every(({ host, token }) => host === "hub" || token === null));
  assert.equal(hub.seen.filter(({ method }) => method === "HEAD").length, 3);
});

test("file names from a hub cannot leave the repository's folder", async () => {
  const evil = { weight_map: { a: "../../../evil.safetensors" } };
  const files = { ...small, "../../evil.json": config, "/etc/evil": config, "a/config.json": config };
  await using hub = await LoopbackHub.start({ "org/model": repository(files) });
  assert.deepEqual(readdirSync((await pull(hub)).folder).sort(), Object.keys(small).sort());
  const { "model.safetensors": _, ...others } = small;
  const index = Buffer.from(JSON.stringify(evil));
  hub.set(
    "org/model",
    repository({ ...others, "model.safetensors.index.json": index, "../../../evil.safetensors": weights }),
  );
  await assert.rejects(pull(hub), { code: "model_invalid", message: /evil\.safetensors.*is not a file next to it/ });
});

for (const [what, fault] of [
  ["breaks", { breakAfter: 30_000 }],
  ["stalls", { stallAfter: 30_000 }],
] as const) {
  test(`a transfer that ${what} resumes where it stopped`, async () => {
    await using hub = await LoopbackHub.start({ "org/model": repository(small) });
    hub.fail({ path: "model.safetensors", ...fault });
    const { folder: snapshot } = await pull(hub, { variables: { HF_HUB_DOWNLOAD_TIMEOUT: "0.5" } });
    assert.deepEqual(readFileSync(join(snapshot, "model.safetensors")), weights);
    const ranges = hub.seen.filter(({ host }) => host === "files").map(({ range }) => range);
    assert.deepEqual(ranges, [null, "bytes=30000-"]);
  });
}

test("a transfer that keeps breaking ends with one line, and the next one resumes it", async () => {
  await using hub = await LoopbackHub.start({ "org/model": repository(small) });
  const home = newHome();
  hub.fail({ path: "model.safetensors", breakAfter: 40_000 });
  hub.fail({ path: "model.safetensors", breakAfter: 0, times: 3 });
  await assert.rejects(pull(hub, { home }), {
    code: "hub_unreachable",
    message: /^The download failed: .*after 3 attempts/,
  });
  assert.equal(readFileSync(join(blobsOf(home), `${sha256(weights)}.incomplete`)).length, 40_000);
  assert.equal(existsSync(join(blobsOf(home), sha256(weights))), false);
  assert.equal(await findCached(join(home, "hub"), { id: "org/model", revision: "main" }, "model", onnx), null);
  const { folder: snapshot, fetched } = await pull(hub, { home });
  assert.equal(hub.seen.at(-1)?.range, "bytes=40000-");
  assert.deepEqual(fetched, ["model.safetensors"]);
  assert.deepEqual(readFileSync(join(snapshot, "model.safetensors")), weights);
  assert.deepEqual(
    readdirSync(blobsOf(home)).filter((name) => name.includes("incomplete")),
    [],
  );
});

test("a hub that cannot be asked is not said to have sent anything", async () => {
  await using hub = await LoopbackHub.start({ "org/model": repository(small) });
  const home = newHome();
  hub.fail({ path: "org/model/revision/main", status: 503, times: 3 });
  await assert.rejects(pull(hub, { home }), {
    code: "hub_unreachable",
    message: /^The download could not begin: 127\.0\.0\.1:\d+ answered 503 \(after 3 attempts\)\.$/,
  });
  hub.fail({ path: "model.safetensors", breakAfter: 10_000 });
  hub.fail({ path: "model.safetensors", breakAfter: 0, times: 3 });
  await assert.rejects(pull(hub, { home }), {
    message: /^The download failed: .* The partial download is kept; rerun the command to resume\.$/,
  });
});

test("wrong bytes never get a blob's name: the first time they are downloaded again, the second time they are an error", async () => {
  await using hub = await LoopbackHub.start({ "org/model": repository(small) });
  hub.fail({ path: "model.safetensors", wrong: true });
  const { folder: snapshot } = await pull(hub);
  assert.deepEqual(readFileSync(join(snapshot, "model.safetensors")), weights);
  const home = newHome();
  hub.fail({ path: "config.json", wrong: true, times: 2 });
  await assert.rejects(pull(hub, { home }), {
    code: "hub_invalid",
    message: /config\.json of org\/model differs from the hub's listing/,
  });
  const whole = readdirSync(blobsOf(home)).filter((name) => !name.endsWith(".incomplete"));
  assert.ok(whole.every((name) => !readFileSync(join(blobsOf(home), name)).equals(Buffer.alloc(config.length, 7))));
});

test("a partial download of another file is detected by its hash", async () => {
  await using hub = await LoopbackHub.start({ "org/model": repository(small) });
  for (const left of [randomBytes(50_000), randomBytes(weights.length), randomBytes(weights.length + 1)]) {
    const home = newHome();
    mkdirSync(blobsOf(home), { recursive: true });
    writeFileSync(join(blobsOf(home), `${sha256(weights)}.incomplete`), left);
    const { folder: snapshot } = await pull(hub, { home });
    assert.deepEqual(readFileSync(join(snapshot, "model.safetensors")), weights);
  }
});

test("a server that ignores the range restarts the file from its first byte", async () => {
  await using hub = await LoopbackHub.start({ "org/model": repository(small) });
  hub.fail({ path: "model.safetensors", breakAfter: 30_000 });
  hub.fail({ path: "model.safetensors", ignoreRange: true });
  const done: number[] = [];
  const { folder: snapshot } = await pull(hub, { progress: (_, bytes) => done.push(bytes) });
  assert.deepEqual(readFileSync(join(snapshot, "model.safetensors")), weights);
  assert.equal(
    done.at(-1),
    Object.values(small).reduce((sum, { length }) => sum + length, 0),
  );
});

test("a hub that breaks each transfer after a few bytes is not retried forever", async () => {
  await using hub = await LoopbackHub.start({ "org/model": repository(small) });
  hub.fail({ path: "model.safetensors", breakAfter: 10, times: 100 });
  await assert.rejects(pull(hub), { code: "hub_unreachable", message: /after 3 attempts/ });
  assert.equal(hub.seen.filter(({ host }) => host === "files").length, 3);
});

test("a trickling sender is too slow after one window with too few bytes", () => {
  const pace = new Pace(0, { windowMs: 1000, minBytes: 100 });
  assert.deepEqual(
    [pace.isKept(500, 60), pace.isKept(1000, 40), pace.isKept(1999, 1), pace.isKept(2000, 98)],
    [...[true, true, true, false]],
  );
});

test("a transfer whose range the hub rejects restarts from the first byte", async () => {
  await using hub = await LoopbackHub.start({ "org/model": repository(small) });
  hub.fail({ path: "model.safetensors", breakAfter: 30_000 });
  hub.fail({ path: "model.safetensors", status: 416 });
  const { folder: snapshot } = await pull(hub);
  assert.deepEqual(readFileSync(join(snapshot, "model.safetensors")), weights);
});

test("a busy hub is retried after the wait that it asks for, and a bounded number of times", async () => {
  await using hub = await LoopbackHub.start({ "org/model": repository(small) });
  const patient = { maxAttempts: 3, minBytes: 1, pauseMs: 3_600_000, maxPauseMs: 3_600_000 };
  hub.fail({ path: "revision/main", status: 429, headers: { "retry-after": "0" } });
  hub.fail({ path: "model.safetensors", status: 503, headers: { "retry-after": "0" } });
  await pull(hub, { retries: patient });
  hub.fail({ path: "revision/main", status: 429, headers: { "retry-after": "7200" } });
  await assert.rejects(pull(hub, { retries: patient }), {
    code: "hub_unreachable",
    message: /429.*asks for a wait of 7200 s/,
  });
  hub.fail({ path: "revision/main", status: 500, times: 3 });
  const before = hub.seen.length;
  await assert.rejects(pull(hub), { code: "hub_unreachable", message: /answered 500 \(after 3 attempts\)/ });
  assert.equal(hub.seen.length - before, 3);
});

test("the token is sent to the hub and to no other host", async () => {
  await using hub = await LoopbackHub.start({ "org/model": repository(small, { access: "gated" }) });
  await pull(hub, { variables: { HF_TOKEN: hubToken } });
  const tokens = (host: string) => new Set(hub.seen.filter((seen) => seen.host === host).map(({ token }) => token));
  assert.deepEqual([tokens("hub"), tokens("files")], [new Set([hubToken]), new Set([null])]);
});

test("unsafe and endless redirects are refused", async () => {
  await using hub = await LoopbackHub.start({ "org/model": repository(small) });
  for (const location of ["file:///etc/passwd", "ftp://x/y", "http://me:secret@localhost/"]) {
    hub.fail({ path: "revision/main", status: 302, headers: { location } });
    await assert.rejects(pull(hub), { code: "hub_invalid", message: /sent an unsafe redirect/ });
  }
  hub.fail({
    path: "revision/main",
    status: 302,
    headers: { location: "/api/models/org/model/revision/main" },
    times: 6,
  });
  await assert.rejects(pull(hub), { code: "hub_invalid", message: /more than 5 redirects/ });
});

test("concurrent pulls of one model download it once", async () => {
  await using hub = await LoopbackHub.start({ "org/model": repository(small) });
  const home = newHome();
  const pulls = await Promise.all([pull(hub, { home }), pull(hub, { home }), pull(hub, { home })]);
  for (const { folder: snapshot } of pulls)
    assert.deepEqual(readFileSync(join(snapshot, "model.safetensors")), weights);
  assert.equal(hub.seen.filter(({ host }) => host === "files").length, 1);
});

test("without locks concurrent pulls use separate files, and each succeeds", async () => {
  await using hub = await LoopbackHub.start({ "org/model": repository(small) });
  const home = newHome();
  const tryLock = () => "unsupported" as const;
  const pulls = await Promise.all([pull(hub, { home, tryLock }), pull(hub, { home, tryLock })]);
  for (const { folder: snapshot } of pulls)
    assert.deepEqual(readFileSync(join(snapshot, "model.safetensors")), weights);
  assert.equal(readdirSync(blobsOf(home)).length, 3);
});

test("a blob whose size differs from the hub's listing is replaced", async () => {
  await using hub = await LoopbackHub.start({ "org/model": repository(small) });
  const home = newHome();
  const { folder: snapshot } = await pull(hub, { home });
  appendFileSync(join(blobsOf(home), sha256(weights)), "x");
  assert.deepEqual((await pull(hub, { home })).fetched, ["model.safetensors"]);
  assert.deepEqual(readFileSync(join(snapshot, "model.safetensors")), weights);
});

test("a link to a blob that another program named after another etag stays", async () => {
  await using hub = await LoopbackHub.start({ "org/model": repository(small) });
  const home = newHome();
  const { folder: snapshot } = await pull(hub, { home });
  const [place, other] = [join(snapshot, "model.safetensors"), join(blobsOf(home), "md5-of-a-mirror")];
  renameSync(join(blobsOf(home), sha256(weights)), other);
  rmSync(place);
  symlinkSync("../../blobs/md5-of-a-mirror", place);
  assert.deepEqual((await pull(hub, { home })).fetched, []);
  assert.deepEqual(readFileSync(place), weights);
});

test("a hub that answers with another commit than the requested one is refused", async () => {
  await using hub = await LoopbackHub.start();
  const revision = "0".repeat(40);
  hub.set("org/model", repository(small, { revisions: [revision] }));
  await assert.rejects(pull(hub, { name: `org/model@${revision}` }), /^LorikeetError: .* instead of 0{40}\.$/);
});

test("a revision is another snapshot with the same blobs, and a moved branch is followed", async () => {
  await using hub = await LoopbackHub.start({ "org/model": repository(small, { revisions: ["refs/pr/1", "v1"] }) });
  const home = newHome();
  const first = await pull(hub, { home, name: "org/model@refs/pr/1" });
  assert.equal(readFileSync(join(home, "hub/models--org--model/refs/refs/pr/1"), "utf8"), first.commit);
  hub.set("org/model", repository({ ...small, "config.json": Buffer.from('{"model_type":"gpt2"}') }));
  const second = await pull(hub, { home });
  assert.notEqual(second.commit, first.commit);
  assert.deepEqual(second.fetched, ["config.json"]);
  assert.equal(readFileSync(join(first.folder, "config.json"), "utf8"), config.toString());
  assert.equal((await pull(hub, { home, name: `org/model@${second.commit}` })).folder, second.folder);
});

test("of two revisions whose names cannot lie beside each other, the cache keeps the one pulled last", async () => {
  await using hub = await LoopbackHub.start({ "org/model": repository(small, { revisions: ["a", "a/b", "a/b/c"] }) });
  const home = newHome();
  const root = join(home, "hub");
  for (const revision of ["a", "a/b", "a/b/c", "a"]) {
    await pull(hub, { name: `org/model@${revision}`, home });
    const parsed = parseRepository(`org/model@${revision}`);
    assert.ok(parsed && (await findCached(root, parsed, "model", onnx)), revision);
  }
  assert.deepEqual(readdirSync(join(root, "models--org--model", "refs")), ["a"]);
});

test("an unusable repository is one line that says what to do", async () => {
  const bare = { "config.json": config };
  await using hub = await LoopbackHub.start({
    "org/model": repository(small),
    "org/private": repository(small, { access: "private" }),
    "org/gated": repository(small, { access: "gated" }),
    "org/gguf": repository({ "model-q4.gguf": weights }, { baseModel: "org/model" }),
    "org/bin": repository({ ...bare, "pytorch_model.bin": weights }),
    "org/none": repository(bare),
    "org/text": repository({ "README.md": config }),
    "org/adapter": repository(
      { "adapter_config.json": config, "adapter_model.safetensors": weights },
      { baseModel: "org/model" },
    ),
    "org/pickled-adapter": repository({ "adapter_config.json": config, "adapter_model.bin": weights }),
  });
  const cases: [name: string, code: string, words: RegExp, more?: Parameters<typeof pull>[1]][] = [
    ["org/absent", "hub_not_found", /has no adapter org\/absent, or it is private/, { kind: "adapter" }],
    ["org/absent", "hub_not_found", /has no model org\/absent, or it is private; to read a private one, set HF_TOKEN/],
    ["org/absent", "hub_not_found", /or this token is not allowed to read it/, { variables: { HF_TOKEN: hubToken } }],
    ["org/private", "hub_not_found", /HF_TOKEN/],
    ["org/model@v9", "hub_not_found", /has no revision v9/],
    ["org/gated", "hub_refused", /gated.*accept its licence at http.*\/org\/gated, then set HF_TOKEN/],
    [
      "org/gated",
      "hub_refused",
      /accept its licence.*with the account of your token/,
      { variables: { HF_TOKEN: "hf_other" } },
    ],
    ["org/model", "hub_refused", /does not accept the token/, { variables: { HF_TOKEN: "hf_wrong" } }],
    ["org/gguf", "model_unsupported", /only as GGUF \(model-q4\.gguf\), which is not read: name org\/model instead/],
    ["org/bin", "model_unsupported", /only as a Python pickle \(pytorch_model\.bin\), which is never opened/],
    ["org/none", "model_invalid", /no weights as safetensors/],
    ["org/text", "model_invalid", /has no config\.json/],
    ["org/adapter", "model_invalid", /is an adapter, not a model: give --model org\/model.*hf:\/\/org\/adapter/],
    ["org/pickled-adapter", "adapter_unsupported", /only as a Python pickle/, { kind: "adapter" }],
    ["org/model", "adapter_invalid", /is a whole model, not an adapter/, { kind: "adapter" }],
    ["org/model", "hub_unreachable", /HF_HUB_OFFLINE is set/, { variables: { HF_HUB_OFFLINE: "1" } }],
  ];
  for (const [name, code, words, more] of cases) {
    await assert.rejects(pull(hub, { name, ...more }), (error) => {
      assert.ok(error instanceof Error && "code" in error);
      assert.equal(error.code, code, error.message);
      assert.match(error.message, words);
      assert.doesNotMatch(error.message, /\n|hf_|signature/);
      return true;
    });
  }
  const closed = hub.endpoint;
  await hub[Symbol.asyncDispose]();
  await assert.rejects(pull(hub, { variables: { HF_ENDPOINT: closed } }), {
    code: "hub_unreachable",
    message: /does not answer \(ECONNREFUSED\)/,
  });
});

test("an answer of something other than a hub is reported as such", async () => {
  await using hub = await LoopbackHub.start({ "org/model": repository(small) });
  hub.fail({ path: "revision/main", status: 200 });
  await assert.rejects(pull(hub), { code: "hub_invalid", message: /not JSON.*is HF_ENDPOINT right/ });
  hub.fail({ path: "revision/main", status: 418 });
  await assert.rejects(pull(hub), { code: "hub_invalid", message: /answered 418/ });
});

test("a download that cannot fit is refused before it begins", async () => {
  await requireSpace(folder, 1, "org/model");
  const message = /^org\/model needs \d+ MiB more on the disk of the cache, which has \d+ MiB free: .*HF_HUB_CACHE/;
  await assert.rejects(requireSpace(folder, Number.MAX_SAFE_INTEGER, "org/model"), { code: "store_full", message });
});

test("a disk that fills up during a download is reported with its folder", () => {
  const full = Object.assign(new Error("write"), { code: "ENOSPC" });
  const fault = fullDisk(full, "/cache", "org/model");
  assert.ok(fault instanceof LorikeetError);
  assert.deepEqual([fault.code, fault.operator], ["store_full", "(/cache)"]);
  assert.match(
    fault.message,
    /filled up while org\/model was being downloaded: .*HF_HUB_CACHE.*The partial download is kept\.$/,
  );
  const other = new Error("another");
  assert.equal(fullDisk(other, "/cache", "org/model"), other);
});

test("a lock's holder that makes no progress is not waited for forever", async () => {
  const path = join(folder, "locks", "blob.lock");
  const signal = new AbortController().signal;
  const wait = { tryLock: tryLockFile, signal, onWait: () => {}, patienceMs: 50 };
  const held = await acquireLock(path, { ...wait, holderProgress: async () => 0 });
  assert.ok(held);
  assert.equal(await acquireLock(path, { ...wait, holderProgress: async () => 7 }), null);
  let bytes = 0;
  const later = acquireLock(path, {
    ...wait,
    patienceMs: 60_000,
    holderProgress: async () => {
      if (++bytes === 3) await held[Symbol.asyncDispose]();
      return bytes;
    },
  });
  const taken = await later;
  assert.ok(taken, "once it is given back");
  await taken[Symbol.asyncDispose]();
});

test("a cancelled pull stops at once and keeps its partial download", async () => {
  await using hub = await LoopbackHub.start({ "org/model": repository(small) });
  const home = newHome();
  const controller = new AbortController();
  hub.fail({ path: "model.safetensors", stallAfter: 20_000 });
  const progress = (_: string, done: number) => done > 20_000 && controller.abort("enough");
  await assert.rejects(pull(hub, { home, progress, signal: controller.signal }), (reason) => reason === "enough");
  assert.equal(readFileSync(join(blobsOf(home), `${sha256(weights)}.incomplete`)).length, 20_000);
});
