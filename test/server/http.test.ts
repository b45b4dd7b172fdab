/** The server's own HTTP: headers, errors, bounds, slow readers, drain, the access log. */
import assert from "node:assert/strict";
import { once } from "node:events";
import { createRequire } from "node:module";
import { connect, type Socket } from "node:net";
import { describe, test } from "node:test";
import express from "express";
import { WebSocket } from "ws";
import { LorikeetError } from "../../src/base/errors.js";
import { LazyList } from "../../src/base/lazy-list.js";
import { basesOf } from "../../src/gateway/bases.js";
import { sendJson } from "../../src/server/http/send.js";
import { createServer } from "../../src/server/server.js";
import { pageCharacters, wideTokenizer } from "../support/byte-tokenizer.js";
import { openRig, openServerRig, type RigOptions, type ServerRig, until } from "../support/rig.js";

const bytes = (text: string): number[] => [...Buffer.from(text)];
const saying = (text: string, tokenMs = 0): RigOptions => ({ script: { answer: () => bytes(text), tokenMs } });

interface Told {
  readonly error: {
    readonly message: string;
    readonly code: string;
    readonly param: string | null;
    readonly faults?: string[];
  };
}

function post(rig: ServerRig, path: string, body: unknown, headers: Record<string, string> = {}): Promise<Response> {
  return fetch(`${rig.url}${path}`, {
    method: "POST",
    headers: { "content-type": "application/json", ...headers },
    body: typeof body === "string" ? body : JSON.stringify(body),
  });
}

async function told(response: Response): Promise<Told["error"]> {
  const value: Told = JSON.parse(await response.text());
  return value.error;
}

/** A raw connection that has sent a request. */
function rawPost(rig: ServerRig, path: string, body: string): Socket {
  const { hostname, port } = new URL(rig.url);
  const socket = connect(Number(port), hostname);
  socket.on("error", () => {});
  socket.write(
    `POST ${path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: ${Buffer.byteLength(body)}\r\n\r\n${body}`,
  );
  return socket;
}

describe("headers", () => {
  test("a request id always; identity and times once admitted", async () => {
    await using rig = await openServerRig(saying("ab"));
    const digest = await rig.adapters.add("plays");
    const mine = await post(
      rig,
      "/v1/completions",
      { model: "plays", prompt: "x", max_tokens: 2 },
      { "x-request-id": "mine-1" },
    );
    assert.equal(mine.headers.get("x-request-id"), "mine-1");
    assert.equal(mine.headers.get("x-adapter"), "plays");
    assert.equal(mine.headers.get("x-adapter-digest"), digest);
    assert.match(mine.headers.get("x-queue-ms") ?? "", /^[\d.]+$/);
    assert.match(mine.headers.get("x-time-to-first-token-ms") ?? "", /^[\d.]+$/);
    const bad = await post(rig, "/v1/completions", { model: "none", prompt: "x" }, { "x-request-id": "bad id\u00e9" });
    assert.match(bad.headers.get("x-request-id") ?? "", /^[0-9a-f-]{36}$/);
    assert.equal(bad.headers.get("x-adapter"), null);
    const base = await post(rig, "/v1/completions", { model: "base", prompt: "x", max_tokens: 1 });
    assert.equal(base.headers.get("x-adapter"), null);
  });

  test("a stream's status and headers come at admission, long before a token", async () => {
    await using rig = await openServerRig(saying("a", 60_000));
    const controller = new AbortController();
    const response = await fetch(`${rig.url}/v1/completions`, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({ model: "base", prompt: "x", stream: true }),
      signal: controller.signal,
    });
    assert.equal(response.status, 200);
    assert.equal(response.headers.get("content-type"), "text/event-stream; charset=utf-8");
    assert.ok(response.headers.get("x-queue-ms"));
    controller.abort();
  });

  test("a failed load has its own status code, for streams too", async () => {
    const error = new LorikeetError("adapter_invalid", "The file is truncated.");
    await using rig = await openServerRig({ script: { admission: () => Promise.reject(error) } });
    const response = await post(rig, "/v1/completions", { model: "base", prompt: "x", stream: true });
    assert.equal(response.status, 422);
    assert.equal((await told(response)).message, "The file is truncated.");
  });

  test("events end with [DONE]; comments keep an idle stream alive", async () => {
    await using rig = await openServerRig({ ...saying("ab", 100), server: { streamKeepAliveIntervalMs: 10 } });
    const text = await (
      await post(rig, "/v1/completions", { model: "base", prompt: "x", max_tokens: 2, stream: true })
    ).text();
    assert.match(text, /^(: keep-alive\n\n)*data: \{/);
    assert.match(text, /(^|\n\n): keep-alive\n\n/);
    assert.match(text, /\n\ndata: \[DONE\]\n\n$/);
  });
});

