/** The WebSocket: many requests on one socket, their frames and ends, the bounds, the close codes, the subprotocols. */
import assert from "node:assert/strict";
import { once } from "node:events";
import { Socket } from "node:net";
import { describe, test } from "node:test";
import { type ClientOptions, WebSocket } from "ws";
import { LorikeetError } from "../../src/base/errors.js";
import { pageCharacters, wideTokenizer } from "../support/byte-tokenizer.js";
import { openServerRig, type RigOptions, type ServerRig, until } from "../support/rig.js";

interface Frame {
  readonly id: string | null;
  readonly type: "chunk" | "done" | "error";
  readonly data?: {
    readonly choices?: readonly {
      readonly text?: string;
      readonly delta?: { readonly content?: string };
      readonly logprobs?: { readonly tokens?: readonly string[] } | null;
    }[];
    readonly usage?: { readonly completion_tokens: number };
    readonly lorikeet?: { readonly adapter: string | null };
  };
  readonly error?: { readonly code: string; readonly message: string };
}

class Client {
  readonly frames: Frame[] = [];
  readonly socket: WebSocket;
  closeCode: number | null = null;

  constructor(rig: ServerRig, protocols: string[] = [], options: ClientOptions = {}) {
    this.socket = new WebSocket(`${rig.url.replace("http", "ws")}/v1/ws`, protocols, options);
    this.socket.on("message", (data) => this.frames.push(JSON.parse(String(data))));
    this.socket.on("close", (code) => {
      this.closeCode = code;
    });
    this.socket.on("error", () => {});
  }

  static async open(rig: ServerRig, protocols: string[] = [], options: ClientOptions = {}): Promise<Client> {
    const client = new Client(rig, protocols, options);
    await once(client.socket, "open");
    return client;
  }

  ask(id: string, body: object = {}, type = "completions"): void {
    this.send({ id, type, body: { model: "base", prompt: "x", ...body } });
  }

  send(message: unknown): void {
    this.socket.send(typeof message === "string" ? message : JSON.stringify(message));
  }

  /** The last frame of a request, once it is there. */
  async end(id: string | null): Promise<Frame> {
    const last = (): Frame | undefined => this.frames.find((frame) => frame.id === id && frame.type !== "chunk");
    await until(() => last() !== undefined, `the end of ${id}`);
    const frame = last();
    assert.ok(frame);
    return frame;
  }

  text(id: string): string {
    const choices = this.frames.filter((frame) => frame.id === id).flatMap((frame) => frame.data?.choices ?? []);
    return choices.map((choice) => choice.text ?? choice.delta?.content ?? "").join("");
  }

  async close(): Promise<void> {
    this.socket.terminate();
    await until(() => this.closeCode !== null);
  }
}

/** Writes frames past the client's own encoding, in one piece. */
function flood(client: Client, frame: Buffer, count: number): void {
  const connection: unknown = Reflect.get(client.socket, "_socket");
  assert.ok(connection instanceof Socket);
  connection.write(Buffer.concat(Array<Buffer>(count).fill(frame)));
}

const bytes = (text: string): number[] => [...Buffer.from(text)];
const slow: RigOptions = { script: { answer: () => bytes("x".repeat(200)), tokenMs: 5, limits: { maxQueue: 100 } } };

