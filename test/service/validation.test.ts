/** What clients see of the check of their adapters: warnings wherever an adapter is shown, and faults that name the adapter. */
import assert from "node:assert/strict";
import { join } from "node:path";
import { test } from "node:test";
import type { Logger } from "../../src/base/log.js";
import { silent } from "../../src/base/log.js";
import { edited } from "../adapter/format/helpers.js";
import { complete, formOf, only, post, put, scrape } from "../support/client.js";
import { oracleRoot } from "../support/oracle.js";
import { adaptersFolder, openService } from "../support/service.js";

const model = join(oracleRoot, "llama");
const flags = { model, servedModelName: "base" };
const body = { prompt: [3, 4, 5], max_tokens: 4, temperature: 0, ignore_eos: true };

async function answer(response: Response): Promise<{ status: number; body: Record<string, unknown> & Fault }> {
  return { status: response.status, body: (await response.json()) as Record<string, unknown> & Fault };
}
interface Fault {
  readonly error?: { readonly code: string; readonly message: string; readonly param?: string };
}

const upload = async (url: string, name: string, folder: string) =>
  answer(await fetch(`${url}/v1/adapters/${name}`, { method: "PUT", body: await formOf(folder) }));

test("a partial adapter is served with a warning in the reply, the list, the card and the log", async () => {
  const lines: { fields: object; message: string }[] = [];
  const logger: Logger = { ...silent, warn: (fields: object, message: string) => void lines.push({ fields, message }) };
  await using folder = await adaptersFolder({
    mine: await edited({ config: { target_modules: ["q_proj", "v_proj", "o_proj"] } }),
  });
  await using service = await openService({ ...flags, adapters: folder.path }, logger);
  const { url } = service;
  const partial = await edited({ tensors: (all) => all.filter(({ name }) => !name.includes("layers.1.")) });
  const { status, body: reply } = await upload(url, "partial", partial);
  assert.equal(status, 201);
  const warning = /^The config names 2 modules that the file lacks, which stay as in the base: "model\.layers\.1\./;
  assert.match(String((reply.warnings as string[])[0]), warning);
  const card = await answer(await fetch(`${url}/v1/adapters/partial`));
  assert.match(String((card.body.warnings as string[])[0]), warning);
  const list = (await (await fetch(`${url}/v1/adapters`)).json()) as { data: { name: string; warnings: string[] }[] };
  assert.deepEqual(
    list.data.map(({ name, warnings }) => [name, warnings.length]),
    [
      ["mine", 1],
      ["partial", 1],
    ],
  );
  assert.deepEqual(
    lines.map(({ fields }) => (fields as { adapter?: string }).adapter).filter((name) => name !== undefined),
    ["mine", "partial"],
  );
  only(await complete(url, { ...body, model: "partial" }));
  const counts = await scrape(url);
  assert.equal(counts.get('lorikeet_adapter_validation_seconds_count{outcome="passed"}'), 2);
});

test("an adapter whose products overflow is a 422 with its name, and other rows of the batch are answered", async () => {
  // Beyond what the check can refuse: products that a prompt makes infinite.
  const loud = await edited({
    source: join(oracleRoot, "llama/adapters/all-r4-rslora"),
    config: { target_modules: ["gate_proj", "up_proj", "down_proj"] },
    tensors: (every) => {
      const all = every.filter(({ name }) => name.includes(".mlp."));
      for (const { data } of all) {
        const values = new Float32Array(data.buffer as ArrayBuffer);
        for (const [i, value] of values.entries()) values[i] = value * 1e9;
      }
      return all;
    },
  });
  await using folder = await adaptersFolder({});
  await using service = await openService({ ...flags, adapters: folder.path });
  const { url } = service;
  const { status, body: reply } = await upload(url, "loud", loud);
  assert.equal(status, 201);
  assert.match(
    String(reply.warnings),
    /^Values are so large that products may overflow float32, in "model\.layers\.0\./,
  );
  const [first, base] = await Promise.all([
    post(url, "/v1/completions", { ...body, model: "loud" }).then(answer),
    complete(url, { ...body, model: "base", return_token_ids: true }),
  ]);
  assert.equal(first.status, 422);
  assert.deepEqual([first.body.error?.code, first.body.error?.param], ["adapter_invalid", "model"]);
  assert.match(
    String(first.body.error?.message),
    /^With the adapter "loud" the model computed (NaN|-?Infinity) in place of logits/,
  );
  assert.equal(only(base).token_ids?.length, 4);
});

test("a check that takes too long is 422, and is counted", async () => {
  await using folder = await adaptersFolder({});
  await using service = await openService({ ...flags, adapters: folder.path, validationTimeout: "1ms" });
  const { status, body: reply } = await upload(service.url, "slow", await edited());
  assert.deepEqual([status, reply.error?.code], [422, "validation_timeout"]);
  const counts = await scrape(service.url);
  assert.equal(counts.get('lorikeet_adapter_validation_seconds_count{outcome="timeout"}'), 1);
  assert.ok((await fetch(`${service.url}/v1/adapters/slow`)).status === 404);
});

test("a check that runs until its deadline delays no load", async () => {
  await using folder = await adaptersFolder({ mine: await edited() });
  const limits = { maxPatternSize: String(2 ** 40), validationTimeout: "4s" }; // so that compiling alone takes minutes
  await using service = await openService({ ...flags, adapters: folder.path, ...limits });
  const pattern = `(?:${"a?".repeat(400)}){40}`;
  const patterns = Object.fromEntries(Array.from({ length: 200 }, (_, i) => [`${pattern}|x${i}`, 8]));
  const order: string[] = [];
  const slow = upload(service.url, "slow", await edited({ config: { rank_pattern: patterns } }));
  const waiting = slow.then(({ body: reply }) => order.push(String(reply.error?.code)));
  only(await complete(service.url, { ...body, model: "mine" }));
  order.push("answered");
  await waiting;
  assert.deepEqual(order, ["answered", "validation_timeout"]);
});

test("loading an adapter does not recompile its expressions", async () => {
  const config = { alpha_pattern: { ".*layers\\.1\\..*": 4 }, target_modules: ".*[qv]_proj" };
  await using folder = await adaptersFolder({});
  const alphas = await edited({ config });
  {
    await using service = await openService({ ...flags, adapters: folder.path });
    await put(service.url, "mine", alphas);
  }
  // The stored summary is of the same base, so that nothing is checked, and nothing could be compiled.
  await using service = await openService({ ...flags, adapters: folder.path, maxPatternSize: "0" });
  only(await complete(service.url, { ...body, model: "mine" }));
  assert.equal((await upload(service.url, "other", alphas)).status, 422);
});
