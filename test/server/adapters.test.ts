/** The adapters' routes over HTTP, with a real store: upload, list, pin, delete, download, and vLLM's two calls. */
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { once } from "node:events";
import { mkdir, mkdtemp, rm, symlink, writeFile } from "node:fs/promises";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { buffer } from "node:stream/consumers";
import { describe, test } from "node:test";
import { pack } from "tar-stream";
import { LorikeetError } from "../../src/base/errors.js";
import { openServerRig, type RigOptions, type ServerRig, until } from "../support/rig.js";

const bytes = (text: string): number[] => [...Buffer.from(text)];

async function tarOf(weights: string, config = "{}"): Promise<Buffer> {
  const tar = pack();
  tar.entry({ name: "adapter_config.json" }, config);
  tar.entry({ name: "adapter_model.safetensors" }, weights);
  tar.finalize();
  return buffer(tar);
}

function put(
  rig: ServerRig,
  name: string,
  body: Uint8Array<ArrayBuffer> | FormData | string,
  headers: Record<string, string> = {},
): Promise<Response> {
  return fetch(`${rig.url}/v1/adapters/${encodeURIComponent(name)}`, { method: "PUT", body, headers });
}

async function putTar(rig: ServerRig, name: string, weights: string, headers: Record<string, string> = {}) {
  const body = new Uint8Array(await tarOf(weights));
  return put(rig, name, body, { "content-type": "application/x-tar", ...headers });
}

async function json(response: Response): Promise<Record<string, unknown>> {
  return JSON.parse(await response.text());
}

async function code(response: Response): Promise<unknown[]> {
  const { error }: { error: { code: string } } = JSON.parse(await response.text());
  return [response.status, error.code];
}

function post(rig: ServerRig, path: string, body: object): Promise<Response> {
  const headers = { "content-type": "application/json" };
  return fetch(`${rig.url}${path}`, { method: "POST", headers, body: JSON.stringify(body) });
}

function patch(rig: ServerRig, name: string, body: object): Promise<Response> {
  const headers = { "content-type": "application/json" };
  return fetch(`${rig.url}/v1/adapters/${name}`, { method: "PATCH", headers, body: JSON.stringify(body) });
}