describe("requests", () => {
  test("many at once, each with its own chunks and its own done", async () => {
    await using rig = await openServerRig({ script: { tokenMs: 1, limits: { maxQueue: 64 } } });
    await rig.adapters.add("plays");
    const client = await Client.open(rig);
    const ids = Array.from({ length: 20 }, (_, index) => `r${index}`);
    for (const id of ids) client.ask(id, { prompt: `<${id}>`, max_tokens: 12, model: id === "r3" ? "plays" : "base" });
    const message = { role: "user", content: "x" };
    client.send({ id: "c", type: "chat.completions", body: { model: "base", messages: [message], max_tokens: 3 } });
    for (const id of ids) {
      const done = await client.end(id);
      assert.equal(done.type, "done");
      assert.equal(done.data?.usage?.completion_tokens, 12);
      assert.equal(client.text(id), `<${id}>`.repeat(12).slice(0, 12));
      assert.equal(done.data?.lorikeet?.adapter, id === "r3" ? "plays" : null);
    }
    assert.equal((await client.end("c")).type, "done");
    assert.equal(client.text("c"), "use");
    assert.equal(rig.engine.running, 0);
    await client.close();
  });

  test("an id can be used again after its end", async () => {
    await using rig = await openServerRig();
    const client = await Client.open(rig);
    for (let round = 1; round <= 2; round++) {
      client.ask("r", { max_tokens: 1 });
      await until(() => client.frames.filter(({ type }) => type === "done").length === round);
    }
    await client.close();
  });

  test("cancel stops one request and leaves the others; an unknown id is ignored", async () => {
    await using rig = await openServerRig(slow);
    const client = await Client.open(rig);
    client.ask("a", { max_tokens: 200 });
    client.ask("b", { max_tokens: 10 });
    await until(() => client.text("a").length > 2);
    client.send({ id: "a", type: "cancel" });
    client.send({ id: "zzz", type: "cancel" });
    assert.equal((await client.end("a")).error?.code, "cancelled");
    await until(() => rig.engine.sequences[0]?.finished === "cancelled");
    assert.equal((await client.end("b")).type, "done");
    await client.close();
  });

  test("closing a socket stops its own requests only", async () => {
    await using rig = await openServerRig(slow);
    const [client, other] = [await Client.open(rig), await Client.open(rig)];
    for (const id of ["a", "b", "c"]) client.ask(id, { max_tokens: 200 });
    other.ask("d", { max_tokens: 30 });
    await until(() => rig.engine.running === 4);
    await client.close();
    await until(() => rig.engine.running <= 1);
    assert.equal((await other.end("d")).type, "done");
    const ends = rig.engine.sequences.map(({ finished }) => finished);
    assert.deepEqual(ends.toSorted(), ["cancelled", "cancelled", "cancelled", "length"]);
    await other.close();
  });
});

describe("messages that cannot be used", () => {
  test("get an error frame each and affect no other message", async () => {
    await using rig = await openServerRig(slow);
    const client = await Client.open(rig);
    client.ask("good", { max_tokens: 20 });
    client.send("{not json");
    assert.match((await client.end(null)).error?.message ?? "", /not valid JSON/);
    client.send({ id: "odd", type: "sing", body: {} });
    assert.equal((await client.end("odd")).error?.code, "invalid_value");
    client.send('{"id":"\\ud800","type":"completions","body":{"model":"\\ud800","prompt":"x"}}');
    assert.equal((await client.end("\ufffd")).error?.code, "model_not_found");
    client.send({ id: "extra", type: "cancel", more: 1 });
    assert.equal((await client.end("extra")).error?.code, "invalid_value");
    client.ask("bad", { temperature: 9 });
    assert.match((await client.end("bad")).error?.message ?? "", /temperature/);
    client.ask("gone", { model: "gone" });
    assert.equal((await client.end("gone")).error?.code, "model_not_found");
    client.ask("whole", { stream: false });
    assert.match((await client.end("whole")).error?.message ?? "", /always streams/);
    client.socket.send(Buffer.from("{}"), { binary: true });
    await until(() => client.frames.filter(({ id }) => id === null).length === 2);
    assert.equal((await client.end("good")).type, "done");
    await client.close();
  });

  test("an id in use and a request past the limit are refused", async () => {
    await using rig = await openServerRig({ ...slow, server: { maxSocketRequests: 2 } });
    const client = await Client.open(rig);
    client.ask("a", { max_tokens: 200 });
    client.ask("a", { max_tokens: 200 });
    assert.equal((await client.end("a")).error?.code, "conflict");
    client.ask("b", { max_tokens: 200 });
    client.ask("c", { max_tokens: 200 });
    assert.equal((await client.end("c")).error?.code, "queue_full");
    assert.equal(rig.engine.sequences.length, 2);
    await client.close();
  });
});

