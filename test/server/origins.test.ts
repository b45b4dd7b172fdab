/** Web pages: which of them a browser may lead to the server, over HTTP and WebSocket, and what those may read. */
import assert from "node:assert/strict";
import { once } from "node:events";
import { type IncomingMessage, request } from "node:http";
import { connect } from "node:net";
import { hostname } from "node:os";
import { describe, test } from "node:test";
import { WebSocket } from "ws";
import { LorikeetError } from "../../src/base/errors.js";
import { Hosts } from "../../src/server/access/hosts.js";
import { openServerRig, type ServerRig } from "../support/rig.js";

interface Answer {
  readonly status: number;
  readonly headers: IncomingMessage["headers"];
  readonly code: string | undefined;
}

/** A request with headers that `fetch` does not let one set. */
async function send(rig: ServerRig, method: string, path: string, headers: Record<string, string>): Promise<Answer> {
  const sent = request(rig.url + path, { method, headers: { "content-type": "application/json", ...headers } });
  sent.end(method === "POST" ? '{"model":"base","prompt":"x","max_tokens":1}' : undefined);
  const [response]: IncomingMessage[] = await once(sent, "response");
  assert.ok(response);
  let text = "";
  for await (const chunk of response) text += chunk;
  const { error }: { error?: { code: string } } = text.startsWith("{") ? JSON.parse(text) : {};
  return { status: response.statusCode ?? 0, headers: response.headers, code: error?.code };
}

const ask = (rig: ServerRig, headers: Record<string, string>): Promise<Answer> =>
  send(rig, "POST", "/v1/completions", headers);

/** The status that a WebSocket's handshake is answered with. */
async function shake(rig: ServerRig, headers: Record<string, string>): Promise<number> {
  const socket = new WebSocket(`${rig.url.replace("http", "ws")}/v1/ws`, ["lorikeet"], { headers });
  socket.on("error", () => {});
  const status = new Promise<number>((resolve) => {
    socket.on("open", () => resolve(101));
    socket.on("unexpected-response", (_request, response) => resolve(response.statusCode ?? 0));
  });
  await status;
  socket.terminate();
  return status;
}

const strangers = [
  "https://evil.example",
  "http://localhost.evil.example",
  "http://127.0.0.1.evil.example:8080",
  "null",
];

describe("pages", () => {
  test("of unknown origins are refused everything, before anything runs", async () => {
    await using rig = await openServerRig();
    for (const origin of strangers) {
      const { status, code, headers } = await ask(rig, { origin });
      assert.deepEqual([status, code], [403, "origin_not_allowed"], origin);
      assert.equal(headers["access-control-allow-origin"], undefined);
      assert.ok(headers["x-request-id"]);
      assert.equal((await send(rig, "PUT", "/v1/adapters/x", { origin })).status, 403);
      assert.equal((await send(rig, "GET", "/v1/models", { origin })).status, 403);
      const preflight = { origin, "access-control-request-method": "PUT" };
      assert.equal((await send(rig, "OPTIONS", "/v1/adapters/x", preflight)).status, 403);
      assert.equal(await shake(rig, { origin }), 403, origin);
    }
    assert.equal(rig.engine.sequences.length, 0);
    const refused = rig.lines.filter(({ fields }) => fields.method === "WS" && fields.code === "origin_not_allowed");
    assert.equal(refused.length, strangers.length, "each refused handshake has its line in the log");
  });

  test("of this machine and the server itself are served, and may read Lorikeet's headers", async () => {
    await using rig = await openServerRig();
    const own = new URL(rig.url).host;
    for (const origin of ["http://localhost:3000", "http://127.0.0.1:5173", "http://[::1]:80", `http://${own}`]) {
      const { status, headers } = await ask(rig, { origin });
      assert.equal(status, 200, origin);
      assert.equal(headers["access-control-allow-origin"], origin);
      assert.equal(headers.vary, "Origin");
      assert.match(headers["access-control-expose-headers"] ?? "", /x-queue-ms/);
      assert.equal(await shake(rig, { origin }), 101, origin);
    }
    const { headers } = await ask(rig, {});
    assert.equal(headers["access-control-allow-origin"], undefined, "programs are told nothing of it");
  });

  test("that the operator names are served, after a preflight that allows what they ask for", async () => {
    const origin = "https://chat.example";
    await using rig = await openServerRig({ server: { allowedOrigins: [origin] } });
    const preflight = await send(rig, "OPTIONS", "/v1/chat/completions", {
      origin,
      "access-control-request-method": "POST",
      "access-control-request-headers": "authorization,content-type,x-stainless-os",
    });
    assert.equal(preflight.status, 204);
    assert.equal(preflight.headers["access-control-allow-origin"], origin);
    assert.match(preflight.headers["access-control-allow-methods"] ?? "", /PUT/);
    assert.equal(preflight.headers["access-control-allow-headers"], "authorization,content-type,x-stainless-os");
    assert.equal((await ask(rig, { origin })).status, 200);
    assert.equal(await shake(rig, { origin }), 101);
    assert.equal((await ask(rig, { origin: "http://chat.example" })).status, 403, "another scheme is another origin");
    const plain = await send(rig, "OPTIONS", "/v1/completions", { origin });
    assert.equal(plain.status, 405, "OPTIONS that is no preflight is a method like others");
  });

  test("of any origin are served with *, and those with an opaque origin if null is allowed", async () => {
    await using all = await openServerRig({ server: { allowedOrigins: ["*"] } });
    for (const origin of strangers) assert.equal((await ask(all, { origin })).status, 200, origin);
    assert.equal((await ask(all, { host: "evil.example", origin: "http://evil.example" })).status, 200);
    await using files = await openServerRig({ server: { allowedOrigins: ["null"] } });
    assert.equal((await ask(files, { origin: "null" })).status, 200);
    assert.equal((await ask(files, { origin: "https://evil.example" })).status, 403);
    assert.equal((await ask(files, { host: "x" })).status, 403);
  });
});

