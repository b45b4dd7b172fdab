/** Connections: pipelined requests, other protocols, limits in total and per address, bytes that are not a request. */
import assert from "node:assert/strict";
import { connect, type Socket } from "node:net";
import { after, describe, test } from "node:test";
import { openServerRig, type RigOptions, type ServerRig, until } from "../support/rig.js";

const bytes = (text: string): number[] => [...Buffer.from(text)];
const slow: RigOptions = { script: { answer: () => bytes("x".repeat(200)), tokenMs: 5, limits: { maxQueue: 100 } } };

/** One end of a connection; it is closed after the tests at the latest, and stays half open when the server ends its side. */
class Raw {
  readonly socket: Socket;
  text = "";
  ended = false;
  closed = false;

  constructor(rig: ServerRig, text: string) {
    const { hostname, port } = new URL(rig.url);
    this.socket = connect({ port: Number(port), host: hostname, allowHalfOpen: true });
    this.socket.on("error", () => {});
    this.socket.on("data", (chunk) => {
      this.text += String(chunk);
    });
    this.socket.on("end", () => {
      this.ended = true;
    });
    this.socket.on("close", () => {
      this.closed = true;
    });
    this.socket.write(text);
    raws.push(this);
  }

  /** The server has closed its side. */
  get left(): boolean {
    return this.ended || this.closed;
  }

  get statuses(): string[] {
    return [...this.text.matchAll(/HTTP\/1\.1 (\d{3})/g)].map(([, status]) => status ?? "");
  }
}
const raws: Raw[] = [];
after(() => {
  for (const { socket } of raws) socket.destroy();
});

const get = (path: string, headers = ""): string => `GET ${path} HTTP/1.1\r\nhost: localhost\r\n${headers}\r\n`;

function completion(body: object = {}, headers = ""): string {
  const text = JSON.stringify({ model: "base", prompt: "x", max_tokens: 3, ...body });
  const head = `POST /v1/completions HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n${headers}`;
  return `${head}content-length: ${Buffer.byteLength(text)}\r\n\r\n${text}`;
}

async function limited(rig: ServerRig, limit: string): Promise<number> {
  const text = await (await fetch(`${rig.url}/metrics`)).text();
  return Number(new RegExp(`^lorikeet_limited_total\\{limit="${limit}"\\} (\\d+)$`, "m").exec(text)?.[1] ?? 0);
}

describe("pipelined requests", () => {
  test("one runs at a time, and they are answered in order", async () => {
    await using rig = await openServerRig(slow);
    const raw = new Raw(rig, completion({ max_tokens: 5 }).repeat(3) + get("/health"));
    let most = 0;
    while (raw.statuses.length < 4) {
      most = Math.max(most, rig.engine.running);
      await new Promise((resolve) => setTimeout(resolve, 1));
    }
    assert.equal(most, 1);
    assert.deepEqual(raw.statuses, ["200", "200", "200", "200"]);
    assert.match(raw.text, /\{"status":"ok"\}$/);
  });

  test("a client's disconnect cancels the running request and drops the waiting ones", async () => {
    await using rig = await openServerRig(slow);
    const raw = new Raw(rig, completion({ max_tokens: 200 }).repeat(50));
    await until(() => rig.engine.running === 1, "the first");
    raw.socket.destroy();
    await until(() => rig.engine.sequences[0]?.finished === "cancelled", "its end");
    assert.equal((await fetch(`${rig.url}/health`)).status, 200);
    assert.equal(rig.engine.sequences.length, 1);
    await rig.server.drain(60_000);
  });

  test("one waiting request too many closes the connection and cancels the running one", async () => {
    await using rig = await openServerRig({ ...slow, server: { maxPipelined: 4 } });
    const raw = new Raw(rig, completion({ max_tokens: 200 }).repeat(6));
    await until(() => raw.left, "the end of the connection");
    await until(() => rig.engine.running === 0, "the end of the request");
    assert.equal(await limited(rig, "max-pipelined"), 1);
    assert.equal(rig.engine.sequences.length, 1);
    const within = new Raw(rig, completion().repeat(5));
    await until(() => within.statuses.length === 5, "five answers");
  });

  test("requests behind a refused one end with the connection", async () => {
    await using rig = await openServerRig(slow);
    const raw = new Raw(rig, `GET /health HTTP/1.1\r\n\r\n${completion({ max_tokens: 200 })}`);
    await until(() => rig.engine.running === 1, "the second");
    raw.socket.destroy();
    await until(() => rig.engine.running === 0, "its end");
    await rig.server.drain(60_000);
  });

  test("an upgrade behind a running request closes the connection", async () => {
    await using rig = await openServerRig(slow);
    const raw = new Raw(
      rig,
      completion({ max_tokens: 200 }) + get("/v1/ws", "connection: upgrade\r\nupgrade: websocket\r\n"),
    );
    await until(() => raw.left, "the end of the connection");
    await until(() => rig.engine.running === 0, "the end of the request");
  });
});