describe("large messages", () => {
  const length = 10_000;
  const scored: RigOptions = {
    script: { answer: () => bytes("x".repeat(200)), limits: { maxContext: 200_000, maxQueue: 64 } },
  };
  const large = { prompt: "x".repeat(length), max_tokens: 0, echo: true, logprobs: 3 };

  test("arrive complete, between others, though they are written in fragments", async (t) => {
    const server = { socketPauseBytes: 50_000, socketCloseBytes: 200_000 }; // less than one of the messages
    await using rig = await openServerRig({ ...scored, server });
    const client = await Client.open(rig);
    let [inTurn, most] = [0, 0];
    const { send } = WebSocket.prototype;
    t.mock.method(WebSocket.prototype, "send", function (this: WebSocket, data: string, ...rest: never[]) {
      inTurn += data.length;
      most = Math.max(most, inTurn);
      return Reflect.apply(send, this, [data, ...rest]);
    });
    const turn = (): void => {
      inTurn = 0;
      turns = setImmediate(turn);
    };
    let turns = setImmediate(turn);
    client.ask("a", large);
    client.ask("b", { max_tokens: 100 });
    client.ask("c", large);
    client.send({ id: "odd", type: "sing" });
    for (const id of ["a", "b", "c"]) assert.equal((await client.end(id)).type, "done");
    clearImmediate(turns);
    assert.equal((await client.end("odd")).error?.code, "invalid_value");
    assert.equal(client.text("b").length, 100);
    for (const id of ["a", "c"]) {
      const choices = client.frames.filter((frame) => frame.id === id).flatMap(({ data }) => data?.choices ?? []);
      assert.equal(Math.max(...choices.map(({ logprobs }) => logprobs?.tokens?.length ?? 0)), length);
    }
    assert.ok(most < 200_000, `${most} characters in one turn`);
    assert.equal(client.closeCode, null);
    await client.close();
  });

  test("one that its reader does not take closes the socket, since nothing could follow it", async () => {
    await using rig = await openServerRig({ ...scored, server: { socketPauseBytes: 1000, slowReaderTimeoutMs: 500 } });
    const client = await Client.open(rig);
    client.socket.pause();
    for (let i = 0; i < 32; i++) client.ask(`r${i}`, large); // more than the kernel's buffers take
    await until(() => rig.lines.some(({ fields }) => fields.code === 1013), "the bound");
    client.socket.resume();
    await until(() => client.closeCode !== null, "the close");
  });
});

describe("bounds", () => {
  test("a frame that is too large closes with 1009", async () => {
    await using rig = await openServerRig({ server: { maxFrameBytes: 1000 } });
    const client = await Client.open(rig);
    client.ask("a", { prompt: "x".repeat(2000) });
    await until(() => client.closeCode !== null);
    assert.equal(client.closeCode, 1009);
  });

  const endless: RigOptions = {
    script: { answer: () => Array<number>(100_000).fill(97), limits: { maxContext: 200_000 } },
    tokenizer: wideTokenizer(),
  };
  const long = { max_tokens: 90_000 };

  test("a reader that stops pauses its own generation and is closed in time; others continue", async () => {
    await using rig = await openServerRig({ ...endless, server: { socketPauseBytes: 4096, slowReaderTimeoutMs: 80 } });
    const [client, other] = [await Client.open(rig), await Client.open(rig)];
    client.socket.pause();
    client.ask("a", long);
    await until(() => (rig.engine.sequences[0]?.pauses ?? 0) > 0, "the pause");
    other.ask("b", { max_tokens: 5 });
    assert.equal((await other.end("b")).type, "done");
    await until(() => rig.engine.sequences[0]?.finished === "cancelled", "the end of the slow reader");
    client.socket.resume();
    await until(() => client.closeCode !== null);
    await other.close();
  });

  test("a reader that resumes continues", async () => {
    await using rig = await openServerRig({ ...endless, server: { socketPauseBytes: 4096 } });
    const client = await Client.open(rig);
    client.socket.pause();
    client.ask("a", { ...long, max_tokens: 2_000 });
    await until(() => (rig.engine.sequences[0]?.pauses ?? 0) > 0, "the pause");
    client.socket.resume();
    assert.equal((await client.end("a")).data?.usage?.completion_tokens, 2_000);
    assert.equal(client.text("a").length, 2_000 * pageCharacters);
    await client.close();
  });

  test("a flood of messages does not block the event loop", async (t) => {
    await using rig = await openServerRig();
    const client = await Client.open(rig);
    const calls = t.mock.method(WebSocket.prototype, "send").mock;
    let [before, most] = [0, 0];
    const turn = (): void => {
      most = Math.max(most, calls.callCount() - before);
      before = calls.callCount();
      turns = setImmediate(turn);
    };
    let turns = setImmediate(turn);
    // Text frames of one byte with a mask of zeros: as many as the kernel hands over at once.
    flood(client, Buffer.from([0x81, 0x81, 0, 0, 0, 0, 0x78]), 2_000);
    await until(() => client.frames.length === 2_000, "the answers");
    clearImmediate(turns);
    assert.ok(most <= 2, `${most} messages in one turn`);
    await client.close();
  });

  test("after a disconnect no received message is run, and running requests are cancelled at once", async () => {
    await using rig = await openServerRig(slow);
    const client = await Client.open(rig);
    client.ask("a", { max_tokens: 200 });
    await until(() => rig.engine.running === 1, "the request");
    flood(client, Buffer.from([0x81, 0x81, 0, 0, 0, 0, 0x78]), 8_000);
    client.ask("b");
    await until(() => client.frames.some(({ type }) => type === "error"), "the first of the flood");
    client.socket.terminate();
    await until(() => rig.engine.running === 0, "its end");
    assert.equal(rig.engine.sequences.length, 1);
  });

  test("past the second bound the socket is closed with 1013", async () => {
    await using rig = await openServerRig({ server: { socketPauseBytes: 1000, socketCloseBytes: 20_000 } });
    const client = await Client.open(rig);
    client.socket.pause();
    const junk = JSON.stringify({ id: "x".repeat(128), type: "sing" });
    await until(() => {
      for (let count = 0; count < 500; count++) client.socket.send(junk);
      return rig.lines.some(({ fields }) => fields.code === 1013);
    }, "the bound");
    client.socket.resume();
    await until(() => client.closeCode !== null, "the close");
    assert.equal(client.closeCode, 1013);
  });

  test("a client that does not answer pings is disconnected", async () => {
    await using rig = await openServerRig({ ...slow, server: { pingIntervalMs: 20 } });
    const client = await Client.open(rig, [], { autoPong: false });
    client.ask("a", { max_tokens: 200 });
    await until(() => client.closeCode !== null);
    assert.equal(client.closeCode, 1006);
    await until(() => rig.engine.running === 0);
  });

  test("the number of open sockets is bounded", async () => {
    await using rig = await openServerRig({ server: { maxSockets: 1 } });
    const client = await Client.open(rig);
    const [, response] = await once(new Client(rig).socket, "unexpected-response");
    assert.equal(response.statusCode, 429);
    await client.close();
  });
});