test("a page that rebinds its own host name to this machine is refused", async () => {
  await using rig = await openServerRig({ server: { allowedOrigins: ["https://chat.example"] } });
  const host = "evil.example:8080";
  assert.equal((await send(rig, "GET", "/v1/models", { host })).code, "host_not_allowed");
  assert.equal((await send(rig, "GET", "/health", { host })).status, 403);
  assert.equal((await ask(rig, { host, origin: `http://${host}` })).status, 403);
  assert.equal(await shake(rig, { host, origin: `http://${host}` }), 403);
  for (const name of [
    "localhost",
    "localhost:1",
    "my.localhost:8080",
    "127.0.0.1",
    "[::1]:8080",
    "192.168.1.7:8080",
    hostname(),
  ]) {
    assert.equal((await ask(rig, { host: name })).status, 200, name);
  }
  assert.equal((await ask(rig, { host: "chat.example" })).status, 200, "behind a proxy that keeps an allowed name");
});

test("a host is allowed if it is an address, this machine's name or one that the operator allows", () => {
  const hosts = new Hosts(["box.lan", "*.svc.example", "\u00fcber.example", "chat.example"]);
  const passes = (host: string): boolean => {
    try {
      hosts.check(host);
      return true;
    } catch (error) {
      assert.ok(error instanceof LorikeetError && error.code === "host_not_allowed");
      assert.match(error.message, /`--allowed-hosts`/);
      return false;
    }
  };
  for (const host of [
    ...[
      "127.0.0.1:8080",
      "10.1.2.3",
      "[fe80::1]:80",
      "[::ffff:10.0.0.1]",
      "localhost",
      "LOCALHOST.:80",
      "a.b.localhost",
    ],
    ...[hostname(), hostname().toUpperCase(), "box.lan:8080", "BOX.lan.", "a.svc.example", "a.b.svc.example:1"],
    ...["chat.example", "xn--ber-goa.example"],
  ]) {
    assert.ok(passes(host), host);
  }
  for (const host of [
    ...["evil.example", "box.lan.evil.example", "xbox.lan", "svc.example", "xsvc.example", "localhost.evil.example"],
    ...["127.0.0.1.evil.example", "", "a b", "evil.example@127.0.0.1", "127.0.0.1/x", "127.0.0.1#x", "127.0.0.1?x"],
    ...["127.0.0.1:99999", "xlocalhost"],
  ]) {
    assert.ok(!passes(host), host);
  }
  new Hosts(["*"]).check("evil.example");
});

test("two Host headers are a 400, over HTTP and for a handshake", async () => {
  await using rig = await openServerRig();
  const { hostname: address, port } = new URL(rig.url);
  for (const upgrade of ["", "upgrade: websocket\r\nconnection: upgrade\r\nsec-websocket-version: 13\r\n"]) {
    const socket = connect(Number(port), address);
    socket.end(`GET /v1/models HTTP/1.1\r\nhost: localhost\r\nHOST: localhost\r\n${upgrade}connection: close\r\n\r\n`);
    let text = "";
    for await (const chunk of socket) text += chunk;
    assert.match(text, /^HTTP\/1\.1 400 [\s\S]*one Host header, not 2/);
  }
});