describe("upload", () => {
  test("a new tar is 201, the same one 200 identical, another one 200 replaced; each serves at once", async () => {
    await using rig = await openServerRig({ script: { answer: () => bytes("a") } });
    const first = await putTar(rig, "org/plays", "one");
    assert.equal(first.status, 201);
    const card = await json(first);
    assert.deepEqual([card.name, card.outcome, card.rank, card.tier], ["org/plays", "created", 8, "disk"]);
    const again = await putTar(rig, "org/plays", "one");
    assert.deepEqual([again.status, (await json(again)).outcome], [200, "identical"]);
    const other = await putTar(rig, "org/plays", "two");
    assert.deepEqual([other.status, (await json(other)).outcome], [200, "replaced"]);
    assert.deepEqual(rig.adapters.cache.forgotten, [card.digest]);
    const answer = await post(rig, "/v1/completions", { model: "org/plays", prompt: "x", max_tokens: 1 });
    assert.equal(answer.status, 200);
    const listed = await json(await fetch(`${rig.url}/v1/adapters`));
    assert.equal(Array.isArray(listed.data) && listed.data.length, 1);
    const shown = await json(await fetch(`${rig.url}/v1/adapters/org%2Fplays`));
    assert.deepEqual(shown.counts, { requests: 1, prompt_tokens: 1, completion_tokens: 1 });
    assert.equal(shown.in_flight, 0);
    assert.ok(Number(shown.last_used) > 1e9);
  });

  test("files that are not kept are named, even if the version is already stored", async () => {
    await using rig = await openServerRig();
    for (const outcome of ["created", "identical"]) {
      const tar = pack();
      tar.entry({ name: "adapter_config.json" }, "{}");
      tar.entry({ name: "adapter_model.safetensors" }, "one");
      tar.entry({ name: `${outcome}.bin` }, "x");
      tar.finalize();
      const reply = await json(await put(rig, "plays", new Uint8Array(await buffer(tar))));
      assert.deepEqual([reply.outcome, reply.ignored], [outcome, [`${outcome}.bin`]]);
    }
  });

  test("a multipart form of config and weights", async () => {
    await using rig = await openServerRig();
    const form = new FormData();
    form.set("config", new Blob(["{}"]));
    form.set("weights", new Blob(["w"]), "adapter_model.safetensors");
    assert.equal((await put(rig, "a", form)).status, 201);
    const half = new FormData();
    half.set("config", new Blob(["{}"]));
    assert.deepEqual(await code(await put(rig, "b", half)), [400, "invalid_upload"]);
  });

  test("Content-Digest is verified, If-None-Match honoured", async () => {
    await using rig = await openServerRig();
    const digest = createHash("sha256")
      .update(await tarOf("w"))
      .digest("base64");
    assert.equal((await putTar(rig, "a", "w", { "content-digest": `sha-256=:${digest}:` })).status, 201);
    const wrong = await putTar(rig, "b", "v", { "content-digest": `sha-256=:${digest}:` });
    assert.deepEqual(await code(wrong), [400, "digest_mismatch"]);
    assert.deepEqual(await code(await putTar(rig, "a", "v", { "if-none-match": "*" })), [412, "precondition_failed"]);
    assert.equal((await putTar(rig, "c", "v", { "if-none-match": "*" })).status, 201);
    assert.deepEqual(await code(await putTar(rig, "c", "v", { "if-none-match": '"x"' })), [400, "invalid_value"]);
    assert.deepEqual(
      rig.adapters.store.list().map(({ name }) => name),
      ["a", "c"],
    );
  });

  test("an adapter that cannot be served is refused with every fault, and nothing is left behind", async () => {
    await using rig = await openServerRig({ uploads: { receivedBytes: 20_000 } });
    const bad = await putTar(rig, "a", "bad");
    assert.equal(bad.status, 422);
    const { error }: { error: { faults: string[] } } = JSON.parse(await bad.text());
    assert.deepEqual(error.faults, ["one", "two"]);
    assert.deepEqual(await code(await putTar(rig, "base", "w")), [400, "invalid_name"]);
    assert.deepEqual(await code(await putTar(rig, "../up", "w")), [400, "invalid_name"]);
    assert.deepEqual(await code(await put(rig, "a", "x", { "content-type": "text/html" })), [
      415,
      "unsupported_media_type",
    ]);
    assert.deepEqual(await code(await putTar(rig, "a", "w".repeat(30_000))), [413, "too_large"]);
    assert.deepEqual(rig.adapters.store.list(), []);
  });

  test("concurrent uploads are bounded; a client that disconnects frees its place", async () => {
    await using rig = await openServerRig({ uploads: { atOnce: 1 } });
    const { hostname, port } = new URL(rig.url);
    const socket = connect(Number(port), hostname);
    socket.write(
      "PUT /v1/adapters/slow HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/x-tar\r\ncontent-length: 9999\r\n\r\nxxx",
    );
    let busy = await putTar(rig, "a", "w");
    for (let tries = 0; busy.status === 201 && tries < 100; tries++) busy = await putTar(rig, "a", "w");
    assert.deepEqual([busy.status, busy.headers.get("retry-after")], [429, "5"]);
    socket.destroy();
    await once(socket, "close");
    let after = await putTar(rig, "b", "w");
    for (let tries = 0; after.status === 429 && tries < 100; tries++) after = await putTar(rig, "b", "w");
    assert.equal(after.status, 201);
    assert.equal(rig.adapters.store.resolve("slow"), null);
  });

  test("uploads past the limit of an address are 429 and counted by the option", async () => {
    await using rig = await openServerRig({ uploads: { atOnce: 8, minRate: 1e9, rateWindowMs: 1_000 } });
    const { hostname, port } = new URL(rig.url);
    const socket = connect(Number(port), hostname);
    socket.on("error", () => {});
    socket.resume();
    socket.write("PUT /v1/adapters/slow HTTP/1.1\r\nhost: localhost\r\ncontent-length: 9999\r\n\r\nxxx");
    let busy = await putTar(rig, "a", "w");
    for (let tries = 0; busy.status === 201 && tries < 100; tries++) busy = await putTar(rig, "a", "w");
    assert.deepEqual(await code(busy), [429, "address_busy"]);
    await once(socket, "close");
    assert.equal((await putTar(rig, "b", "w")).status, 201, "a sender that is too slow keeps nobody out for long");
    const metrics = await (await fetch(`${rig.url}/metrics`)).text();
    assert.match(metrics, /^lorikeet_limited_total\{limit="max-uploads-per-address"\} \d+$/m);
    assert.match(metrics, /^lorikeet_limited_total\{limit="min-upload-rate"\} 1$/m);
  });
});