describe("errors", () => {
  test("one response lists every fault of a body", async () => {
    await using rig = await openServerRig();
    const response = await post(rig, "/v1/chat/completions", {
      model: "base",
      messages: [],
      temperature: 9,
      voice: "x",
    });
    assert.equal(response.status, 400);
    const error = await told(response);
    assert.equal(error.code, "unsupported_parameter");
    assert.equal(error.param, "voice");
    assert.equal(error.faults?.length, 3);
  });

  test("bodies that are not JSON, not declared as JSON, or too large are refused", async () => {
    await using rig = await openServerRig({ server: { maxBodyBytes: 200 } });
    const broken = await post(rig, "/v1/completions", '{"model":');
    assert.deepEqual([broken.status, (await told(broken)).code], [400, "invalid_value"]);
    const form = await post(rig, "/v1/completions", "model=base", {
      "content-type": "application/x-www-form-urlencoded",
    });
    assert.deepEqual([form.status, (await told(form)).code], [415, "unsupported_media_type"]);
    const large = await post(rig, "/v1/completions", { model: "base", prompt: "x".repeat(300) });
    assert.equal(large.status, 413);
    assert.match((await told(large)).message, /of 328 bytes is too large; at most 200/);
    assert.equal(rig.engine.sequences.length, 0);
  });

  test("a JSON body must be UTF-8; any other declared charset is refused", async () => {
    await using rig = await openServerRig(saying("ab"));
    const send = (charset: string) =>
      post(rig, "/v1/completions", '{"model":"base","prompt":"x"}', { "content-type": `application/json${charset}` });
    for (const charset of ["", "; charset=utf-8", ";CHARSET=UTF-8", '; charset="utf-8"'])
      assert.equal((await send(charset)).status, 200, charset);
    for (const name of [
      "utf-7",
      "utf-16",
      "UTF-16LE",
      "utf-32",
      "utf-9999",
      "latin1",
      "",
      '"utf-7"',
      "utf-8; charset=utf-7",
    ]) {
      const refused = await send(`; charset=${name}`);
      assert.deepEqual([refused.status, (await told(refused)).code], [415, "unsupported_media_type"], name);
    }
    assert.equal(rig.engine.sequences.length, 4);
  });

  test("a body that is not valid UTF-8 is refused, and one with a byte order mark is read", async () => {
    await using rig = await openServerRig(saying("ab"));
    const send = (bytes: Buffer) =>
      fetch(`${rig.url}/v1/completions`, {
        method: "POST",
        headers: { "content-type": "application/json" },
        body: new Uint8Array(bytes),
      });
    const refused = await send(Buffer.from('{"prompt":"caf\xe9"}', "latin1"));
    assert.deepEqual([refused.status, (await told(refused)).message], [400, "The body is not valid UTF-8."]);
    assert.equal((await send(Buffer.from('\ufeff{"prompt":"x"}'))).status, 200);
    assert.equal(rig.engine.sequences.length, 1);
  });

  test("reading a body opens no file, so it works without free file handles", async () => {
    await using rig = await openServerRig(saying("ab"));
    assert.equal((await post(rig, "/v1/completions", { prompt: "x" })).status, 200);
    const loaded = Object.keys(createRequire(import.meta.url).cache);
    assert.deepEqual(
      loaded.filter((path) => path.includes("/iconv-lite/encodings/")),
      [],
    );
  });

  test("no response contains a lone surrogate, whatever the request contains", async () => {
    await using rig = await openServerRig(saying("ab"));
    const bodies: [string, string][] = [
      ["/v1/completions", '{"model":"\\ud800","prompt":"x"}'],
      ["/v1/completions", '{"prompt":"a\\udc00b","echo":true,"logprobs":0,"max_tokens":1,"user":"\\ud800"}'],
      ["/v1/completions", '{"prompt":"x","\\ud800":1,"logit_bias":{"\\udfff":1},"stream_options":{"\\ud800":1}}'],
      ["/v1/chat/completions", '{"messages":[{"role":"\\ud800","content":"x","\\ud800":1}]}'],
      [
        "/v1/chat/completions",
        '{"messages":[{"role":"user","content":"x"}],"chat_template_kwargs":{"\\ud800":"\\ud800"}}',
      ],
      ["/v1/tokenize", '{"model":"\\ud83d","prompt":"\\ud83d"}'],
      ["/v1/unload_lora_adapter", '{"lora_name":"\\ud800"}'],
    ];
    for (const [path, body] of bodies) {
      const text = await (await post(rig, path, body)).text();
      assert.doesNotMatch(text, /\\ud[89a-f]/i, text);
    }
    const streamed = await post(
      rig,
      "/v1/completions",
      '{"prompt":"\\ud800","echo":true,"max_tokens":1,"stream":true}',
    );
    assert.match(await streamed.text(), /"text":"\ufffd"/);
  });

  test("unknown routes, other methods, malformed paths", async () => {
    await using rig = await openServerRig();
    const missing = await fetch(`${rig.url}/v2/x`);
    assert.deepEqual([missing.status, (await told(missing)).code], [404, "route_not_found"]);
    assert.equal(missing.headers.get("connection"), "keep-alive", "no body is on its way");
    const method = await fetch(`${rig.url}/v1/completions`);
    assert.deepEqual([method.status, method.headers.get("allow")], [405, "POST"]);
    const path = await fetch(`${rig.url}/v1/adapters/%ff`);
    assert.deepEqual([path.status, (await told(path)).code], [400, "invalid_value"]);
  });

  test("a full queue answers 429 with a Retry-After", async () => {
    await using rig = await openServerRig({ script: { limits: { maxQueue: 0 } } });
    const response = await post(rig, "/v1/completions", { model: "base", prompt: "x" });
    assert.deepEqual([response.status, response.headers.get("retry-after")], [429, "1"]);
    assert.equal((await post(rig, "/v1/completions", { model: "a secret", prompt: "x" })).status, 404);
    await until(() => rig.lines.length === 2);
    const [full, unknown] = rig.lines.map(({ fields }) => fields);
    assert.deepEqual([full?.code, full?.model], ["queue_full", "base"], "the log says for which model");
    assert.equal(unknown?.model, undefined, "and writes no name that does not exist");
  });

  test("an internal error hides its details from the client and logs them", async () => {
    await using rig = await openServerRig({ script: { failAfter: { tokens: 0, error: new Error("at line 5") } } });
    const response = await post(rig, "/v1/completions", { model: "base", prompt: "x" });
    assert.equal(response.status, 500);
    assert.doesNotMatch((await told(response)).message, /line 5/);
    const logged = rig.lines.find(({ level }) => level === "error");
    assert.match(String(logged?.fields.err instanceof Error && logged.fields.err.cause), /line 5/);
  });

  test("a body that never arrives is a 408", async () => {
    await using rig = await openServerRig({ server: { bodyTimeoutMs: 30, lingerTimeoutMs: 10 } });
    const { hostname, port } = new URL(rig.url);
    const socket = connect(Number(port), hostname);
    socket.write(
      "POST /v1/completions HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: 50\r\n\r\n{",
    );
    const [head] = await once(socket, "data");
    assert.match(String(head), /^HTTP\/1\.1 408/);
    assert.match(String(head), /connection: close/i);
    await once(socket, "close");
  });
});

