/** Responses over a WebSocket, through the `ResponsesWS` of the official `openai` package, unchanged. */
import assert from "node:assert/strict";
import { once } from "node:events";
import { describe, test } from "node:test";
import OpenAI from "openai";
import { ResponsesWS } from "openai/resources/responses/ws";
import { WebSocket } from "ws";
import { eosId } from "../support/byte-tokenizer.js";
import { openServerRig, type RigOptions, type ServerRig, until } from "../support/rig.js";

interface Event {
  readonly type: string;
  readonly sequence_number: number;
  readonly response_id: string | null;
  readonly event_id?: string | null;
  readonly delta?: string;
  readonly code?: string;
  readonly status?: number;
  readonly param?: string | null;
  readonly error?: { readonly faults?: readonly string[] };
  readonly response?: OpenAI.Responses.Response;
}

/** Every answer repeats the last line of its prompt. */
const echoing: RigOptions = {
  script: {
    answer: ({ promptIds }) => {
      const text = Buffer.from(promptIds.filter((id) => id < 256)).toString();
      return [...Buffer.from(/say (\w+)/.exec(text.slice(text.lastIndexOf("say ")))?.[1] ?? "?"), eosId];
    },
    limits: { maxQueue: 64 },
  },
};

class Socket implements Disposable {
  readonly events: Event[] = [];
  readonly client: ResponsesWS;

  constructor(rig: ServerRig, apiKey = "none") {
    this.client = new ResponsesWS(new OpenAI({ baseURL: `${rig.url}/v1`, apiKey }));
    this.client.on("event", (event) => this.events.push(JSON.parse(JSON.stringify(event))));
    this.client.on("error", () => {});
  }

  /** The fields may be ones that the client does not know. */
  create(fields: object): void {
    this.client.send(JSON.parse(JSON.stringify({ type: "response.create", model: "base", ...fields })));
  }

  async ends(count: number): Promise<Event[]> {
    const ends = (): Event[] =>
      this.events.filter(({ type }) => /^(error|response\.(completed|incomplete|failed))$/.test(type));
    await until(() => ends().length >= count, `${count} ends`);
    return ends();
  }

  [Symbol.dispose](): void {
    this.client.close();
  }
}