describe("other protocols", () => {
  const h2c = "connection: Upgrade, HTTP2-Settings\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABkAARAAAAAAAIAAAAA\r\n";

  test("an offered protocol is ignored: the request is answered, and the connection stays open", async () => {
    await using rig = await openServerRig(slow);
    const raw = new Raw(rig, get("/health", h2c));
    await until(() => raw.statuses.length === 1, "the first answer");
    for (let more = 2; more <= 20; more++) {
      raw.socket.write(more % 2 === 0 ? completion({}, h2c) : get("/v1/models", h2c));
      await until(() => raw.statuses.length === more, "an answer");
    }
    assert.ok(raw.statuses.every((status) => status === "200"));
    assert.ok(!raw.closed);
    raw.socket.write(get("/v1/ws", h2c));
    await until(() => raw.statuses.length === 21, "the last answer");
    assert.equal(raw.statuses.at(-1), "426");
  });

  test("a body that arrives in pieces after an upgrade offer is read in full", async () => {
    await using rig = await openServerRig(slow);
    const text = completion({ user: "x".repeat(500) }, h2c);
    const raw = new Raw(rig, text.slice(0, 400));
    await new Promise((resolve) => setTimeout(resolve, 20));
    raw.socket.write(text.slice(400));
    await until(() => raw.statuses.length === 1, "the answer");
    assert.equal(raw.statuses[0], "200", raw.text);
  });

  test("the WebSocket path without a handshake answers 426 and says how to connect", async () => {
    await using rig = await openServerRig();
    const response = await fetch(`${rig.url}/v1/ws`);
    assert.deepEqual([response.status, response.headers.get("upgrade")], [426, "websocket"]);
    assert.match(await response.text(), /"upgrade_required"/);
    assert.equal((await fetch(`${rig.url}/v1/ws`, { method: "POST" })).status, 405);
  });

  test("a refused handshake's connection is closed after a moment, whatever its client does", async () => {
    await using rig = await openServerRig({ server: { lingerTimeoutMs: 20 } });
    const refused = [
      get("/nope", "connection: upgrade\r\nupgrade: websocket\r\n"),
      get("/v1/ws", "connection: upgrade\r\nupgrade: websocket\r\norigin: https://evil.example\r\n"),
      get("/v1/ws", "connection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n"),
    ].map((text) => new Raw(rig, text));
    await until(() => refused.every(({ ended }) => ended), "the answers");
    assert.deepEqual(
      refused.flatMap(({ statuses }) => statuses),
      ["404", "403", "400"],
    );
    await until(() => rig.server.connections === 0, "the end of the connections");
    assert.ok(
      refused.every(({ closed }) => !closed),
      "the clients keep their side",
    );
  });
});