describe("pin, delete, download", () => {
  test("a pin is set, moves with its name, and is refused where there is no room", async () => {
    await using rig = await openServerRig();
    const digest = await rig.adapters.add("a", "one");
    const pinned = await patch(rig, "a", { pinned: true });
    assert.deepEqual([pinned.status, (await json(pinned)).pinned], [200, true]);
    assert.ok(rig.adapters.cache.pinned.has(digest));
    const card = await json(await putTar(rig, "a", "two"));
    assert.equal(card.pinned, true);
    assert.deepEqual([...rig.adapters.cache.pinned], [card.digest]);
    assert.equal((await json(await patch(rig, "a", { pinned: false }))).pinned, false);
    rig.adapters.cache.pinFault = new LorikeetError("conflict", "No room.");
    assert.deepEqual(await code(await patch(rig, "a", { pinned: true })), [409, "conflict"]);
    assert.deepEqual(await code(await patch(rig, "gone", { pinned: true })), [404, "adapter_not_found"]);
    assert.deepEqual(await code(await patch(rig, "a", { pinned: 1 })), [400, "invalid_value"]);
    assert.deepEqual(await code(await patch(rig, "a", { pinned: true, colour: 1 })), [400, "unsupported_parameter"]);
  });

  test("delete: 404 at once for new requests, running ones finish", async () => {
    const script = { answer: () => bytes("x".repeat(40)), tokenMs: 5 };
    await using rig = await openServerRig({ script });
    await rig.adapters.add("a");
    const running = await post(rig, "/v1/completions", { model: "a", prompt: "x", max_tokens: 30, stream: true });
    const reading = running.text();
    const removed = await fetch(`${rig.url}/v1/adapters/a`, { method: "DELETE" });
    assert.deepEqual([removed.status, (await json(removed)).deleted], [200, true]);
    assert.deepEqual(await code(await post(rig, "/v1/completions", { model: "a", prompt: "x" })), [
      404,
      "model_not_found",
    ]);
    assert.deepEqual(await code(await fetch(`${rig.url}/v1/adapters/a`)), [404, "adapter_not_found"]);
    assert.match(await reading, /"finish_reason":"length"/);
    assert.deepEqual(await code(await fetch(`${rig.url}/v1/adapters/a`, { method: "DELETE" })), [
      404,
      "adapter_not_found",
    ]);
  });

  test("an operator's folder is never changed or deleted", async () => {
    await using rig = await openServerRig();
    const folder = join(rig.adapters.directory, "byhand");
    await mkdir(folder);
    await writeFile(join(folder, "adapter_config.json"), "{}");
    await writeFile(join(folder, "adapter_model.safetensors"), "hand");
    await rig.adapters.store.scan();
    await rig.adapters.store.scan();
    assert.equal((await fetch(`${rig.url}/v1/adapters/byhand`)).status, 200);
    assert.deepEqual(await code(await putTar(rig, "byhand", "w")), [409, "conflict"]);
    assert.deepEqual(await code(await fetch(`${rig.url}/v1/adapters/byhand`, { method: "DELETE" })), [409, "conflict"]);
  });

  test("a download is the uploaded adapter", async () => {
    await using rig = await openServerRig();
    const { digest } = await json(await putTar(rig, "org/a", "weights"));
    const download = await fetch(`${rig.url}/v1/adapters/org%2Fa/download`);
    assert.equal(download.headers.get("content-type"), "application/x-tar");
    assert.equal(download.headers.get("x-adapter-digest"), digest);
    const body = new Uint8Array(await download.arrayBuffer());
    const copy = await json(await put(rig, "copy", body, { "content-type": "application/x-tar" }));
    assert.equal(copy.digest, digest);
    assert.deepEqual(await code(await fetch(`${rig.url}/v1/adapters/gone/download`)), [404, "adapter_not_found"]);
  });
});