describe("readers", () => {
  const endless: RigOptions = {
    script: { answer: () => Array<number>(100_000).fill(97), limits: { maxContext: 200_000 } },
    tokenizer: wideTokenizer(),
    server: { streamBufferBytes: 1024, slowReaderTimeoutMs: 60 },
  };
  const body = JSON.stringify({ model: "base", prompt: "x", max_tokens: 90_000, stream: true });

  test("a reader that stops pauses its own generation, then is ended and freed", async () => {
    await using rig = await openServerRig(endless);
    const socket = rawPost(rig, "/v1/completions", body);
    socket.pause();
    await until(() => (rig.engine.sequences[0]?.pauses ?? 0) > 0, "the pause");
    const other = await post(rig, "/v1/completions", { model: "base", prompt: "x", max_tokens: 3 });
    assert.equal(other.status, 200, "others are not affected");
    await until(() => rig.engine.sequences[0]?.finished === "cancelled", "the end of the slow reader");
    assert.ok((rig.engine.sequences[0]?.tokens ?? 0) < 90_000);
    socket.resume();
    await once(socket, "close");
    await until(() => rig.lines.some(({ fields }) => fields.code === "timeout"), "its access line");
  });

  test("a reader that stops loses its slot sooner if others wait for one", async () => {
    let waiting = 0;
    const script = { ...endless.script, waiting: () => waiting };
    const server = { streamBufferBytes: 1024, slowReaderTimeoutMs: 60_000, slowReaderSlotTimeoutMs: 20 };
    await using rig = await openServerRig({ ...endless, script, server });
    const socket = rawPost(rig, "/v1/completions", body);
    socket.pause();
    await until(() => (rig.engine.sequences[0]?.pauses ?? 0) > 0, "the pause");
    waiting = 1;
    await until(() => rig.engine.sequences[0]?.finished === "cancelled", "the end of the slow reader");
    socket.resume();
    await once(socket, "close");
    const metrics = await (await fetch(`${rig.url}/metrics`)).text();
    assert.match(metrics, /^lorikeet_limited_total\{limit="slow-reader-slot-timeout"\} 1$/m);
  });

  test("a reader that resumes continues where it stopped", async () => {
    await using rig = await openServerRig({
      ...endless,
      server: { streamBufferBytes: 1024, slowReaderTimeoutMs: 5_000 },
    });
    const short = JSON.stringify({ model: "base", prompt: "x", max_tokens: 2_000, stream: true });
    const socket = rawPost(rig, "/v1/completions", short);
    socket.pause();
    await until(() => (rig.engine.sequences[0]?.pauses ?? 0) > 0, "the pause");
    const received: string[] = [];
    socket.on("data", (chunk) => received.push(String(chunk)));
    socket.resume();
    while (!received.at(-1)?.includes("[DONE]")) await once(socket, "data");
    const text = received.join("");
    assert.equal(text.match(/"text":"a+"/g)?.join("").length, 2_000 * (pageCharacters + 9));
    assert.equal(rig.engine.sequences[0]?.isPaused, false);
    socket.destroy();
  });
});

