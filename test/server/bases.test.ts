/** A server of several bases: which base answers, on every protocol that generates text, and what no base answers. */
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { WebSocket } from "ws";
import { Bases, baseOf } from "../../src/gateway/bases.js";
import { createServer, type LorikeetServer } from "../../src/server/server.js";
import { openRig, type Rig } from "../support/rig.js";

const bytes = (text: string): number[] => [...Buffer.from(text)];

let rigs: Rig[];
let server: LorikeetServer;
let url: string;

before(async () => {
  rigs = await Promise.all(
    ["one", "two"].map((name) => openRig({ script: { answer: () => bytes(name) }, model: { names: [name] } })),
  );
  const [one, two] = rigs as [Rig, Rig];
  await one.adapters.add("first");
  await two.adapters.add("second");
  const bases = new Bases([baseOf("one", one.gateway), baseOf("two", two.gateway)]);
  server = createServer({ bases, logger: one.logger });
  const { port } = await server.listen("127.0.0.1", 0);
  url = `http://127.0.0.1:${port}`;
});

after(async () => {
  await server.close();
  for (const rig of rigs) await rig[Symbol.asyncDispose]();
});

async function post(path: string, body: object): Promise<{ status: number; text: string }> {
  const headers = { "content-type": "application/json" };
  const response = await fetch(url + path, { method: "POST", headers, body: JSON.stringify(body) });
  return { status: response.status, text: await response.text() };
}

const message = [{ role: "user", content: "x" }];
/** Each with a body that lacks the model. */
const protocols: readonly [path: string, body: object][] = [
  ["/v1/completions", { prompt: "x", max_tokens: 9 }],
  ["/v1/responses", { input: "x", max_output_tokens: 9 }],
  ["/v1/chat/completions", { messages: message, max_tokens: 9 }],
  ["/v1/messages", { messages: message, max_tokens: 9 }],
];

describe("several bases", () => {
  for (const [path, body] of protocols) {
    test(`POST ${path} goes to the base that is named, or whose adapter is`, async () => {
      for (const [model, answer] of [
        ["one", "one"],
        ["two", "two"],
        ["first", "one"],
        ["second", "two"],
      ]) {
        const { status, text } = await post(path, { ...body, model });
        assert.equal(status, 200, text);
        assert.match(text, new RegExp(`"(text|content)":"${answer}"`));
      }
    });

    test(`POST ${path} without a model is refused with the bases that could answer`, async () => {
      const { status, text } = await post(path, body);
      assert.equal(status, 400);
      assert.match(text, /`model` is missing, and several bases could answer: `one`, `two`/);
    });

    test(`POST ${path} with an unknown model is a 404`, async () => {
      const { status, text } = await post(path, { ...body, model: "three" });
      assert.equal(status, 404);
      assert.match(text, /The model `three` does not exist/);
    });
  }

  test("TGI's forms name a base's adapter in each of their ways", async () => {
    const named = [
      { adapter_id: "second" },
      { adapters: [{ name: "second", weight: 1 }] },
      { merged_adapters: { ids: ["second"], weights: [1], merge_strategy: "linear" } },
      { adapter_parameters: { adapter_ids: ["second"], weights: [1] } },
    ];
    for (const parameters of named) {
      const { status, text } = await post("/generate", { inputs: "x", parameters });
      assert.deepEqual([status, JSON.parse(text).generated_text], [200, "two"], text);
    }
    const { status, text } = await post("/generate", { inputs: "x" });
    assert.deepEqual([status, /`adapter_id` is missing/.test(text)], [422, true]);
  });

  test("tokens are counted by the base that is named", async () => {
    assert.equal((await post("/tokenize", { model: "two", prompt: "x" })).status, 200);
    assert.equal((await post("/tokenize", { prompt: "x" })).status, 400);
    assert.equal((await post("/detokenize", { model: "first", tokens: [65] })).status, 200);
  });

  test("a mixture stays within one base, which its adapters name", async () => {
    const body = { prompt: "x", max_tokens: 9 };
    const own = await post("/v1/completions", { ...body, adapters: [{ name: "second" }] });
    assert.match(own.text, /"text":"two"/);
    const across = await post("/v1/completions", { ...body, adapters: [{ name: "first" }, { name: "second" }] });
    assert.equal(across.status, 404);
  });

  test("a socket's requests go to different bases", async () => {
    const socket = new WebSocket(`${url.replace("http", "ws")}/v1/ws`);
    await new Promise((resolve) => socket.once("open", resolve));
    const models: (string | undefined)[] = ["two", "first", undefined];
    for (const [id, model] of models.entries()) {
      socket.send(JSON.stringify({ type: "completions", id: `${id}`, body: { model, prompt: "x", max_tokens: 9 } }));
    }
    const texts = new Map<string, string>();
    for await (const text of received(socket)) {
      const { id, type, data, error } = JSON.parse(text);
      if (type === "chunk") texts.set(id, (texts.get(id) ?? "") + data.choices[0].text);
      if (type === "error") texts.set(id, error.message);
      if (texts.size === 3 && texts.get("0") === "two" && texts.get("1") === "one") break;
    }
    assert.match(texts.get("2") ?? "", /several bases could answer/);
    socket.terminate();
  });

  test("lists the bases first, then the adapters, each with its base", async () => {
    const listed = (await (await fetch(`${url}/v1/models`)).json()) as {
      data: { id: string; parent: string | null }[];
    };
    assert.deepEqual(
      listed.data.map(({ id, parent }) => [id, parent]),
      [
        ["one", null],
        ["two", null],
        ["first", "one"],
        ["second", "two"],
      ],
    );
  });

  test("series name their base, and a request that reached none is counted", async () => {
    const text = await (await fetch(`${url}/metrics`)).text();
    assert.match(text, /^lorikeet_kv_slots\{base="two",state="idle"\} /m);
    assert.match(
      text,
      /^lorikeet_requests_total\{base="one",adapter="first",route="completions",outcome="completed"\} /m,
    );
    assert.match(text, /^lorikeet_requests_total\{adapter="none",route="completions",outcome="refused"\} /m);
  });
});

async function* received(socket: WebSocket): AsyncGenerator<string> {
  const waiting: string[] = [];
  let wake = (): void => {};
  socket.on("message", (data) => {
    waiting.push(String(data));
    wake();
  });
  for (;;) {
    for (let text = waiting.shift(); text !== undefined; text = waiting.shift()) yield text;
    await new Promise<void>((resolve) => {
      wake = resolve;
    });
  }
}
