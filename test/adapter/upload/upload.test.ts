/** What an upload may be, what it may not, and that a refused one leaves nothing on disk. */

import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { createServer, request } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Readable } from "node:stream";
import { buffer } from "node:stream/consumers";
import { after, before, beforeEach, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { gzipSync } from "node:zlib";
import { pack } from "tar-stream";
import { packTar, type UploadBody, type UploadLimits, Uploads } from "../../../src/adapter/upload/upload.js";
import { deferred } from "../../../src/base/async.js";
import { LorikeetError } from "../../../src/base/errors.js";

let root = "";
let count = 0;
const source = {
  stage: async (): Promise<string> => {
    const { mkdir } = await import("node:fs/promises");
    const folder = join(root, `staged-${++count}`);
    await mkdir(folder);
    return folder;
  },
};

before(async () => {
  root = await mkdtemp(join(tmpdir(), "lorikeet-upload-"));
});
beforeEach(async () => {
  assert.deepEqual(await readdir(root), [], "the test before left nothing behind");
});
after(() => rm(root, { recursive: true }));

type Files = Record<string, string>;
const config = '{"peft_type":"LORA"}';
const weights = "weights".repeat(50_000);
const whole: Files = { "adapter_config.json": config, "adapter_model.safetensors": weights };

/** The staged folder as `keep` sees it; empty files are null. */
async function receive(upload: UploadBody, limits: Partial<UploadLimits> = {}, signal?: AbortSignal): Promise<Files> {
  const uploads = new Uploads({ idleMs: 5_000, ...limits });
  return uploads.receive(upload, source, readFolder, signal);
}

async function readFolder(folder: string): Promise<Files> {
  const files: Files = {};
  for (const entry of await readdir(folder, { withFileTypes: true })) {
    files[entry.name] = entry.isDirectory() ? "a folder" : await readFile(join(folder, entry.name), "utf8");
  }
  return files;
}

async function refused(
  upload: UploadBody,
  code: string,
  message: RegExp,
  limits?: Partial<UploadLimits>,
): Promise<void> {
  await assert.rejects(receive(upload, limits), (error) => {
    assert.ok(error instanceof LorikeetError, String(error));
    assert.equal(error.code, code, error.message);
    assert.match(error.message, message);
    return true;
  });
  assert.deepEqual(await readdir(root), [], "a refused upload leaves nothing");
}

type Header = Parameters<ReturnType<typeof pack>["entry"]>[0];

async function tarOf(entries: readonly (readonly [string | Header, string?])[]): Promise<Buffer> {
  const tar = pack();
  for (const [header, text = ""] of entries) {
    const named = typeof header === "string" ? { name: header } : header;
    if (named.type === "directory" || named.type === "symlink" || named.type === "link") tar.entry(named);
    else tar.entry(named, text);
  }
  tar.finalize();
  return buffer(Readable.from(tar));
}

const plain = (files: Files): Promise<Buffer> => tarOf(Object.entries(files));

/** A body that comes in pieces. */
function body(bytes: Buffer, size = 10_000): Readable {
  const pieces: Buffer[] = [];
  for (let start = 0; start < bytes.length; start += size) pieces.push(bytes.subarray(start, start + size));
  return Readable.from(pieces, { objectMode: false });
}

const tarUpload = (bytes: Buffer): UploadBody => ({ body: body(bytes), contentType: "application/x-tar" });

function form(parts: readonly (readonly [string, string, Record<string, string>?])[], boundary = "edge"): Buffer {
  const pieces = parts.map(([disposition, text, headers = {}]) => {
    const lines = Object.entries({ "Content-Disposition": disposition, ...headers }).map(([k, v]) => `${k}: ${v}\r\n`);
    return `--${boundary}\r\n${lines.join("")}\r\n${text}\r\n`;
  });
  return Buffer.from(`${pieces.join("")}--${boundary}--\r\n`);
}

const formUpload = (bytes: Buffer, size?: number): UploadBody => ({
  body: body(bytes, size),
  contentType: 'multipart/form-data; boundary="edge"',
});
const part = (name: string, filename = "x"): string => `form-data; name="${name}"; filename="${filename}"`;
const sha256 = (bytes: Buffer | string): string => `sha-256=:${createHash("sha256").update(bytes).digest("base64")}:`;

test("a tar of the folder arrives complete: plain, gzip, one folder down, with ./ before its names, in any pieces", async () => {
  const flat = await plain(whole);
  const nested = await tarOf([
    [{ name: "plays/", type: "directory" }],
    ["plays/adapter_config.json", config],
    ["plays/adapter_model.safetensors", weights],
    ["._plays", "apple"],
  ]);
  const dotted = await tarOf([
    [{ name: "./", type: "directory" }],
    ["./adapter_config.json", config],
    ["./adapter_model.safetensors", weights],
  ]);
  for (const bytes of [flat, nested, dotted]) {
    assert.deepEqual(await receive(tarUpload(bytes)), whole);
    assert.deepEqual(await receive({ body: body(gzipSync(bytes), 77) }), whole);
  }
  const small = { "adapter_config.json": config };
  assert.deepEqual(
    await receive({ body: body(await plain(small), 1), contentType: "application/octet-stream" }),
    small,
  );
});

test("files that a store ignores are received as names only", async () => {
  const bytes = await plain({ ...whole, "optimizer.pt": "secret", "README.md": "# Plays", "logs/run.txt": "x" });
  assert.deepEqual(await receive(tarUpload(bytes)), {
    ...whole,
    "optimizer.pt": "",
    "README.md": "# Plays",
    logs: "a folder",
  });
});

test("a form of config and weights arrives complete, in any pieces", async () => {
  const bytes = form([
    [part("config"), config],
    [part("weights", "adapter_model.safetensors"), weights],
  ]);
  for (const size of [10_000, 970]) assert.deepEqual(await receive(formUpload(bytes, size)), whole);
  const small = form([
    [part("weights", "C:\\x\\adapters.safetensors"), "w"],
    [part("config"), config],
  ]);
  assert.deepEqual(await receive(formUpload(small, 1)), { "adapter_config.json": config, "adapters.safetensors": "w" });
  const pickle = form([
    [part("weights", "adapter_model.bin"), "w"],
    [part("config"), config],
  ]);
  assert.ok(
    "adapter_model.bin" in (await receive(formUpload(pickle))),
    "its name lets the check say how to convert it",
  );
});

test("undici's FormData is read", async () => {
  const data = new FormData();
  data.set("config", new Blob([config]), "adapter_config.json");
  data.set("weights", new Blob([weights]), "adapter_model.safetensors");
  const sent = new Response(data);
  const bytes = Buffer.from(await sent.arrayBuffer());
  assert.deepEqual(await receive({ body: body(bytes), contentType: sent.headers.get("content-type") }), whole);
});

test("links, devices, pipes and unknown types are refused", async () => {
  const types = ["symlink", "link", "character-device", "block-device", "fifo", "contiguous-file"] as const;
  for (const type of types) {
    const bytes = await tarOf([[{ name: "adapter_config.json", type, linkname: "/etc/passwd", size: 0 }]]);
    await refused(tarUpload(bytes), "invalid_upload", /only regular files and folders are allowed/);
  }
  const sparse = await plain(whole);
  sparse.write("S", 156, "latin1");
  let sum = 8 * 32;
  for (let i = 0; i < 512; i++) if (i < 148 || i >= 156) sum += sparse[i] ?? 0;
  sparse.write(`${sum.toString(8).padStart(6, "0")}\0 `, 148, "latin1");
  await refused(tarUpload(sparse), "invalid_upload", /unknown type/);
});

test("what lies deeper than an adapter's files is skipped, unless the config does", async () => {
  const files = { "run/adapter_config.json": config, "run/adapter_model.safetensors": weights };
  const step = "run/checkpoints/step-9";
  const run = await plain({ ...files, [`${step}/adapter_config.json`]: "{}", [`${step}/deeper/state.bin`]: "x" });
  assert.deepEqual(Object.keys(await receive(tarUpload(run))).sort(), [
    "adapter_config.json",
    "adapter_model.safetensors",
  ]);
  const deep = await plain({
    "backup/run/adapter_config.json": config,
    "backup/run/adapter_model.safetensors": weights,
  });
  const message =
    /holds adapter_config\.json only at "backup\/run\/adapter_config\.json"; paths of at most 2 levels are allowed/;
  await refused(tarUpload(deep), "invalid_upload", message);
});

test("paths that escape, are malformed or repeated are refused", async () => {
  const names = [
    "/etc/passwd",
    "../x",
    "a/../../x",
    "a/..",
    "..",
    "a//b",
    "a\\b",
    "a\u0000b",
    "a\nb",
    "café",
    " x",
    "~/x:y",
    "./../x",
    "...",
  ];
  for (const name of names) {
    const bytes = await tarOf([
      ["adapter_config.json", config],
      [{ name, pax: { path: name } }, "x"],
    ]);
    await refused(tarUpload(bytes), "invalid_upload", /are allowed/);
  }
  for (const [first, second, pattern] of [
    ["a", "a", /holds "a" twice/],
    ["A", "a", /holds "a" twice/],
    ["a/x", "A/X", /holds "A\/X" twice/],
    ["a", "a/b", /holds "a" both as a file and as a folder/],
    ["a/b", "a", /holds "a" both as a file and as a folder/],
  ] as const) {
    const bytes = await tarOf([first, second].map((name) => [name, "x"] as const));
    await refused(tarUpload(bytes), "invalid_upload", pattern);
  }
  const two = await plain({ "a/adapter_config.json": config, "b/adapter_config.json": config });
  await refused(tarUpload(two), "invalid_upload", /2 adapters, in a and b/);
});

test("too many entries are refused, and no more", async () => {
  const many = (n: number): Promise<Buffer> => tarOf(Array.from({ length: n }, (_, i) => [`f${i}`, "x"] as const));
  assert.equal(Object.keys(await receive(tarUpload(await many(64)))).length, 64);
  await refused(tarUpload(await many(65)), "invalid_upload", /more than 64 entries/);
});

test("too many bytes are refused as soon as they are seen, announced or not", async () => {
  const bytes = await plain(whole);
  const limits = { receivedBytes: 100_000 };
  await refused(tarUpload(bytes), "too_large", /at most 100000 are accepted/, limits);
  const announced = { body: new Readable({ read() {} }), contentLength: 100_001 };
  await refused(announced, "too_large", /100001 bytes/, limits);
  await refused(formUpload(form([[part("weights"), weights]])), "too_large", /100000/, limits);
  assert.deepEqual(
    await receive(tarUpload(bytes), { receivedBytes: bytes.length, unpackedBytes: bytes.length }),
    whole,
  );
});

test("a gzip bomb is refused at the unpacked bound, a claimed size at once", async () => {
  const bomb = gzipSync(await plain({ "adapter_model.safetensors": "\0".repeat(30_000_000) }));
  assert.ok(bomb.length < 100_000);
  await refused(tarUpload(bomb), "too_large", /unpacks to at least .* at most 1000000/, { unpackedBytes: 1_000_000 });
  const claim = await tarOf([["adapter_model.safetensors", "x"]]);
  claim.write("77777777777\0", 124, "latin1");
  let sum = 8 * 32;
  for (let i = 0; i < 512; i++) if (i < 148 || i >= 156) sum += claim[i] ?? 0;
  claim.write(`${sum.toString(8).padStart(6, "0")}\0 `, 148, "latin1");
  await refused(tarUpload(claim), "too_large", /8589934591 bytes/);
});

test("extended headers are bounded in size and number, wherever the pieces are cut", async () => {
  const long = await tarOf([[{ name: "a", pax: { comment: "x".repeat(20_000) } }, "x"]]);
  for (const size of [100_000, 700, 13]) {
    await refused({ body: body(long, size) }, "invalid_upload", /extended header of \d+ bytes; at most 16384/);
  }
  const one = await tarOf([[{ name: "a", pax: { comment: "x" } }, "x"]]);
  const header = one.subarray(0, 1024);
  const many = Buffer.concat([...Array.from({ length: 9 }, () => header), one.subarray(1024)]);
  await refused({ body: body(many, 700) }, "invalid_upload", /more than 8 extended headers/, { entries: 2 });
});

test("a body that is not an intact tar is refused: garbage, truncation anywhere, a damaged gzip", async () => {
  await refused(tarUpload(Buffer.from("PK\u0003\u0004".repeat(300))), "invalid_upload", /not a readable tar/);
  const bytes = await plain({ "adapter_config.json": config, "adapter_model.safetensors": "w".repeat(600) });
  for (const end of [1, 511, 513, 600, 1025, 1600]) {
    await refused(tarUpload(bytes.subarray(0, end)), "invalid_upload", /not a readable tar|too short/);
  }
  const zipped = gzipSync(bytes);
  await refused(tarUpload(zipped.subarray(0, zipped.length - 12)), "invalid_upload", /not a readable tar/);
  zipped[40] = (zipped[40] ?? 0) ^ 0xff;
  await refused(tarUpload(zipped), "invalid_upload", /not a readable tar/);
});

test("a form truncated anywhere is refused at once", async () => {
  const bytes = form([
    [part("config"), config],
    [part("weights"), "w".repeat(40)],
  ]);
  const end = bytes.lastIndexOf("--edge--") + "--edge--".length;
  for (let length = 0; length < end; length += 3) {
    await refused(formUpload(bytes.subarray(0, length)), "invalid_upload", /The form/);
  }
});

test("a form with other parts than config and weights, once each, is refused", async () => {
  const cases: [Buffer, RegExp][] = [
    [form([[part("config"), config]]), /no part named weights/],
    [form([]), /no part named config and none named weights/],
    [
      form([
        [part("config"), "a"],
        [part("config"), "b"],
      ]),
      /two parts named "config"/,
    ],
    [
      form([
        [part("config"), "a"],
        [part("weights"), "b"],
        [part("extra"), "c"],
      ]),
      /a part named "extra"/,
    ],
    [form([["attachment", "a"]]), /a part named nothing/],
    [form([[`inline; name="config"`, "a"]]), /a part named "config"/],
  ];
  for (const [bytes, message] of cases) await refused(formUpload(bytes), "invalid_upload", message);
  await refused(
    { body: body(cases[0]?.[0] ?? Buffer.of()), contentType: "multipart/form-data" },
    "invalid_upload",
    /boundary/,
  );
  await refused(
    { body: body(Buffer.of(1)), contentType: "application/json" },
    "unsupported_media_type",
    /application\/json/,
  );
});

test("Content-Digest is verified: of the whole body, and of each part", async () => {
  const bytes = gzipSync(await plain(whole));
  assert.deepEqual(await receive({ ...tarUpload(bytes), contentDigest: sha256(bytes) }), whole);
  assert.deepEqual(await receive({ ...tarUpload(bytes), contentDigest: `md5=:AAAA:, ${sha256(bytes)}` }), whole);
  await refused({ ...tarUpload(bytes), contentDigest: sha256("other") }, "digest_mismatch", /The body has/);
  await refused({ ...tarUpload(bytes), contentDigest: "sha-256=:AAAA:" }, "invalid_value", /Content-Digest/);
  await refused({ ...tarUpload(bytes), contentDigest: "nonsense" }, "invalid_value", /Content-Digest/);
  const digested = (of: string): Buffer =>
    form([
      [part("config"), config, { "Content-Digest": sha256(config) }],
      [part("weights"), weights, { "Content-Digest": sha256(of) }],
    ]);
  assert.deepEqual(await receive(formUpload(digested(weights))), whole);
  await refused(formUpload(digested("other")), "digest_mismatch", /The part "weights"/);
});

test("a body that falls silent is a timeout; one that is merely slow is not", async () => {
  const bytes = await plain(whole);
  const silent = new Readable({ read() {} });
  silent.push(bytes.subarray(0, 1_000));
  await refused({ body: silent }, "timeout", /no byte for 50 ms/, { idleMs: 50 });
  assert.equal(silent.destroyed, false, "the connection still has to carry the answer");
  assert.deepEqual(
    silent.eventNames().filter((name) => name === "readable"),
    [],
  );
  const slow = Readable.from(
    (async function* () {
      for (let start = 0; start < bytes.length; start += 100_000) {
        await sleep(30);
        yield bytes.subarray(start, start + 100_000);
      }
    })(),
    { objectMode: false },
  );
  assert.deepEqual(await receive({ body: slow }, { idleMs: 400 }), whole);
});

test("a body that trickles is a timeout, and so is one that takes too long in all", async () => {
  const bytes = await plain(whole);
  const trickle = (): Readable =>
    Readable.from(
      (async function* () {
        for (let start = 0; ; start++) {
          await sleep(5);
          yield bytes.subarray(start, start + 1);
        }
      })(),
      { objectMode: false },
    );
  const rate = { minRate: 100_000, rateWindowMs: 60 };
  await refused({ body: trickle() }, "timeout", /sent \d+ bytes in \d+ ms; at least 6000 are required/, rate);
  await refused({ body: trickle() }, "timeout", /took longer than 60 ms/, { minRate: 0, totalMs: 60 });
});

test("concurrent uploads are bounded per client, and 0 is no limit", async () => {
  const bytes = await plain(whole);
  const gate = deferred<void>();
  const keep = async (): Promise<string> => gate.promise.then(() => "kept");
  const send = (uploads: Uploads, client: string): Promise<string> =>
    uploads.receive({ ...tarUpload(bytes), client }, source, keep);
  const bounded = new Uploads({ atOnce: 8, perClient: 1 });
  const free = new Uploads({ atOnce: 8, perClient: 0 });
  const running = [send(bounded, "a"), send(bounded, "b"), send(free, "a"), send(free, "a")];
  await assert.rejects(send(bounded, "a"), { code: "address_busy" });
  gate.resolve();
  assert.deepEqual(await Promise.all(running), ["kept", "kept", "kept", "kept"]);
  assert.equal(await send(bounded, "a"), "kept", "its place is free again");
});

test("a third concurrent upload is refused, and any ending frees its place", async () => {
  const uploads = new Uploads({ atOnce: 2 });
  const bytes = await plain(whole);
  const gate = deferred<void>();
  const keep = async (): Promise<string> => gate.promise.then(() => "kept");
  const running = [uploads.receive(tarUpload(bytes), source, keep), uploads.receive(tarUpload(bytes), source, keep)];
  await assert.rejects(uploads.receive(tarUpload(bytes), source, keep), /2 uploads are in progress; at most 2/);
  gate.resolve();
  assert.deepEqual(await Promise.all(running), ["kept", "kept"]);
  await assert.rejects(uploads.receive(tarUpload(Buffer.from("x".repeat(600))), source, keep), LorikeetError);
  assert.equal(uploads.running, 0);
});

test("an error while storing an upload is thrown, and the staged folder is removed", async () => {
  const bytes = await plain(whole);
  const keep = (): Promise<never> => Promise.reject(new LorikeetError("adapter_invalid", "It does not fit."));
  await assert.rejects(new Uploads().receive(tarUpload(bytes), source, keep), /does not fit/);
});

test("a signal stops an upload that waits for bytes", async () => {
  const stop = new AbortController();
  const waiting = receive({ body: new Readable({ read() {} }) }, {}, stop.signal);
  setTimeout(() => stop.abort(new LorikeetError("draining", "The server is going down.")), 20);
  await assert.rejects(waiting, /going down/);
});

test("a client that leaves in the middle, over a real socket, leaves nothing; one that is refused gets its answer", async () => {
  const bytes = await plain(whole);
  const endings: string[] = [];
  let begun = 0;
  const server = createServer((incoming, answer) => {
    begun++;
    const contentType = incoming.headers["content-type"] ?? null;
    receive({ body: incoming, contentType }, { receivedBytes: 200_000 }).then(
      () => answer.end("kept"),
      (error: unknown) => {
        endings.push(error instanceof LorikeetError ? error.code : String(error));
        answer.writeHead(413, { connection: "close" }).end();
      },
    );
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  try {
    for (const [type, start] of [
      ["application/x-tar", bytes],
      ["multipart/form-data; boundary=edge", form([[part("weights"), weights]])],
    ] as const) {
      const put = request({ port, method: "PUT", headers: { "content-type": type, "content-length": 150_000 } });
      put.on("error", () => {});
      const { length } = endings;
      put.write(start.subarray(0, 60_000));
      for (let i = 0; begun === length && i < 1000; i++) await sleep(10);
      put.destroy();
      for (let i = 0; endings.length === length && i < 1000; i++) await sleep(10);
    }
    assert.deepEqual(endings, ["cancelled", "cancelled"]);
    const status = await new Promise<number | undefined>((resolve, reject) => {
      const put = request({ port, method: "PUT" }, (response) => resolve(response.resume().statusCode));
      put.on("error", reject);
      put.write(bytes.subarray(0, 250_000));
    });
    assert.equal(status, 413);
  } finally {
    server.closeAllConnections();
    server.close();
  }
});

test("an adapter packed as tar comes back byte for byte, without other files", async () => {
  const folder = await mkdtemp(join(tmpdir(), "lorikeet-pack-"));
  try {
    for (const [name, text] of Object.entries({ ...whole, "README.md": "", "optimizer.pt": "x" })) {
      await writeFile(join(folder, name), text);
    }
    const bytes = await buffer(packTar(folder));
    assert.deepEqual(await receive(tarUpload(bytes)), { ...whole, "README.md": "" });
    await assert.rejects(buffer(packTar(join(folder, "missing"))), /ENOENT/);
  } finally {
    await rm(folder, { recursive: true });
  }
});