describe("large answers", () => {
  const length = 10_000;
  const scored: RigOptions = { script: { limits: { maxContext: 200_000 } } };
  const body = { model: "base", prompt: "x".repeat(length), max_tokens: 0, echo: true, logprobs: 3 };

  test("a large response is sent in pieces and arrives complete", async () => {
    await using rig = await openServerRig(scored);
    const response = await post(rig, "/v1/completions", body);
    assert.equal(response.headers.get("content-length"), null);
    assert.equal(response.headers.get("content-type"), "application/json; charset=utf-8");
    const text = await response.text();
    const { choices }: { choices: { logprobs: { tokens: string[]; top_logprobs: object[] } }[] } = JSON.parse(text);
    assert.equal(text, JSON.stringify(JSON.parse(text)));
    assert.deepEqual([choices[0]?.logprobs.tokens.length, choices[0]?.logprobs.top_logprobs.length], [length, length]);
    const small = await post(rig, "/v1/completions", { model: "base", prompt: "x", max_tokens: 1 });
    assert.ok(Number(small.headers.get("content-length")) > 0);
  });

  test("a large event of a stream stays one event, without a comment inside", async () => {
    await using rig = await openServerRig({ ...scored, server: { streamKeepAliveIntervalMs: 1 } });
    const text = await (await post(rig, "/v1/completions", { ...body, stream: true })).text();
    const events = text.split("\n\n").filter((event) => event.startsWith("data: {"));
    const sizes = events.map((event) => {
      const chunk: { choices: { logprobs: { tokens: string[] } | null }[] } = JSON.parse(event.slice("data: ".length));
      return chunk.choices[0]?.logprobs?.tokens.length ?? 0;
    });
    assert.equal(Math.max(...sizes), length);
  });

  test("a large response without a reader is abandoned and counted", async () => {
    const ends: unknown[] = [];
    const limits: string[] = [];
    const app = express().get("/", (_req, res) => {
      const value = { list: new LazyList(endless) };
      const bounds = { slowReaderTimeoutMs: 50, minReadRate: 0, onLimit: (limit: string) => limits.push(limit) };
      sendJson(res, value, bounds).then(undefined, (error) => ends.push(error));
    });
    const http = app.listen(0, "127.0.0.1");
    await once(http, "listening");
    const address = http.address();
    const socket = connect(typeof address === "object" ? (address?.port ?? 0) : 0, "127.0.0.1");
    socket.on("error", () => {});
    socket.pause();
    socket.write("GET / HTTP/1.1\r\nhost: localhost\r\n\r\n");
    await until(() => ends.length > 0, "the end");
    assert.ok(ends[0] instanceof LorikeetError && ends[0].code === "timeout", String(ends[0]));
    assert.deepEqual(limits, ["slow-reader-timeout"]);
    socket.destroy();
    http.closeAllConnections();
    http.close();
  });
});

