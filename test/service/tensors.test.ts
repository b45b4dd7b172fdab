/** Tensors as bytes, over HTTP and over the WebSocket: the answers of JSON, within the bounds, and bad messages refused by name. */

import assert from "node:assert/strict";
import { once } from "node:events";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { WebSocket } from "ws";
import { post, scrape } from "../support/client.js";
import { adaptersFolder, openService, type RunningService } from "../support/service.js";
import { taskRoot } from "../support/task-models.js";

const model = "policy-mlp";
const observation = Float32Array.of(0.25, -1, 3, 0.5, 1, 1, -2, 0);
const bytes = Buffer.from(observation.buffer);
const tensor = { name: "observation", shape: [2, 4], datatype: "FP32" };
const asJson = { inputs: [{ ...tensor, data: [...observation] }] };
const asBytes = { inputs: [{ ...tensor, parameters: { binary_data_size: bytes.length } }] };

let service: RunningService;
let adapters: Awaited<ReturnType<typeof adaptersFolder>>;
before(async () => {
  adapters = await adaptersFolder({ other: join(taskRoot, model, "adapters", "all-r4-rslora") });
  service = await openService({
    ...{ model: join(taskRoot, model), adapters: adapters.path, maxSequences: "8192", maxQueue: "8192" },
    ...{ maxTensorBytes: "131072", maxBodyBytes: "65536", maxFrameBytes: "65536", maxSocketRequests: "8" },
  });
});
after(async () => {
  await service?.[Symbol.asyncDispose]();
  await adapters[Symbol.asyncDispose]();
});

const floatsOf = (data: Uint8Array): number[] => [...new Float32Array(Uint8Array.from(data).buffer)];

async function expected(name: string): Promise<number[]> {
  const response = await post(service.url, `/v2/models/${name}/infer`, asJson);
  const text = await response.text();
  assert.equal(response.status, 200, text);
  return JSON.parse(text).outputs[0].data;
}