describe("vLLM's calls", () => {
  async function inRoot(use: (rig: ServerRig, root: string) => Promise<void>): Promise<void> {
    const top = await mkdtemp(join(tmpdir(), "lorikeet-lora-"));
    const root = join(top, "allowed");
    for (const folder of [join(root, "plays"), join(top, "outside")]) {
      await mkdir(folder, { recursive: true });
      await writeFile(join(folder, "adapter_config.json"), "{}");
      await writeFile(join(folder, "adapter_model.safetensors"), folder);
    }
    const options: RigOptions = { gateway: { loraPathRoot: root } };
    const rig = await openServerRig(options);
    try {
      await use(rig, root);
    } finally {
      await rig[Symbol.asyncDispose]();
      await rm(top, { recursive: true });
    }
  }
  /** The status, which is the code too, the type, and Lorikeet's own code. */
  async function vllmFault(response: Response): Promise<[number, string, string]> {
    const { error }: { error: { type: string; code: number; reason: string } } = JSON.parse(await response.text());
    assert.equal(error.code, response.status);
    return [response.status, error.type, error.reason];
  }
  const load = (rig: ServerRig, lora_path: string, more: object = {}) =>
    post(rig, "/v1/load_lora_adapter", { lora_name: "plays", lora_path, ...more });

  test("load, repeat the load, load in place, unload, repeat the unload", async () => {
    await inRoot(async (rig, root) => {
      const loaded = await load(rig, join(root, "plays"));
      assert.match(loaded.headers.get("content-type") ?? "", /^text\/plain/);
      assert.deepEqual(
        [loaded.status, await loaded.text()],
        [200, "Success: LoRA adapter 'plays' added successfully."],
      );
      const again = await load(rig, "plays");
      assert.equal(again.headers.get("content-type"), "application/json");
      assert.match(await again.clone().text(), /The lora adapter 'plays' has already been loaded\..*load_inplace/);
      assert.deepEqual(await vllmFault(again), [400, "InvalidUserInput", "already_loaded"]);
      assert.equal((await load(rig, "plays", { load_inplace: true })).status, 200);
      const unloaded = await post(rig, "/v1/unload_lora_adapter", { lora_name: "plays" });
      assert.deepEqual(
        [unloaded.status, await unloaded.text()],
        [200, "Success: LoRA adapter 'plays' removed successfully."],
      );
      const gone = await post(rig, "/v1/unload_lora_adapter", { lora_name: "plays", lora_int_id: 1 });
      assert.deepEqual(await vllmFault(gone), [404, "NotFoundError", "adapter_not_found"]);
    });
  });

  test("nothing outside the allowed folder is read, and every refusal looks the same", async () => {
    await inRoot(async (rig, root) => {
      await symlink(join(root, "..", "outside"), join(root, "link"));
      await mkdir(join(root, "mixed"));
      await writeFile(join(root, "mixed", "adapter_config.json"), "{}");
      await symlink(
        join(root, "..", "outside", "adapter_model.safetensors"),
        join(root, "mixed", "adapter_model.safetensors"),
      );
      const messages = new Set<string>();
      for (const path of [
        "../outside",
        join(root, "..", "outside"),
        "link",
        "missing",
        "/etc",
        ".",
        "plays/adapter_config.json",
      ]) {
        const refused = await load(rig, path);
        assert.equal(refused.status, 404, path);
        messages.add(await refused.text());
      }
      assert.equal(messages.size, 1);
      assert.equal((await load(rig, "mixed")).status, 400);
      assert.deepEqual(rig.adapters.store.list(), []);
    });
  });

  test("the whole disk may be allowed; a folder that no longer exists allows nothing", async () => {
    const outside = await mkdtemp(join(tmpdir(), "lorikeet-anywhere-"));
    try {
      await writeFile(join(outside, "adapter_config.json"), "{}");
      await writeFile(join(outside, "adapter_model.safetensors"), "w");
      await using rig = await openServerRig({ gateway: { loraPathRoot: "/" } });
      assert.equal((await load(rig, outside)).status, 200);
      await using other = await openServerRig({ gateway: { loraPathRoot: join(outside, "gone") } });
      assert.deepEqual(await vllmFault(await load(other, outside)), [404, "NotFoundError", "adapter_not_found"]);
    } finally {
      await rm(outside, { recursive: true });
    }
  });

  test("off by default; parameters are checked like all others", async () => {
    await using rig = await openServerRig();
    assert.deepEqual(await vllmFault(await load(rig, "plays")), [404, "NotFoundError", "route_not_found"]);
    const bad = await post(rig, "/v1/load_lora_adapter", { lora_name: "", other: 1 });
    const { error }: { error: { faults: string[] } } = JSON.parse(await bad.text());
    assert.equal(error.faults.length, 3);
    await until(() => rig.lines.length === 2);
  });
});
