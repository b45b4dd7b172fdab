/** Stored responses through the official `openai` package: continued, retrieved, listed, deleted, run in the background, cancelled; and whose they are. */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import OpenAI, { type APIError } from "openai";
import { LorikeetError } from "../../src/base/errors.js";
import { memoryStore } from "../../src/records/memory-store.js";
import type { RecordStore } from "../../src/records/store.js";
import { eosId } from "../support/byte-tokenizer.js";
import { post, scrape } from "../support/client.js";
import { openServerRig, type RigOptions, type ServerRig, until } from "../support/rig.js";

const saying = (text: string, tokenMs = 0): RigOptions => ({
  script: { answer: () => [...Buffer.from(text), eosId], tokenMs },
});
const clientOf = (rig: { readonly url: string }, apiKey = "none"): OpenAI =>
  new OpenAI({ baseURL: `${rig.url}/v1`, apiKey, maxRetries: 0 });
const failsWith = (status: number, code: string) => (fault: APIError) => fault.status === status && fault.code === code;

function promptOf(rig: ServerRig, sequence: number): string {
  const ids = rig.engine.sequences[sequence]?.request.promptIds.filter((id) => id < 256) ?? [];
  return Buffer.from(ids).toString();
}

/** Polls as OpenAI's guide does. */
async function ended(client: OpenAI, id: string): Promise<OpenAI.Responses.Response> {
  for (;;) {
    const response = await client.responses.retrieve(id);
    if (response.status !== "queued" && response.status !== "in_progress") return response;
    await new Promise((resolve) => setTimeout(resolve, 2));
  }
}

