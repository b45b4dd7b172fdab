/** Several bases in one process: a decoder, two policies of the same shapes, a classifier and an embedder, with one folder of adapters. */

import assert from "node:assert/strict";
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { packTar } from "../../src/adapter/upload/upload.js";
import { LorikeetError } from "../../src/base/errors.js";
import { resolveSettings } from "../../src/cli/options/settings.js";
import { nearestMisfit } from "../../src/cli/serve/base-choice.js";
import { basesOfFile } from "../../src/cli/serve/base-settings.js";
import { serveOptions } from "../../src/cli/serve/options.js";
import { post } from "../support/client.js";
import { oracleRoot } from "../support/oracle.js";
import { runHere } from "../support/program.js";
import { openService, type RunningService } from "../support/service.js";
import { taskRoot } from "../support/task-models.js";

const temporary = mkdtempSync(join(tmpdir(), "lorikeet-bases-"));
const llama = join(oracleRoot, "llama");
const policy = join(taskRoot, "policy-mlp");
const classifier = join(taskRoot, "bert-sequence-classification");
const other = join(temporary, "other-policy");
const adapters = join(temporary, "adapters");
const policyAdapter = join(policy, "adapters/first-r8");
const models = [llama, policy, other, classifier, join(taskRoot, "bert-embeddings")];

/** The adapter with another base in its config. */
function renamed(source: string, to: string, base: string | null): string {
  cpSync(source, to, { recursive: true });
  const path = join(to, "adapter_config.json");
  const config = JSON.parse(readFileSync(path, "utf8"));
  writeFileSync(path, JSON.stringify({ ...config, base_model_name_or_path: base }));
  return to;
}

let service: RunningService;

before(async () => {
  cpSync(policy, other, { recursive: true });
  cpSync(join(llama, "adapters/attn-r8"), join(adapters, "own"), { recursive: true });
  renamed(policyAdapter, join(adapters, "found"), "somebody/other-policy");
  renamed(policyAdapter, join(adapters, "either"), null);
  service = await openService({ model: models, adapters });
});

after(async () => {
  await service[Symbol.asyncDispose]();
  rmSync(temporary, { recursive: true });
});

interface Adapter {
  readonly name: string;
  readonly base: string;
  readonly outcome?: string;
  readonly tier: string;
  readonly error?: { readonly message: string; readonly code: string };
}

async function upload(name: string, folder: string, query = ""): Promise<Adapter & { readonly status: number }> {
  const chunks: Buffer[] = [];
  for await (const chunk of packTar(folder)) chunks.push(chunk);
  const headers = { "content-type": "application/x-tar" };
  const request = { method: "PUT", headers, body: Buffer.concat(chunks) };
  const response = await fetch(`${service.url}/v1/adapters/${name}${query}`, request);
  return { status: response.status, ...((await response.json()) as Adapter) };
}

const json = async <T>(path: string): Promise<T> => (await (await fetch(service.url + path)).json()) as T;

const listed = async (): Promise<[string, string][]> =>
  (await json<{ data: Adapter[] }>("/v1/adapters")).data.map(({ name, base }) => [name, base]);

const observation = { name: "observation", shape: [1, 8], datatype: "FP32", data: [1, 2, 3, 4, 5, 6, 7, 8] };

async function infer(model: string): Promise<{ status: number; text: string }> {
  const { inputs } = await json<{ inputs: { name: string; shape: number[] }[] }>("/v2/models/policy-mlp");
  const size = inputs[0]?.shape.at(-1) ?? 0;
  const data = Array.from({ length: size }, (_, index) => index / 4);
  const tensor = { ...observation, name: inputs[0]?.name, shape: [1, size], data };
  const response = await post(service.url, `/v2/models/${model}/infer`, { inputs: [tensor] });
  return { status: response.status, text: await response.text() };
}

const named = (inputs: string): object => ({ model: "bert-sequence-classification", inputs });

const outputsOf = ({ text }: { text: string }): string => JSON.stringify(JSON.parse(text).outputs);