describe("handshake and end", () => {
  test("the subprotocol is selected, a key's is neither echoed nor logged", async () => {
    await using rig = await openServerRig();
    const client = await Client.open(rig, ["lorikeet.bearer.c2VzYW1l", "lorikeet"]);
    assert.equal(client.socket.protocol, "lorikeet");
    client.ask("a", { max_tokens: 1 });
    await client.end("a");
    await client.close();
    const plain = await Client.open(rig);
    assert.equal(plain.socket.protocol, "");
    await plain.close();
    assert.doesNotMatch(JSON.stringify(rig.lines), /c2VzYW1l/);
    assert.equal(rig.lines.filter(({ fields }) => fields.path === "completions").length, 1);
  });

  test("another path is a 404; the answer to a handshake has a request id", async () => {
    await using rig = await openServerRig();
    const socket = new WebSocket(`${rig.url.replace("http", "ws")}/v1/other`);
    socket.on("error", () => {});
    const [, response] = await once(socket, "unexpected-response");
    assert.equal(response.statusCode, 404);
    assert.ok(response.headers["x-request-id"]);
    const good = new Client(rig);
    const [upgrade] = await once(good.socket, "upgrade");
    assert.ok(upgrade.headers["x-request-id"]);
    await good.close();
  });

  test("a lost device ends running requests with a frame, refuses new ones and closes", async () => {
    const lost = new LorikeetError("device_lost", "The device was lost.");
    await using rig = await openServerRig({ script: { tokenMs: 2, failAfter: { tokens: 3, error: lost } } });
    const client = await Client.open(rig);
    client.ask("a", { max_tokens: 20 });
    await until(() => rig.engine.running === 1);
    const draining = rig.server.drain(5_000, lost);
    client.ask("late");
    assert.equal((await client.end("late")).error?.code, "device_lost");
    assert.equal((await client.end("a")).error?.code, "device_lost");
    await until(() => client.closeCode !== null);
    assert.equal(client.closeCode, 1001);
    await draining;
  });

  test("drain closes idle sockets with 1001 at once, busy ones after their last frame", async () => {
    await using rig = await openServerRig(slow);
    const [idle, busy] = [await Client.open(rig), await Client.open(rig)];
    busy.ask("a", { max_tokens: 20 });
    await until(() => rig.engine.running === 1);
    const draining = rig.server.drain(5_000);
    await until(() => idle.closeCode !== null);
    assert.equal(idle.closeCode, 1001);
    busy.ask("late");
    assert.equal((await busy.end("late")).error?.code, "draining");
    assert.equal((await busy.end("a")).type, "done");
    await until(() => busy.closeCode !== null);
    assert.equal(busy.closeCode, 1001);
    await draining;
    const [, response] = await once(new Client(rig).socket, "unexpected-response");
    assert.equal(response.statusCode, 503);
    assert.equal(response.headers["retry-after"], "10");
  });
});