describe("responses over a WebSocket", () => {
  test("a response is created and streamed with every event", async () => {
    await using rig = await openServerRig(echoing);
    using socket = new Socket(rig);
    socket.create({ input: "say blue" });
    const [end] = await socket.ends(1);
    assert.deepEqual(
      socket.events.map(({ sequence_number }) => sequence_number),
      socket.events.map((_, index) => index),
    );
    assert.deepEqual([socket.events[0]?.type, end?.type], ["response.created", "response.completed"]);
    assert.equal(socket.events.map(({ delta }) => delta ?? "").join(""), "blue");
    assert.equal(socket.events.at(-1), end);
    const stored = await new OpenAI({ baseURL: `${rig.url}/v1`, apiKey: "none" }).responses.retrieve(
      end?.response_id ?? "",
    );
    assert.equal(stored.output_text, "blue");
  });

  test("several at once are told apart by the response that each event names", async () => {
    await using rig = await openServerRig(echoing);
    using socket = new Socket(rig);
    const words = Array.from({ length: 12 }, (_, index) => `word${index}`);
    for (const word of words) socket.create({ input: `say ${word}`, metadata: { word } });
    await socket.ends(words.length);
    for (const word of words) {
      const created = socket.events.find(
        ({ type, response }) => type === "response.created" && response?.metadata?.word === word,
      );
      assert.ok(created && created.response_id === created.response?.id);
      const own = socket.events.filter(({ response_id }) => response_id === created.response_id);
      assert.equal(own.map(({ delta }) => delta ?? "").join(""), word);
      assert.deepEqual(
        own.map(({ sequence_number }) => sequence_number),
        own.map((_, index) => index),
      );
      assert.equal(own.at(-1)?.type, "response.completed");
    }
    const types = socket.events.map(({ type }) => type);
    const second = types.indexOf("response.created", types.indexOf("response.created") + 1);
    assert.ok(second < types.indexOf("response.completed"), "two were in flight at once");
  });

  test("a socket continues its latest response even if it is not stored; no other one can", async () => {
    await using rig = await openServerRig(echoing);
    using socket = new Socket(rig);
    using other = new Socket(rig);
    socket.create({ input: "say blue", store: false });
    const [first] = await socket.ends(1);
    const previous_response_id = first?.response_id;
    for (const each of [socket, other]) each.create({ input: "say red", store: false, previous_response_id });
    const [, second] = await socket.ends(2);
    assert.equal(second?.type, "response.completed");
    const [refused] = await other.ends(1);
    assert.deepEqual([refused?.type, refused?.code], ["error", "previous_response_not_found"]);
    const prompt = Buffer.from(rig.engine.sequences[1]?.request.promptIds.filter((id) => id < 256) ?? []).toString();
    assert.match(prompt, /say blue[\s\S]*blue[\s\S]*say red/);
  });

  test("what cannot be answered is an error event with the client's own name for it, and the socket goes on", async () => {
    await using rig = await openServerRig(echoing);
    using socket = new Socket(rig);
    const asked: readonly (readonly [object, string])[] = [
      [{ type: "response.dance", event_id: "e0" }, "invalid_value"],
      [{ input: 7, tools: 7, event_id: "e1" }, "invalid_value"],
      [{ input: "x", model: "nobody", event_id: "e2" }, "model_not_found"],
      [{ input: "x", background: true, event_id: "e3" }, "invalid_value"],
      [{ input: "x", stream: false, event_id: "e4" }, "invalid_value"],
      [{ input: "x", generate: false, event_id: "e5" }, "unsupported_parameter"],
    ];
    for (const [fields] of asked) socket.create(fields);
    const errors = await socket.ends(asked.length);
    assert.deepEqual(
      errors.map(({ type, event_id, code }) => [type, event_id, code]).sort(),
      asked.map(([, code], index) => ["error", `e${index}`, code]).sort(),
    );
    assert.equal(errors.find(({ event_id }) => event_id === "e1")?.error?.faults?.length, 2);
    const behind = errors.find(({ event_id }) => event_id === "e3");
    assert.match(JSON.stringify(behind), /a WebSocket runs no responses in the background/);
    socket.create({ input: "say on" });
    assert.equal((await socket.ends(asked.length + 1)).at(-1)?.type, "response.completed");
  });

  test("a message that is not JSON is an error event", async () => {
    await using rig = await openServerRig(echoing);
    const socket = new WebSocket(`${rig.url.replace("http", "ws")}/responses`);
    await once(socket, "open");
    for (const message of ["{", Buffer.from("{}")]) {
      socket.send(message, { binary: typeof message !== "string" });
      const [data] = await once(socket, "message");
      const event: Event = JSON.parse(String(data));
      assert.deepEqual([event.type, event.status, event.code], ["error", 400, "invalid_value"]);
    }
    socket.terminate();
  });

  test("more than may be in flight are refused, and closing the socket ends them all", async () => {
    const script = { answer: () => Buffer.from("x".repeat(200)), tokenMs: 5 };
    await using rig = await openServerRig({ script, server: { maxSocketRequests: 2 } });
    using socket = new Socket(rig);
    for (let i = 0; i < 3; i++) socket.create({ input: "x" });
    const [refused] = await socket.ends(1);
    assert.deepEqual([refused?.type, refused?.code], ["error", "queue_full"]);
    await until(() => rig.engine.running === 2, "two running sequences");
    socket.client.close();
    await until(() => rig.engine.running === 0, "their end");
  });

  test("needs a key where the server has keys, and stores for its owner", async () => {
    await using rig = await openServerRig({ ...echoing, apiKeys: ["sk-first-0123456789", "sk-second-0123456789"] });
    const refused = new WebSocket(`${rig.url.replace("http", "ws")}/v1/responses`);
    const [, response] = await once(refused, "unexpected-response");
    assert.equal(response.statusCode, 401);
    using socket = new Socket(rig, "sk-first-0123456789");
    socket.create({ input: "say blue" });
    const [end] = await socket.ends(1);
    const client = (apiKey: string): OpenAI => new OpenAI({ baseURL: `${rig.url}/v1`, apiKey, maxRetries: 0 });
    const id = end?.response_id ?? "";
    assert.equal((await client("sk-first-0123456789").responses.retrieve(id)).output_text, "blue");
    await assert.rejects(client("sk-second-0123456789").responses.retrieve(id));
  });
});
