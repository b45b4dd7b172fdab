/** API keys over HTTP and WebSocket: which requests pass, what others get, and that no key is written anywhere. */
import assert from "node:assert/strict";
import { once } from "node:events";
import { type IncomingMessage, request } from "node:http";
import { describe, test } from "node:test";
import OpenAI from "openai";
import { WebSocket } from "ws";
import { openServerRig, type ServerRig, until } from "../support/rig.js";

const [first, second] = ["sk-first-0123456789", "c2Vjb25kLWtleQ+/=="];
const apiKeys = [first, second];
const body = JSON.stringify({ model: "base", prompt: "x", max_tokens: 1 });

interface Answer {
  readonly status: number;
  readonly headers: IncomingMessage["headers"];
  readonly text: string;
}

async function send(
  rig: ServerRig,
  method: string,
  path: string,
  headers: Record<string, string> = {},
): Promise<Answer> {
  const sent = request(rig.url + path, { method, headers: { "content-type": "application/json", ...headers } });
  sent.on("error", () => {});
  sent.end(method === "POST" ? body : undefined);
  const [response]: IncomingMessage[] = await once(sent, "response");
  assert.ok(response);
  let text = "";
  for await (const chunk of response) text += chunk;
  return { status: response.statusCode ?? 0, headers: response.headers, text };
}

/** The status of a WebSocket's handshake, and the subprotocol that the server chose. */
async function shake(
  rig: ServerRig,
  path: string,
  protocols: string[],
  headers: Record<string, string> = {},
): Promise<{ status: number; protocol: string; headers: IncomingMessage["headers"] }> {
  const socket = new WebSocket(rig.url.replace("http", "ws") + path, protocols, { headers });
  socket.on("error", () => {});
  const response = await new Promise<IncomingMessage>((resolve) => {
    socket.on("upgrade", (upgraded) => socket.on("open", () => resolve(upgraded)));
    socket.on("unexpected-response", (_request, refused) => resolve(refused));
  });
  const status = response.statusCode ?? 0;
  socket.terminate();
  return { status, protocol: socket.protocol, headers: response.headers };
}

const everywhere: readonly (readonly [string, string])[] = [
  ["GET", "/"],
  ["GET", "/metrics"],
  ["GET", "/v1/models"],
  ["GET", "/v1/models/base"],
  ["POST", "/v1/completions"],
  ["POST", "/v1/chat/completions"],
  ["POST", "/v1/messages"],
  ["POST", "/v1/messages/count_tokens"],
  ["POST", "/"],
  ["POST", "/generate"],
  ["POST", "/generate_stream"],
  ["POST", "/v1/responses"],
  ["GET", "/v1/responses/resp_1"],
  ["DELETE", "/v1/responses/resp_1"],
  ["POST", "/v1/responses/resp_1/cancel"],
  ["GET", "/v1/responses/resp_1/input_items"],
  ["GET", "/v1/adapters"],
  ["PUT", "/v1/adapters/x"],
  ["DELETE", "/v1/adapters/x"],
  ["GET", "/v1/adapters/x/download"],
  ["POST", "/v1/load_lora_adapter"],
  ["GET", "/nowhere"],
  ["GET", "/healthy"],
  ["GET", "/health/../v1/models"],
  ["POST", "/v1/models"],
  ["OPTIONS", "/v1/models"],
];