describe("several bases in one process", () => {
  test("folders of adapters are sorted out at start: by the base that they name, or by shapes", async () => {
    assert.deepEqual(await listed(), [
      ["found", "other-policy"],
      ["own", "llama"],
    ]);
    const refused = service.stack.adapters?.store.refused() ?? [];
    assert.deepEqual(
      refused.map(({ name, error }) => [name, error.message]),
      [
        [
          "either",
          'The adapter fits several bases: "policy-mlp", "other-policy". Name its base with ?base=, or as base_model_name_or_path in adapter_config.json.',
        ],
      ],
    );
  });

  test("each base and each adapter answers under its name, on the routes of its kind", async () => {
    const completed = await post(service.url, "/v1/completions", { model: "own", prompt: [1, 2], max_tokens: 2 });
    assert.equal(completed.status, 200, await completed.text());
    const classified = await post(service.url, "/classify", { model: "bert-sequence-classification", input: "good" });
    assert.equal(classified.status, 200, await classified.text());
    const [base, adapted] = [await infer("other-policy"), await infer("found")];
    assert.deepEqual([base.status, adapted.status], [200, 200]);
    assert.notEqual(outputsOf(base), outputsOf(adapted));
    assert.equal(outputsOf(await infer("policy-mlp")), outputsOf(base), "the two have the same weights");
  });

  test("without a model the only base of the route's kind answers, and several are listed", async () => {
    assert.equal((await post(service.url, "/v1/completions", { prompt: [1, 2], max_tokens: 2 })).status, 200);
    const wrong = await post(service.url, "/v1/completions", { model: "policy-mlp", prompt: [1] });
    assert.equal(wrong.status, 422);
    assert.match(
      await wrong.text(),
      /`policy-mlp` generates no text; use `llama` or one of its adapters on this route/,
    );
    const unlabelled = await post(service.url, "/classify", { model: "policy-mlp", input: "good" });
    assert.match(await unlabelled.text(), /`policy-mlp` neither labels texts nor gives their vectors; use `bert-/);
  });

  test("without a model a route of texts goes to the only base that gives what it answers, or lists those", async () => {
    const answered = async (path: string, body: object, status = 200): Promise<string> => {
      const response = await post(service.url, path, body);
      const text = await response.text();
      assert.equal(response.status, status, `${path}: ${text}`);
      return text;
    };
    const labels = await answered("/classify", { input: "good" });
    assert.match(labels, /"model":"bert-sequence-classification"/);
    assert.equal(await answered("/predict", { inputs: "good" }), await answered("/predict", named("good")));
    assert.match(await answered("/pooling", { input: "good", task: "classify" }), /"bert-sequence-classification"/);
    assert.match(await answered("/pooling", { input: "good", task: "token_embed" }), /"model":"bert-embeddings"/);
    const rows = { query: "a", documents: ["b"] };
    assert.match(await answered("/rerank", rows), /"model":"bert-embeddings"/);
    assert.match(await answered("/v1/embeddings", { input: "good" }), /"model":"bert-embeddings"/);
    const several = /several bases could answer: `bert-sequence-classification`, `bert-embeddings`; name/;
    assert.match(await answered("/pooling", { input: "good" }, 400), several);
    // The decoder has no tokenizer.
    assert.match(await answered("/tokenize", { prompt: "good" }, 400), several);
    assert.match(await answered("/detokenize", { tokens: [2] }, 400), several);
    assert.match(await answered("/tokenize", { model: "bert-embeddings", prompt: "good" }), /"tokens":\[2,/);
    assert.match(await answered("/tokenize", { messages: [{ role: "user", content: "a" }] }, 400), /no tokenizer/);
    const none = /none of the bases `bert-sequence-classification`, `bert-embeddings` gives what this route returns/;
    assert.match(await answered("/embed_sparse", { inputs: "good" }, 424), none);
    const classifier = { model: "bert-sequence-classification" };
    const misfit = /`bert-sequence-classification` does not give what this route returns; use `bert-embeddings` or one/;
    assert.match(await answered("/v1/embeddings", { ...classifier, input: "good" }, 422), misfit);
    const info = async (query: string) => (await fetch(`${service.url}/info${query}`)).text();
    assert.match(await info("?model=bert-embeddings"), /"model_id":"bert-embeddings"/);
    assert.match(await info(""), /several bases could answer/);
  });

  test("names are unique over all bases, and no adapter may have a base's", async () => {
    const { data } = await json<{ data: { id: string; parent: string | null }[] }>("/v1/models");
    assert.deepEqual(
      data.map(({ id, parent }) => [id, parent]),
      [
        ["llama", null],
        ["policy-mlp", null],
        ["other-policy", null],
        ["bert-sequence-classification", null],
        ["bert-embeddings", null],
        ["found", "other-policy"],
        ["own", "llama"],
      ],
    );
    const { status, error } = await upload("policy-mlp", policyAdapter);
    assert.deepEqual([status, error?.code], [400, "invalid_name"]);
  });

  test("an upload names its base, or several that fit are listed; it can move to another", async () => {
    const bare = renamed(policyAdapter, join(temporary, "bare"), "nobody/nothing");
    const either = await upload("moving", bare);
    assert.equal(either.status, 422);
    assert.match(
      either.error?.message ?? "",
      /fits several bases: "policy-mlp", "other-policy"\. Its config names "nobody\/nothing", which is not served\. Name/,
    );
    const unknown = await upload("moving", bare, "?base=nowhere");
    assert.equal(unknown.status, 400);
    assert.match(unknown.error?.message ?? "", /`base` is "nowhere"; "llama", "policy-mlp", .* are allowed/);
    const twice = await upload("moving", bare, "?base=policy-mlp&base=other-policy");
    assert.deepEqual([twice.status, twice.error?.code], [400, "invalid_value"]);
    assert.match(twice.error?.message ?? "", /`base` is given 2 times; once is allowed/);
    const created = await upload("moving", bare, "?base=policy-mlp");
    assert.deepEqual([created.status, created.base, created.outcome], [201, "policy-mlp", "created"]);
    const before = outputsOf(await infer("moving"));
    const repeated = await upload("moving", bare, "?base=policy-mlp");
    assert.deepEqual([repeated.status, repeated.outcome], [200, "identical"]);
    const moved = await upload("moving", bare, "?base=other-policy");
    assert.deepEqual([moved.status, moved.base, moved.outcome], [200, "other-policy", "replaced"]);
    assert.equal(outputsOf(await infer("moving")), before, "the weights are the same");
    const misfit = await upload("moving", join(llama, "adapters/attn-r8"), "?base=policy-mlp");
    assert.equal(misfit.status, 422);
    const deleted = await fetch(`${service.url}/v1/adapters/moving`, { method: "DELETE" });
    assert.equal(deleted.status, 200);
    assert.equal((await infer("moving")).status, 404);
  });

  test("a refusal by the base that was chosen names the base that the adapter fits, and advises nothing else", async () => {
    const saved = join(classifier, "adapters/four-labels");
    const fitting = await upload("wrong", saved, "?base=llama");
    assert.equal(fitting.status, 422);
    assert.match(
      fitting.error?.message ?? "",
      /does not fit the base "llama".* It fits "bert-[\w-]+"; choose that base\.$/s,
    );
    assert.doesNotMatch(fitting.error?.message ?? "", /not supported/);
  });

  test("a fault that all bases find is reported alone, without a nearest base", () => {
    const missing = (): LorikeetError => new LorikeetError("adapter_invalid", "adapter_config.json is missing.");
    const refused = nearestMisfit([
      { name: "one", error: missing() },
      { name: "two", error: missing() },
    ]);
    assert.equal(refused.message, "adapter_config.json is missing.");
  });

  test("an adapter that fits no base is refused as by the nearest", async () => {
    const strange = renamed(join(taskRoot, "resnet/adapters/convs-r8"), join(temporary, "strange"), null);
    const { status, error } = await upload("strange", strange);
    assert.equal(status, 422);
    assert.match(error?.message ?? "", /It fits none of the bases "llama", .*; "[\w-]+" is the nearest\.$/);
  });

  test("a pinned adapter stays with its base, in memory and out of it", async () => {
    const headers = { "content-type": "application/json" };
    const body = JSON.stringify({ pinned: true });
    const pinned = await fetch(`${service.url}/v1/adapters/found`, { method: "PATCH", headers, body });
    assert.equal(((await pinned.json()) as { pinned: boolean }).pinned, true);
    const [first] = service.stacks;
    assert.equal(first.gateway.stats().cache.pinned, 0);
    assert.equal(service.stacks[2]?.gateway.stats().cache.pinned, 1);
  });

  test("mixtures of adapters of two bases are refused by name", async () => {
    const mixed = { prompt: [1, 2], max_tokens: 2, adapters: [{ name: "own" }, { name: "found" }] };
    const response = await post(service.url, "/v1/completions", mixed);
    assert.equal(response.status, 400);
    assert.match(await response.text(), /The adapter `found` belongs to the base `other-policy`/);
  });

  test("the commands for adapters work against the server, with each adapter's base", async () => {
    const folder = renamed(policyAdapter, join(temporary, "by-command"), null);
    const added = await runHere(["adapters", "add", "told", folder, "--base", "policy-mlp", "--url", service.url]);
    assert.equal(added.code, 0, added.err);
    const { out } = await runHere(["adapters", "list", "--url", service.url]);
    assert.match(out, /^told +policy-mlp /m);
    assert.equal((await runHere(["adapters", "remove", "told", "--url", service.url])).code, 0);
  });

  test("metrics and readiness name the bases", async () => {
    assert.deepEqual((await json<{ models: string[] }>("/ready")).models, [
      "llama",
      "policy-mlp",
      "other-policy",
      "bert-sequence-classification",
      "bert-embeddings",
    ]);
    const text = await (await fetch(`${service.url}/metrics`)).text();
    assert.match(text, /^lorikeet_adapters\{base="other-policy",tier="(host|device)"\} 1$/m);
    assert.match(text, /^lorikeet_step_seconds_count\{base="policy-mlp",kind="\w+"\} \d+$/m);
    assert.match(text, /^lorikeet_device_info\{base="llama",device="cpu"/m);
  });
});

describe("the store", () => {
  test("remembers each adapter's base, and refuses those of a base that is not served", async () => {
    const folder = join(temporary, "remembered");
    cpSync(adapters, folder, { recursive: true });
    rmSync(join(folder, "either"), { recursive: true });
    const bare = renamed(policyAdapter, join(temporary, "kept"), null);
    {
      await using first = await openService({ model: [policy, other], adapters: folder });
      const store = first.stack.adapters?.store;
      assert.ok(store);
      await store.put("kept", await store.stageCopy(bare), { base: "other-policy" });
    }
    await using again = await openService({ model: [other, policy], adapters: folder });
    assert.equal(again.stack.adapters?.store.resolve("kept")?.base, "other-policy");
    await using alone = await openService({ model: policy, adapters: folder });
    const refused = alone.stack.adapters?.store.refused().find(({ name }) => name === "kept");
    assert.match(refused?.error.message ?? "", /belongs to the base "other-policy", which is not served here/);
  });

  test("an adapter stored when there was one base stays with it when another fits too", async () => {
    const folder = mkdtempSync(join(temporary, "before-"));
    const bare = renamed(policyAdapter, join(temporary, "old"), null);
    {
      await using first = await openService({ model: policy, adapters: folder });
      const store = first.stack.adapters?.store;
      assert.ok(store);
      await store.put("old", await store.stageCopy(bare));
    }
    await using two = await openService({ model: [other, policy], adapters: folder });
    assert.equal(two.stack.adapters?.store.resolve("old")?.base, "policy-mlp");
  });
});

describe("the bases of a server", () => {
  test("a base that cannot be opened stops the start, and is named", async () => {
    const missing = join(temporary, "missing");
    await assert.rejects(
      openService({ model: [policy, missing] }),
      /The base .*missing cannot be opened: --model must be/,
    );
    await assert.rejects(
      openService({ model: [policy, other], device: "cpu", dtype: "int8" }),
      /The base .*policy-mlp cannot/,
    );
  });

  test("two bases of one name are refused, and get names of their own", async () => {
    await assert.rejects(
      openService({ model: [policy, policy] }),
      /is given twice: two bases would be called "policy-mlp"/,
    );
    const names = { servedModelName: ["a", "b"] };
    await using service = await openService({ model: [policy, policy], ...names });
    assert.deepEqual(
      service.stacks.map(({ name }) => name),
      ["a", "b"],
    );
    await assert.rejects(
      async () => openService({ model: [policy, other], servedModelName: ["a"] }),
      /--served-model-name is given once and --model 2 times/,
    );
  });

  test("a config file gives each base options of its own", () => {
    const settings = resolveSettings(serveOptions, { flags: { threads: "2" }, environment: {}, file: {} });
    const entries = [{ model: "a", dtype: "int8", threads: 1, "served-model-name": "first" }, { model: "b" }];
    const bases = basesOfFile(settings, { value: entries, filePath: "x.yaml" });
    assert.deepEqual(
      bases.map(({ model, dtype, threads, servedModelName }) => [model, dtype, threads, servedModelName]),
      [
        ["a", "int8", 1, "first"],
        ["b", "auto", 2, null],
      ],
    );
    const named = resolveSettings(serveOptions, {
      ...{ flags: {}, environment: { LORIKEET_SERVED_MODEL_NAME: "x" }, file: {} },
    });
    assert.throws(
      () => basesOfFile(named, { value: entries, filePath: "x.yaml" }),
      /--served-model-name goes with --model; in "models" of x\.yaml each base has a "served-model-name" of its own/,
    );
    const wrong = [{ dtype: "int8" }, { model: "b", port: 1 }, "c"];
    assert.throws(
      () => basesOfFile(settings, { value: wrong, filePath: "x.yaml" }),
      /models\[0\] of x\.yaml must have a "model"\. "port" in models\[1\] of x\.yaml is an option of the server: put it beside "models"\. models\[2\] of x\.yaml must be a mapping/,
    );
  });
});