describe("POST /v2/models/{name}/infer", () => {
  const send = (path: string, json: object, tensors: Uint8Array, headers: Record<string, string> = {}) => {
    const head = Buffer.from(JSON.stringify(json));
    const length = { "inference-header-content-length": String(head.length), ...headers };
    return fetch(service.url + path, { method: "POST", headers: length, body: Buffer.concat([head, tensors]) });
  };

  test("bytes in and bytes out are the answer of JSON, for the base and an adapter, by version too", async () => {
    for (const path of [model, "other", `${model}/versions/1`]) {
      const wanted = await expected(path);
      const outputs = [{ name: "q_values", parameters: { binary_data: true } }];
      const response = await send(`/v2/models/${path}/infer`, { ...asBytes, outputs, id: "7" }, bytes);
      const body = Buffer.from(await response.arrayBuffer());
      assert.equal(response.status, 200, body.toString());
      assert.equal(response.headers.get("content-type"), "application/octet-stream");
      assert.equal(response.headers.get("content-length"), String(body.length));
      const length = Number(response.headers.get("inference-header-content-length"));
      assert.deepEqual(JSON.parse(body.subarray(0, length).toString()), {
        ...{ model_name: path.split("/")[0], model_version: "1", id: "7" },
        outputs: [{ name: "q_values", datatype: "FP32", shape: [2, 2], parameters: { binary_data_size: 16 } }],
      });
      assert.deepEqual(floatsOf(body.subarray(length)), wanted);
    }
    assert.deepEqual(
      JSON.parse(await (await send(`/v2/models/${model}/infer`, asBytes, bytes)).text()).outputs[0].data,
      await expected(model),
    );
    await service.assertIdle();
  });

  test("JSON needs no content type, and bytes after it need the header, which the refusal names", async () => {
    const untyped = { method: "POST", body: Buffer.from(JSON.stringify(asJson)) };
    const response = await fetch(`${service.url}/v2/models/${model}/infer`, untyped);
    assert.deepEqual(JSON.parse(await response.text()).outputs[0].data, await expected(model));
    const octets = { ...untyped, headers: { "content-type": "application/octet-stream" } };
    const refused = await fetch(`${service.url}/v2/models/${model}/infer`, octets);
    assert.equal(refused.status, 415);
    assert.match(await refused.text(), /the length of the JSON in the header Inference-Header-Content-Length/);
  });

  test("a large answer comes whole, in pieces", async () => {
    const rows = 5000;
    const data = new Float32Array(rows * 4).map((_, i) => Math.sin(i));
    const inputs = [{ ...tensor, shape: [rows, 4], parameters: { binary_data_size: data.byteLength } }];
    const parameters = { binary_data_output: true };
    const response = await send(`/v2/models/${model}/infer`, { inputs, parameters }, Buffer.from(data.buffer));
    const body = Buffer.from(await response.arrayBuffer());
    assert.equal(body.length - Number(response.headers.get("inference-header-content-length")), rows * 8);
  });

  test("bad headers, bodies that are too large, and other versions are a 4xx in the protocol's form", async () => {
    const infer = `/v2/models/${model}/infer`;
    const cases: [response: Promise<Response>, status: number, message: RegExp][] = [
      [send(infer, asBytes, bytes, { "inference-header-content-length": "x" }), 400, /must be a number of bytes/],
      [
        send(infer, asBytes, bytes, { "inference-header-content-length": "9999" }),
        400,
        /is 9999; the body has \d+ bytes/,
      ],
      [
        send(infer, asBytes, bytes, { "inference-header-content-length": "70000" }),
        413,
        /The JSON of 70000 bytes.*65536/,
      ],
      [send(infer, asBytes, bytes, { "inference-header-content-length": "3" }), 400, /is not valid JSON/],
      [send(infer, asBytes, Buffer.alloc(196_608)), 413, /The body of \d+ bytes is too large; at most 196608/],
      [
        post(service.url, infer, { filler: "x".repeat(65_536) }),
        413,
        /at most 65536 bytes are allowed \(--max-body-bytes\). Tensors .* \d+ bytes \(--max-tensor-bytes\)/,
      ],
      [send(infer, asBytes, bytes, { "content-encoding": "gzip" }), 415, /send it uncompressed/],
      [send(infer, asBytes, bytes.subarray(4)), 400, /32 bytes in all; 28 bytes follow/],
      [send(`/v2/models/${model}/versions/2/infer`, asBytes, bytes), 404, /has no version "2"; its only version is 1/],
      [fetch(`${service.url}/v2/models/${model}/versions/0/ready`), 404, /has no version "0"/],
      [fetch(`${service.url}/v2/models/nobody/versions/1`), 404, /The model `nobody` does not exist/],
    ];
    for (const [sent, status, message] of cases) {
      const response = await sent;
      const answer = JSON.parse(await response.text());
      assert.deepEqual([response.status, Object.keys(answer)], [status, ["error"]], JSON.stringify(answer));
      assert.match(answer.error, message);
    }
  });

  test("metadata and readiness are those of the only version", async () => {
    const get = async (path: string) => JSON.parse(await (await fetch(service.url + path)).text());
    assert.deepEqual((await get("/v2")).extensions, ["binary_tensor_data"]);
    for (const name of [model, "other"]) {
      assert.deepEqual(await get(`/v2/models/${name}/versions/1`), await get(`/v2/models/${name}`));
      assert.deepEqual(await get(`/v2/models/${name}/versions/1/ready`), { name, version: "1", ready: true });
    }
  });
});

interface Reply {
  readonly id: string | null;
  readonly type: "result" | "error";
  readonly data?: {
    readonly model_name: string;
    readonly outputs: readonly {
      readonly data?: number[];
      readonly parameters?: { readonly binary_data_size: number };
    }[];
  };
  readonly error?: { readonly code: string; readonly message: string; readonly param: string | null };
  /** What followed the JSON; null in a text message. */
  readonly bytes: Buffer | null;
}

/** Messages under their ids over one WebSocket. */
class Policy implements Disposable {
  readonly socket: WebSocket;
  readonly #waiting = new Map<string | null, (reply: Reply) => void>();

  private constructor(socket: WebSocket) {
    this.socket = socket;
    socket.on("message", (data: Buffer, isBinary: boolean) => {
      const length = isBinary ? data.readUInt32LE() : data.length;
      const json = JSON.parse(data.subarray(isBinary ? 4 : 0, (isBinary ? 4 : 0) + length).toString());
      this.#waiting.get(json.id)?.({ ...json, bytes: isBinary ? data.subarray(4 + length) : null });
    });
  }

  static async open(): Promise<Policy> {
    const socket = new WebSocket(`${service.url.replace("http", "ws")}/v1/ws`);
    await once(socket, "open");
    return new Policy(socket);
  }