describe("stored responses", () => {
  test("a conversation goes on from the response before, without its instructions", async () => {
    await using rig = await openServerRig(saying("blue"));
    const client = clientOf(rig);
    const first = await client.responses.create({ model: "base", input: "sky?", instructions: "Rhyme." });
    const second = await client.responses.create({ model: "base", input: "sea?", previous_response_id: first.id });
    assert.equal(second.previous_response_id, first.id);
    assert.match(promptOf(rig, 1), /sky\?[\s\S]*blue[\s\S]*sea\?/);
    assert.doesNotMatch(promptOf(rig, 1), /Rhyme/);
    await client.responses.delete(first.id);
    await client.responses.create({ model: "base", input: "sun?", previous_response_id: second.id });
    assert.match(promptOf(rig, 2), /sky\?[\s\S]*blue[\s\S]*sea\?[\s\S]*blue[\s\S]*sun\?/);
    const stored = await client.responses.retrieve(second.id);
    assert.deepEqual([stored.output_text, stored.status], ["blue", "completed"]);
  });

  test("input items are listed page by page, the last first unless asked otherwise", async () => {
    await using rig = await openServerRig(saying("ok"));
    const client = clientOf(rig);
    const first = await client.responses.create({ model: "base", input: "one" });
    const second = await client.responses.create({ model: "base", input: "two", previous_response_id: first.id });
    const texts: string[] = [];
    for await (const item of client.responses.inputItems.list(second.id, { order: "asc", limit: 2 })) {
      assert.ok(item.type === "message" && "text" in (item.content[0] ?? {}));
      const [part] = item.content;
      texts.push(part && "text" in part ? part.text : "");
    }
    assert.deepEqual(texts, ["one", "ok", "two"]);
    const page = await client.responses.inputItems.list(second.id, { limit: 1 });
    assert.equal(page.has_more, true);
    const refused = await fetch(`${rig.url}/v1/responses/${second.id}/input_items?limit=0&order=up&x=1`);
    assert.equal(refused.status, 400);
    const { error }: { error: { faults: string[] } } = JSON.parse(await refused.text());
    assert.equal(error.faults.length, 3);
  });

  test("an item that is sent again gets an id of its own, so that paging ends", async () => {
    await using rig = await openServerRig(saying("ok"));
    const client = clientOf(rig);
    const first = await client.responses.create({ model: "base", input: "one" });
    const twice = { id: "msg_x", type: "message" as const, role: "user" as const, content: "two" };
    const input = JSON.parse(JSON.stringify([...first.output, twice, twice]));
    const second = await client.responses.create({ model: "base", input, previous_response_id: first.id });
    const ids: string[] = [];
    for await (const { id } of client.responses.inputItems.list(second.id, { limit: 1 })) {
      ids.push(id ?? "");
      assert.ok(ids.length <= 5, "paging ends");
    }
    assert.equal(new Set(ids).size, 5);
    const hex = await fetch(`${rig.url}/v1/responses/${second.id}/input_items?limit=0x10`);
    assert.equal(hex.status, 400);
    const plain = await fetch(`${rig.url}/v1/responses`);
    assert.deepEqual([plain.status, plain.headers.get("upgrade")], [426, "websocket"]);
  });

  test("an item is found by its reference", async () => {
    await using rig = await openServerRig(saying("blue"));
    const client = clientOf(rig);
    const { output } = await client.responses.create({ model: "base", input: "sky?" });
    const [message] = output;
    assert.ok(message?.id);
    const reference = { type: "item_reference" as const, id: message.id };
    await client.responses.create({ model: "base", input: [reference, { role: "user", content: "why?" }] });
    assert.match(promptOf(rig, 1), /blue[\s\S]*why\?/);
    const many = Array.from({ length: 3 }, () => reference);
    await client.responses.create({ model: "base", input: many });
    assert.equal(promptOf(rig, 2).split("blue").length - 1, 3);
    for (const id of ["msg_1", `${message.id}9`]) {
      const unknown = client.responses.create({ model: "base", input: [reference, { ...reference, id }] });
      await assert.rejects(unknown, (fault: APIError) => fault.status === 400 && fault.param === "input[1]");
    }
  });

  test("what is not stored, deleted or unknown is not found", async () => {
    await using rig = await openServerRig(saying("ok"));
    const client = clientOf(rig);
    const hidden = await client.responses.create({ model: "base", input: "x", store: false });
    const gone = await client.responses.create({ model: "base", input: "x" });
    await client.responses.delete(gone.id);
    for (const id of [hidden.id, gone.id, "resp_1", "../x"]) {
      await assert.rejects(client.responses.retrieve(id), failsWith(404, "response_not_found"));
      await assert.rejects(client.responses.delete(id), failsWith(404, "response_not_found"));
      await assert.rejects(client.responses.cancel(id), failsWith(404, "response_not_found"));
      await assert.rejects(client.responses.inputItems.list(id), failsWith(404, "response_not_found"));
      const next = client.responses.create({ model: "base", input: "x", previous_response_id: id });
      await assert.rejects(next, failsWith(400, "previous_response_not_found"));
    }
    await assert.rejects(client.responses.retrieve(gone.id, { stream: true }), failsWith(400, "unsupported_parameter"));
  });

  test("a response belongs to the key that made it", async () => {
    await using rig = await openServerRig({
      ...saying("ok"),
      apiKeys: ["sk-first-0123456789", "sk-second-0123456789"],
    });
    const [first, second] = [clientOf(rig, "sk-first-0123456789"), clientOf(rig, "sk-second-0123456789")];
    const { id, output } = await first.responses.create({ model: "base", input: "secret" });
    assert.equal((await first.responses.retrieve(id)).id, id);
    await assert.rejects(second.responses.retrieve(id), failsWith(404, "response_not_found"));
    await assert.rejects(second.responses.delete(id), failsWith(404, "response_not_found"));
    await assert.rejects(second.responses.inputItems.list(id), failsWith(404, "response_not_found"));
    const next = second.responses.create({ model: "base", input: "x", previous_response_id: id });
    await assert.rejects(next, failsWith(400, "previous_response_not_found"));
    const reference = { type: "item_reference" as const, id: output[0]?.id ?? "" };
    await assert.rejects(
      second.responses.create({ model: "base", input: [reference] }),
      (fault: APIError) => fault.status === 400,
    );
  });

  test("a response runs in the background and is retrieved at its end", async () => {
    await using rig = await openServerRig(saying("done", 2));
    const client = clientOf(rig);
    const queued = await client.responses.create({ model: "alias", input: "x", background: true });
    assert.deepEqual([queued.status, queued.background, queued.output], ["queued", true, []]);
    const response = await ended(client, queued.id);
    assert.deepEqual([response.status, response.output_text, response.model], ["completed", "done", "alias"]);
    assert.equal(response.created_at, queued.created_at);
    assert.equal(response.usage?.output_tokens, 4);
    assert.equal((await client.responses.cancel(queued.id)).status, "completed");
  });

  test("cancelling frees the slot and keeps the text so far; deleting keeps nothing", async () => {
    await using rig = await openServerRig(saying("x".repeat(200), 5));
    const client = clientOf(rig);
    const body = { model: "base", input: "x", background: true };
    const { id } = await client.responses.create(body);
    await until(() => (rig.engine.sequences[0]?.tokens ?? 0) > 2, "the first tokens");
    const cancelled = await client.responses.cancel(id);
    assert.equal(cancelled.status, "cancelled");
    assert.match((await client.responses.retrieve(id)).output_text, /^x+$/);
    assert.equal((await client.responses.cancel(id)).status, "cancelled");
    const deleted = await client.responses.create(body);
    await client.responses.delete(deleted.id);
    await assert.rejects(client.responses.retrieve(deleted.id), failsWith(404, "response_not_found"));
    await until(() => rig.engine.sequences.every(({ finished }) => finished === "cancelled"), "both ends");
    const next = client.responses.create({ model: "base", input: "x", previous_response_id: id });
    await assert.rejects(next, (fault: APIError) => fault.status === 400 && /it is cancelled/.test(fault.message));
  });

  test("a fault in the background is a failed response, and a model's name is checked at once", async () => {
    const error = new LorikeetError("runtime_failed", "The run failed.");
    await using rig = await openServerRig({ script: { failAfter: { tokens: 2, error } } });
    const client = clientOf(rig);
    const { id } = await client.responses.create({ model: "base", input: "x", background: true });
    const response = await ended(client, id);
    assert.deepEqual(
      [response.status, response.error],
      ["failed", { code: "server_error", message: "The run failed." }],
    );
    const unknown = client.responses.create({ model: "nobody", input: "x", background: true });
    await assert.rejects(unknown, failsWith(404, "model_not_found"));
    for (const other of [{ store: false }, { stream: true }]) {
      const refused = await post(rig.url, "/v1/responses", { input: "x", background: true, ...other });
      assert.equal(refused.status, 400);
    }
  });

  test("responses in the background are bounded, counted, and survive the end of the server as failed", async () => {
    const records = memoryStore();
    const options = { server: { maxBackgroundResponses: 1 }, records };
    let id = "";
    {
      await using rig = await openServerRig({ ...saying("x".repeat(200), 20), ...options });
      const client = clientOf(rig);
      ({ id } = await client.responses.create({ model: "base", input: "x", background: true }));
      const second = client.responses.create({ model: "base", input: "x", background: true });
      await assert.rejects(second, failsWith(429, "background_full"));
      const metrics = await scrape(rig.url);
      assert.equal(metrics.get("lorikeet_background_responses"), 1);
      assert.equal(metrics.get("lorikeet_stored_responses"), 1);
      assert.equal(metrics.get('lorikeet_limited_total{limit="max-background-responses"}'), 1);
    }
    await using later = await openServerRig({ ...saying("x"), records });
    const response = await clientOf(later).responses.retrieve(id);
    assert.equal(response.status, "failed");
    assert.match(response.error?.message ?? "", /server stopped/);
    const next = clientOf(later).responses.create({ model: "base", input: "x", previous_response_id: id });
    await assert.rejects(next, (fault: APIError) => fault.status === 400 && /it is failed/.test(fault.message));
  });

  test("a response whose end cannot be stored has failed for that reason", async () => {
    await using rig = await openServerRig({
      script: { answer: () => [...Buffer.from("x".repeat(4000)), eosId], limits: { maxContext: 8192 } },
      records: memoryStore({ maxBytes: 3000 }),
    });
    const client = clientOf(rig);
    const { id } = await client.responses.create({ model: "base", input: "x", background: true });
    const response = await ended(client, id);
    assert.equal(response.status, "failed");
    assert.match(response.error?.message ?? "", /--max-response-bytes allows 3000/);
    await client.responses.delete(id);
    await assert.rejects(client.responses.retrieve(id), failsWith(404, "response_not_found"));
  });

  test("a response whose failure cannot be stored either is known until it is deleted", async () => {
    const store = memoryStore();
    let puts = 0;
    const put: RecordStore["put"] = async (key, text) => {
      if (puts++ > 0) throw new LorikeetError("store_full", "The disk of the stored responses is full.");
      await store.put(key, text);
    };
    await using rig = await openServerRig({ ...saying("ok"), records: { ...store, put } });
    const client = clientOf(rig);
    const { id } = await client.responses.create({ model: "base", input: "x", background: true });
    const response = await ended(client, id);
    assert.deepEqual(
      [response.status, response.error?.message],
      ["failed", "The disk of the stored responses is full."],
    );
    await client.responses.delete(id);
    await assert.rejects(client.responses.retrieve(id), failsWith(404, "response_not_found"));
  });

  test("what can never run is refused at once in the background as well", async () => {
    const limits = { maxQueue: 2 };
    await using rig = await openServerRig({
      script: { answer: () => [...Buffer.from("x".repeat(200))], tokenMs: 20, limits },
    });
    const client = clientOf(rig);
    const formats = { type: "json_schema", name: "x", schema: { type: "nothing" } };
    for (const fields of [{ input: "x".repeat(100_000) }, { input: "x", text: { format: formats } }]) {
      const statuses = [true, false].map(async (background) => {
        const answer = await post(rig.url, "/v1/responses", { ...fields, background });
        return [answer.status, await answer.text()];
      });
      const [behind, before] = await Promise.all(statuses);
      assert.equal(behind?.[0], 400);
      assert.deepEqual(behind, before);
    }
    const body = { model: "base", input: "x", background: true };
    await client.responses.create(body);
    await client.responses.create(body);
    await assert.rejects(client.responses.create(body), failsWith(429, "queue_full"));
    assert.equal((await scrape(rig.url)).get("lorikeet_background_responses"), 2);
  });

  test("a running response that was dropped to make room is still listed and deleted", async () => {
    const records = memoryStore({ maxRecords: 1 });
    await using rig = await openServerRig({ ...saying("x".repeat(200), 20), records });
    const client = clientOf(rig);
    const { id } = await client.responses.create({ model: "base", input: "x", background: true });
    await client.responses.create({ model: "base", input: "y", max_output_tokens: 1 });
    assert.equal((await client.responses.inputItems.list(id)).data.length, 1);
    await client.responses.delete(id);
    await assert.rejects(client.responses.retrieve(id), failsWith(404, "response_not_found"));
  });

  test("a response that cannot be stored is an error that says so", async () => {
    const full: RecordStore = {
      ...memoryStore(),
      put: () => Promise.reject(new LorikeetError("store_full", "The disk of the stored responses is full.")),
    };
    await using rig = await openServerRig({ ...saying("ok"), records: full });
    const client = clientOf(rig);
    await assert.rejects(client.responses.create({ model: "base", input: "x" }), failsWith(507, "store_full"));
    await assert.rejects(
      client.responses.create({ model: "base", input: "x", background: true }),
      failsWith(507, "store_full"),
    );
    const stream = client.responses.stream({ model: "base", input: "x" });
    const failed = await stream.finalResponse();
    assert.deepEqual([failed.status, failed.error?.message], ["failed", "The disk of the stored responses is full."]);
    assert.equal((await client.responses.create({ model: "base", input: "x", store: false })).status, "completed");
  });
});