describe("a server with keys", () => {
  test("answers 401 to requests without a key, except for probes", async () => {
    await using rig = await openServerRig({ apiKeys });
    for (const path of ["/health", "/ready", "/Health/"])
      assert.equal((await send(rig, "GET", path)).status, 200, path);
    for (const [method, path] of everywhere) {
      const { status, headers, text } = await send(rig, method, path);
      assert.equal(status, 401, `${method} ${path}`);
      assert.match(headers["www-authenticate"] ?? "", /^Bearer /);
      assert.match(text, /"(code|reason|error_code)":"invalid_api_key"/);
    }
    assert.equal(rig.engine.sequences.length, 0);
    const { text } = await send(rig, "GET", "/metrics", { authorization: `Bearer ${first}` });
    assert.match(text, new RegExp(`lorikeet_access_refused_total\\{code="invalid_api_key"\\} ${everywhere.length}\n`));
  });

  test("accepts each of its keys as a bearer token or as x-api-key, and no similar value", async () => {
    await using rig = await openServerRig({ apiKeys });
    const status = async (headers: Record<string, string>) =>
      (await send(rig, "POST", "/v1/completions", headers)).status;
    for (const key of apiKeys) {
      assert.equal(await status({ authorization: `Bearer ${key}` }), 200);
      assert.equal(await status({ authorization: `bearer  ${key}` }), 200, "the scheme has no case");
      assert.equal(await status({ "x-api-key": key }), 200);
      assert.equal(await status({ authorization: "Basic Zm9vOmJhcg==", "x-api-key": key }), 200, "behind a proxy");
      for (const wrong of [key.slice(0, -1), `${key}x`, key.toUpperCase(), `${key} ${key}`, `${key},${key}`, ""]) {
        assert.equal(await status({ authorization: `Bearer ${wrong}` }), 401, wrong);
        assert.equal(await status({ "x-api-key": wrong }), 401, wrong);
      }
      assert.equal(await status({ authorization: key }), 401, "a key without its scheme");
      assert.equal(await status({ authorization: `Basic ${key}` }), 401);
      assert.equal((await send(rig, "GET", `/v1/models?api_key=${key}&key=${key}`)).status, 401);
    }
  });

  test("is open to the official client with a key", async () => {
    await using rig = await openServerRig({ apiKeys });
    const client = (apiKey: string) => new OpenAI({ baseURL: `${rig.url}/v1`, apiKey, maxRetries: 0 });
    assert.ok((await client(first).models.list()).data.length > 0);
    await assert.rejects(client("none").models.list(), OpenAI.AuthenticationError);
  });

  test("accepts a key in a WebSocket handshake: as a header, or as a subprotocol that is never echoed", async () => {
    await using rig = await openServerRig({ apiKeys });
    const encoded = Buffer.from(second).toString("base64url");
    for (const [protocols, headers] of [
      [["lorikeet"], { authorization: `Bearer ${first}` }],
      [["lorikeet"], { "x-api-key": second }],
      [["lorikeet", `lorikeet.bearer.${first}`], {}],
      [[`lorikeet.bearer.${first}`, "lorikeet"], {}],
      [["lorikeet", `lorikeet.bearer.${encoded}`], {}],
    ] as [string[], Record<string, string>][]) {
      const { status, protocol, headers: answered } = await shake(rig, "/v1/ws", protocols, headers);
      assert.deepEqual([status, protocol], [101, "lorikeet"]);
      assert.ok(!JSON.stringify(answered).includes("bearer"));
    }
    for (const protocols of [
      ["lorikeet"],
      ["lorikeet", "lorikeet.bearer.c2VjcmV0"],
      ["lorikeet", "lorikeet.bearer."],
    ]) {
      for (const path of ["/v1/ws", "/v1/ws?key=x", "/elsewhere"]) {
        const { status, headers } = await shake(rig, path, protocols);
        assert.equal(status, 401, path);
        assert.match(headers["www-authenticate"] ?? "", /^Bearer /);
      }
    }
  });

  test("answers the preflight of an allowed page without a key, and lets it read the refusal", async () => {
    await using rig = await openServerRig({ apiKeys });
    const origin = "http://localhost:3000";
    const preflight = await send(rig, "OPTIONS", "/v1/completions", {
      origin,
      "access-control-request-method": "POST",
    });
    assert.equal(preflight.status, 204);
    const refused = await send(rig, "POST", "/v1/completions", { origin });
    assert.equal(refused.status, 401);
    assert.equal(refused.headers["access-control-allow-origin"], origin);
  });

  test("writes keys into no log line", async () => {
    await using rig = await openServerRig({ apiKeys, server: { logPrompts: true } });
    const bearer = { authorization: `Bearer ${first}` };
    await send(rig, "POST", "/v1/completions", bearer);
    await send(rig, "GET", `/v1/models?api_key=${first}`, { "x-api-key": `${first}x` });
    await shake(rig, `/v1/ws?token=${first}`, ["lorikeet", `lorikeet.bearer.${first}`]);
    await shake(rig, "/v1/ws", ["lorikeet", `lorikeet.bearer.${first}x`]);
    await until(() => rig.lines.length >= 3, "the lines of these requests");
    assert.ok(!JSON.stringify(rig.lines).includes(first));
  });
});

test("a server without keys takes requests with any key", async () => {
  await using rig = await openServerRig();
  assert.equal((await send(rig, "POST", "/v1/completions", { authorization: "Bearer none" })).status, 200);
  assert.equal((await shake(rig, "/v1/ws", ["lorikeet", "lorikeet.bearer.c2VjcmV0"])).status, 101);
});