  reply(id: string | null): Promise<Reply> {
    return new Promise((resolve) => this.#waiting.set(id, resolve));
  }

  ask(id: string, body: object): Promise<Reply> {
    return this.#send(id, JSON.stringify({ id, type: "infer", body }));
  }

  askBytes(id: string, body: object, tensors: Uint8Array): Promise<Reply> {
    const head = Buffer.from(JSON.stringify({ id, type: "infer", body }));
    const length = Buffer.alloc(4);
    length.writeUInt32LE(head.length);
    return this.#send(id, Buffer.concat([length, head, tensors]));
  }

  #send(id: string, message: string | Buffer): Promise<Reply> {
    const reply = this.reply(id);
    this.socket.send(message);
    return reply;
  }

  [Symbol.dispose](): void {
    this.socket.terminate();
  }
}

describe("infer over the WebSocket", () => {
  test("text and binary messages get the answers of HTTP, in their own form, in any order", async () => {
    using policy = await Policy.open();
    const [base, other] = [await expected(model), await expected("other")];
    const [text, binary, adapted, mixed] = await Promise.all([
      policy.ask("a", { ...asJson, model }),
      policy.askBytes("b", asBytes, bytes),
      policy.askBytes("c", { ...asBytes, model: "other" }, bytes),
      policy.askBytes("d", { ...asBytes, parameters: { binary_data_output: false } }, bytes),
    ]);
    assert.deepEqual([text.type, text.bytes, text.data?.outputs[0]?.data], ["result", null, base]);
    assert.deepEqual([binary.type, floatsOf(binary.bytes ?? Buffer.alloc(0))], ["result", base]);
    assert.deepEqual([adapted.data?.model_name, floatsOf(adapted.bytes ?? Buffer.alloc(0))], ["other", other]);
    assert.deepEqual([mixed.bytes, mixed.data?.outputs[0]?.data], [null, base]);
    const wide = await policy.ask("e", { ...asJson, parameters: { binary_data_output: true } });
    assert.deepEqual(floatsOf(wide.bytes ?? Buffer.alloc(0)), base);
    await service.assertIdle();
    const metrics = await scrape(service.url);
    assert.ok((metrics.get(`lorikeet_requests_total{adapter="other",route="infer",outcome="completed"}`) ?? 0) >= 1);
  });

  test("bad messages are refused by themselves, with their id where it can be read", async () => {
    using policy = await Policy.open();
    const unnamed = async (message: string | Uint8Array): Promise<Reply> => {
      const reply = policy.reply(null);
      policy.socket.send(message);
      return reply;
    };
    assert.match((await unnamed("{")).error?.message ?? "", /not valid JSON/);
    assert.match(
      (await unnamed(Buffer.from([1, 0]))).error?.message ?? "",
      /begin with the length.*this one has 2 bytes/,
    );
    assert.match((await unnamed(Buffer.from([9, 0, 0, 0, 1]))).error?.message ?? "", /says 9, and 1 bytes follow/);
    assert.match((await unnamed(Buffer.from([1, 0, 0, 0, 255]))).error?.message ?? "", /must be UTF-8/);
    const asked = policy.reply("x");
    policy.socket.send(JSON.stringify({ id: "x", type: "completions", body: {} }));
    assert.match((await asked).error?.message ?? "", /"type":"infer","body"/);
    const few = await policy.askBytes("y", asBytes, bytes.subarray(8));
    assert.deepEqual([few.type, few.error?.code, few.error?.param], ["error", "invalid_value", "inputs"]);
    const nobody = await policy.ask("z", { ...asJson, model: "nobody" });
    assert.equal(nobody.error?.code, "model_not_found");
    const fine = await policy.ask("z", asJson);
    assert.equal(fine.type, "result");
    const closed = once(policy.socket, "close");
    policy.socket.send(Buffer.alloc(70_000));
    assert.equal((await closed)[0], 1009, "a message beyond --max-frame-bytes closes the socket");
  });

  test("requests in flight are bounded, end when they are cancelled, and leave with their socket", async () => {
    using policy = await Policy.open();
    const ids = Array.from({ length: 40 }, (_, i) => String(i));
    const replies = ids.map((id) => policy.askBytes(id, asBytes, bytes));
    policy.socket.send(JSON.stringify({ id: "0", type: "cancel" }));
    policy.socket.send(JSON.stringify({ id: "unknown", type: "cancel" }));
    const codes = (await Promise.all(replies)).map(({ type, error }) => error?.code ?? type);
    assert.ok(
      codes.every((code) => ["result", "queue_full", "cancelled"].includes(code)),
      codes.join(),
    );
    assert.ok(codes.includes("result"));
    void policy.askBytes("last", asBytes, bytes);
    policy.socket.terminate();
    await service.assertIdle();
  });
});