function* endless(): Generator<string, void, undefined> {
  for (;;) yield "x".repeat(10_000);
}

describe("operations", () => {
  test("while the model loads: alive, not ready, 503 for everything else; then it serves", async () => {
    await using rig = await openRig({ script: { answer: () => bytes("a") } });
    const server = createServer({ logger: rig.logger });
    try {
      const { port } = await server.listen("127.0.0.1", 0);
      const url = `http://127.0.0.1:${port}`;
      assert.equal((await fetch(`${url}/health`)).status, 200);
      assert.equal((await fetch(`${url}/metrics`)).status, 200);
      for (const path of ["/ready", "/v1/models", "/v1/ws", "/v1/adapters/x"]) {
        const refused = await fetch(`${url}${path}`);
        assert.deepEqual([refused.status, refused.headers.get("retry-after")], [503, "5"], path);
        assert.equal((await told(refused)).code, "not_ready");
      }
      await assert.rejects(once(new WebSocket(`ws://127.0.0.1:${port}/v1/ws`), "open"), /503/);
      server.open(basesOf("base", rig.gateway));
      assert.equal((await fetch(`${url}/ready`)).status, 200);
      assert.equal((await fetch(`${url}/v1/models`)).status, 200);
      const socket = new WebSocket(`ws://127.0.0.1:${port}/v1/ws`);
      await once(socket, "open");
      socket.terminate();
    } finally {
      await server.close();
    }
  });

  test("drain: not ready, 503 for new requests, running ones finish", async () => {
    await using rig = await openServerRig(saying("x".repeat(50), 4));
    assert.equal((await fetch(`${rig.url}/ready`)).status, 200);
    const response = await post(rig, "/v1/completions", { model: "base", prompt: "x", max_tokens: 40, stream: true });
    const reading = response.text();
    const draining = rig.server.drain(5_000);
    assert.equal((await fetch(`${rig.url}/ready`)).status, 503);
    assert.equal((await fetch(`${rig.url}/health`)).status, 200);
    assert.equal((await fetch(`${rig.url}/metrics`)).status, 200);
    const refused = await post(rig, "/v1/completions", { model: "base", prompt: "x" });
    assert.deepEqual([refused.status, refused.headers.get("retry-after")], [503, "10"]);
    assert.equal((await told(refused)).code, "draining");
    assert.match(await reading, /"finish_reason":"length".*\[DONE\]/s);
    await draining;
    assert.equal(rig.engine.running, 0);
  });

  test("a drain beyond its grace period ends remaining requests, with a frame that says so", async () => {
    await using rig = await openServerRig(saying("x".repeat(200), 10));
    const response = await post(rig, "/v1/completions", { model: "base", prompt: "x", max_tokens: 200, stream: true });
    const reading = response.text();
    await rig.server.drain(30);
    assert.match(await reading, /data: \{"error":\{.*"code":"draining"/);
  });

  test("a lost device: not ready, 503 by its code for new requests, an error frame on the running stream", async () => {
    const lost = new LorikeetError("device_lost", "The device was lost.");
    await using rig = await openServerRig({ script: { tokenMs: 2, failAfter: { tokens: 3, error: lost } } });
    const response = await post(rig, "/v1/completions", { model: "base", prompt: "x", max_tokens: 40, stream: true });
    const draining = rig.server.drain(5_000, lost);
    for (const path of ["/ready", "/v1/models"]) {
      const refused = await fetch(rig.url + path);
      assert.deepEqual([refused.status, refused.headers.get("retry-after")], [503, "10"]);
      assert.equal((await told(refused)).code, "device_lost");
    }
    assert.equal((await fetch(`${rig.url}/health`)).status, 200);
    const late = await post(rig, "/v1/completions", { model: "base", prompt: "x" });
    assert.deepEqual([late.status, (await told(late)).code], [503, "device_lost"]);
    assert.match(await response.text(), /data: \{"error":\{.*"code":"device_lost"/);
    await draining;
  });

  test("one access line a request, with its id and counts and no text of the prompt; polls are told at debug level", async () => {
    await using rig = await openServerRig(saying("ab"));
    await post(rig, "/v1/completions", { model: "base", prompt: "sesame", max_tokens: 2 }, { "x-request-id": "r-1" });
    await post(rig, "/v1/completions", { model: "base", prompt: { sesame: 1 } });
    for (const path of ["/health", "/", "/v1/adapters", "/v1/fine_tuning/jobs"]) await fetch(rig.url + path);
    await until(() => rig.lines.length === 6);
    const [first, second, ...polls] = rig.lines;
    const { requestId, status, path, promptTokens, completionTokens, outcome } = first?.fields ?? {};
    assert.deepEqual(
      [requestId, status, path, promptTokens, completionTokens, outcome],
      ["r-1", 200, "/v1/completions", 6, 2, "completed"],
    );
    assert.deepEqual([second?.fields.status, second?.fields.code], [400, "invalid_value"]);
    // Of what a page polls, only a refusal is told: this server trains nothing.
    assert.deepEqual(
      polls.map(({ level, fields }) => [fields.path, level]),
      [
        ["/health", "debug"],
        ["/", "debug"],
        ["/v1/adapters", "debug"],
        ["/v1/fine_tuning/jobs", "info"],
      ],
    );
    assert.doesNotMatch(JSON.stringify(rig.lines), /sesame/);
    await using loud = await openServerRig({ ...saying("ab"), server: { logPrompts: true } });
    await post(loud, "/v1/completions", { model: "base", prompt: "sesame", max_tokens: 2 });
    await until(() => loud.lines.length === 1);
    assert.match(JSON.stringify(loud.lines), /sesame/);
  });
});