describe("limits", () => {
  test("past the total, probes are answered and other requests get 503, until a connection closes", async () => {
    await using rig = await openServerRig({ server: { maxConnections: 2 } });
    const held = [new Raw(rig, get("/health")), new Raw(rig, get("/health"))];
    await until(() => held.every(({ statuses }) => statuses.length === 1), "two connections");
    const more = ["/health", "/ready", "/v1/models", "/metrics"].map((path) => new Raw(rig, get(path)));
    await until(() => more.every(({ ended }) => ended), "the answers");
    assert.deepEqual(
      more.flatMap(({ statuses }) => statuses),
      ["200", "200", "503", "503"],
    );
    assert.match(more[2]?.text ?? "", /connection: close\r\nretry-after: 5\r\n[\s\S]*"connections_full"/i);
    const socket = new Raw(rig, get("/v1/ws", "connection: upgrade\r\nupgrade: websocket\r\n"));
    await until(() => socket.ended, "the refused handshake");
    assert.deepEqual(socket.statuses, ["503"]);
    for (const { socket } of held) socket.destroy();
    await until(() => rig.server.connections === 0, "free places");
    assert.equal((await fetch(`${rig.url}/v1/models`)).status, 200);
    assert.equal(await limited(rig, "max-connections"), 5);
  });

  test("a full reserve drops its oldest connection, so idle ones cannot keep others out", async () => {
    await using rig = await openServerRig({ server: { maxConnections: 1, reservedConnections: 3 } });
    const held = new Raw(rig, get("/health"));
    await until(() => held.statuses.length === 1, "the one connection");
    const silent = Array.from({ length: 10 }, () => new Raw(rig, ""));
    await until(() => silent.filter(({ left }) => left).length === 7, "seven that had to go");
    const probe = new Raw(rig, get("/ready"));
    await until(() => probe.ended, "an answer");
    assert.deepEqual(probe.statuses, ["200"]);
    assert.ok(!held.left);
  });

  test("connections past the limit of an address get 429; 0 and trusted proxies mean no limit", async () => {
    const server = { maxConnectionsPerAddress: 2 };
    await using rig = await openServerRig({ server });
    const held = [new Raw(rig, get("/health")), new Raw(rig, get("/health"))];
    await until(() => held.every(({ statuses }) => statuses.length === 1), "two connections");
    const more = [new Raw(rig, get("/v1/models")), new Raw(rig, get("/health"))];
    await until(() => more.every(({ ended }) => ended), "the answers");
    assert.deepEqual(
      more.flatMap(({ statuses }) => statuses),
      ["429", "200"],
    );
    assert.match(more[0]?.text ?? "", /retry-after: 5\r\n[\s\S]*"address_busy"/i);
    for (const options of [{ maxConnectionsPerAddress: 0 }, { ...server, trustedProxies: ["127.0.0.0/8"] }]) {
      await using free = await openServerRig({ server: options });
      const many = Array.from({ length: 5 }, () => new Raw(free, get("/v1/models")));
      await until(() => many.every(({ statuses }) => statuses[0] === "200"), "five answers");
    }
  });

  test("a connection whose body never arrives closes soon after the response", async () => {
    await using rig = await openServerRig({ server: { lingerTimeoutMs: 20 } });
    const held = ["GET /health", "GET /nope", "DELETE /v1/adapters/x", "PUT /v1/models"].map(
      (line) => new Raw(rig, `${line} HTTP/1.1\r\nhost: localhost\r\ncontent-length: 5\r\n\r\n`),
    );
    await until(() => held.every(({ left }) => left), "their ends");
    await until(() => rig.server.connections === 0, "free places");
    assert.deepEqual(
      held.flatMap(({ statuses }) => statuses),
      ["200", "404", "404", "405"],
    );
    await using patient = await openServerRig({ server: { lingerTimeoutMs: 60_000 } });
    const late = new Raw(patient, "GET /health HTTP/1.1\r\nhost: localhost\r\ncontent-length: 5\r\n\r\n");
    await until(() => late.statuses.length === 1, "the answer");
    late.socket.write(`12345${get("/health")}`);
    await until(() => late.statuses.length === 2, "the next answer on the same connection");
  });

  test("a client that still sends its body when it is refused can finish, and reads why", async () => {
    await using rig = await openServerRig({ server: { lingerTimeoutMs: 60_000 } });
    const sender = new Raw(rig, "POST /nope HTTP/1.1\r\nhost: localhost\r\ncontent-length: 20\r\n\r\n12345");
    await until(() => sender.ended, "the answer");
    for (const part of ["67890", "12345", "67890"]) {
      assert.equal(rig.server.connections, 1);
      sender.socket.write(part);
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
    await until(() => sender.left && rig.server.connections === 0, "the end of the connection");
    assert.deepEqual(sender.statuses, ["404"]);
  });

  test("a body that is announced as too large is refused before it arrives", async () => {
    await using rig = await openServerRig({ server: { lingerTimeoutMs: 20 } });
    const head = "host: localhost\r\ncontent-type: application/json\r\ncontent-length: 99999999999\r\n\r\n";
    const vast = new Raw(rig, `POST /v1/completions HTTP/1.1\r\n${head}{`);
    await until(() => vast.ended, "its end");
    assert.deepEqual(vast.statuses, ["413"]);
    assert.match(vast.text, /The body of 99999999999 bytes is too large; at most \d+ bytes are allowed/);
  });

  test("bytes that are not a request get an error, and the connection closes", async () => {
    await using rig = await openServerRig({ server: { lingerTimeoutMs: 20, maxHeaderBytes: 1024 } });
    const garbage = new Raw(rig, "\u0016\u0003\u0001 hello\r\n\r\n");
    const long = new Raw(rig, get("/health", `x: ${"y".repeat(2000)}\r\n`));
    await until(() => rig.server.connections === 0 && garbage.ended && long.ended, "their ends");
    assert.deepEqual([garbage.statuses, long.statuses], [["400"], ["431"]]);
    assert.match(garbage.text, /"code":"invalid_value"/);
    assert.match(long.text, /"code":"headers_too_large"/);
  });

  test("requests that Node would refuse with an empty response get the server's error format", async () => {
    await using rig = await openServerRig({ server: { lingerTimeoutMs: 20 } });
    const json = "host: localhost\r\ncontent-type: application/json\r\n";
    const handshake = "connection: upgrade\r\nupgrade: websocket\r\n";
    const cases: [string, string, string][] = [
      ["CONNECT example.com:80 HTTP/1.1\r\nhost: localhost\r\n\r\n", "405", "method_not_allowed"],
      ["GET /v1/models HTTP/1.1\r\n\r\n", "400", "invalid_value"],
      [`POST /v1/completions HTTP/1.1\r\n${json}transfer-encoding: chunked\r\n\r\nzz\r\n`, "400", "invalid_value"],
      [`PUT /v1/adapters/x HTTP/1.1\r\n${json}transfer-encoding: chunked\r\n\r\n-1\r\n`, "400", "invalid_value"],
      [get("/v1/ws", `${handshake}sec-websocket-version: 13\r\n`), "400", "invalid_value"],
      [
        get("/v1/ws", `${handshake}sec-websocket-version: 99\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n`),
        "400",
        "invalid_value",
      ],
      ["GET http:// HTTP/1.1\r\nhost: localhost\r\n\r\n", "404", "route_not_found"],
      ["GET http://[::1/ HTTP/1.1\r\nhost: localhost\r\n\r\n", "404", "route_not_found"],
    ];
    for (const [request, status, code] of cases) {
      const raw = new Raw(rig, request);
      await until(() => raw.text.includes('"code"') || raw.left, request);
      assert.deepEqual([raw.statuses, /"code":"(\w+)"/.exec(raw.text)?.[1]], [[status], code], request);
      raw.socket.destroy();
    }
    await until(() => rig.server.connections === 0, "the end of the connections");
  });

  test("a full URL is a valid target, and an unknown Expect header is ignored", async () => {
    await using rig = await openServerRig();
    const raw = new Raw(rig, get("http://localhost/v1/models?x=1", "expect: the-moon\r\n") + get("/health"));
    await until(() => raw.statuses.length === 2, "two answers");
    assert.deepEqual(raw.statuses, ["200", "200"]);
    assert.match(raw.text, /"object":"list"/);
  });

  test("a truncated body gets an error if its sender still reads, however much follows", async () => {
    await using rig = await openServerRig({ server: { lingerTimeoutMs: 20 } });
    const cut = new Raw(rig, completion().slice(0, -5));
    cut.socket.end();
    await until(() => cut.ended, "the answer");
    assert.deepEqual(cut.statuses, ["400"]);
    const head = "POST /v1/completions HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n";
    const noisy = new Raw(rig, `${head}transfer-encoding: chunked\r\n\r\nzz\r\n`);
    for (let i = 0; i < 20; i++) noisy.socket.write("y".repeat(10_000));
    await until(() => noisy.left, "the answer");
    assert.deepEqual(noisy.statuses, ["400"]);
    await until(() => rig.server.connections === 0, "the end of the connections");
    assert.equal(rig.engine.sequences.length, 0);
  });

  test("close ends every connection: silent, half open or refused", async () => {
    const rig = await openServerRig({ server: { lingerTimeoutMs: 60_000 } });
    const open = [new Raw(rig, ""), new Raw(rig, get("/nope", "connection: upgrade\r\nupgrade: websocket\r\n"))];
    await until(() => open[1]?.ended === true && rig.server.connections === 2, "two connections");
    await rig[Symbol.asyncDispose]();
    await until(() => open.every(({ left }) => left), "their ends");
  });
});
