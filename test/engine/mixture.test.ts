/** Mixtures of adapters: PEFT's numbers, what is refused, and that no part of one leaves it while it runs. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { cp, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, describe, test } from "node:test";
import { composeMixture } from "../../src/adapter/cache/compose.js";
import { Mixtures } from "../../src/adapter/cache/mixtures.js";
import { loadAdapter } from "../../src/adapter/format.js";
import { targetModules } from "../../src/model/modules.js";
import { post, put, remove } from "../support/client.js";
import { adapterFolder, largestDifference, oracleRoot } from "../support/oracle.js";
import { openModel } from "../support/served-model.js";
import { openService, type RunningService, untilVersions } from "../support/service.js";

interface Expected {
  readonly parts: readonly { readonly name: string; readonly weight: number }[];
  readonly prompt: number[];
  readonly greedy: readonly number[];
  readonly logits: readonly number[];
}

const expected: Expected = JSON.parse(readFileSync("test/fixtures/mixture/expected.json", "utf8"));
const model = join(oracleRoot, "llama");
const root = await mkdtemp(join(tmpdir(), "lorikeet-mixture-"));
after(() => rm(root, { recursive: true }));

test("a mixture computes what PEFT's add_weighted_adapter does with `cat`", async () => {
  const served = await openModel(model);
  const modules = targetModules(served.config);
  const parts = await Promise.all(
    expected.parts.map(async ({ name, weight }) => ({
      weight,
      label: `The adapter \`${name}\``,
      adapter: await loadAdapter(adapterFolder("llama", name), modules, {}),
    })),
  );
  const mixture = await composeMixture("sha256:mixture", parts);
  assert.equal(mixture.rank, 12);
  const hold = await served.bank.acquire(mixture);
  assert.ok(hold);
  const { prompt } = expected;
  const logits = await served.prefill(0, prompt, [prompt.length], hold);
  const last = logits.subarray(-expected.logits.length);
  assert.ok(largestDifference(last, Float32Array.from(expected.logits)) <= 1e-4);
  hold.release();
  served.runner[Symbol.dispose]();
});

test("a part that cannot be mixed is refused by its label", async () => {
  const empty = { digest: "sha256:part", rank: 1, bytes: 0, hasGains: false, modules: new Map() };
  const [one, row] = [new Float32Array(1), { rank: 1, dtype: "F32", scale: 1 } as const];
  for (const [adapter, why] of [
    [{ ...empty, embedding: { rank: 1, a: one, b: one } }, /^The adapter `a` adapts the embeddings: /],
    [{ ...empty, hasGains: true }, /^The adapter `a` is weight-decomposed/],
    [{ ...empty, modules: new Map([["q", { ...row, a: one, b: one, shift: one }]]) }, /^The adapter `a` has biases/],
  ] as const) {
    const composed = composeMixture("sha256:mixture", [{ adapter, weight: 1, label: "The adapter `a`" }]);
    await assert.rejects(composed, { code: "adapter_unsupported", message: why });
  }
});

test("a mixture has one digest whatever the order of its parts, and is known while it is held or cached", () => {
  const cached = new Set<string>();
  const mixtures = new Mixtures((digest) => cached.has(digest));
  const [a, b] = [
    { weightsDigest: "sha256:a", weight: 0.5 },
    { weightsDigest: "sha256:b", weight: 2 },
  ];
  const [first, second] = [mixtures.hold([a, b], 2), mixtures.hold([b, a], 1)];
  assert.equal(first.digest, second.digest);
  assert.deepEqual(mixtures.partsOf(first.digest), [a, b]);
  assert.throws(() => mixtures.hold([a], 1), { code: "mixtures_busy" });
  const other = mixtures.hold([a, { ...b, weight: 1 }], 2);
  assert.notEqual(other.digest, first.digest);
  cached.add(first.digest);
  for (const { release } of [first, first, second]) release();
  assert.ok(mixtures.partsOf(first.digest), "the cache still has it");
  cached.clear();
  mixtures.hold([a], 2).release();
  assert.equal(mixtures.partsOf(first.digest), null);
  assert.deepEqual(mixtures.forget("sha256:b"), [other.digest]);
  assert.ok(mixtures.partsOf(other.digest), "it is held");
  other.release();
  assert.equal(mixtures.size, 0);
});

describe("a server that mixes adapters", () => {
  const opened = openMixing();
  after(async () => (await opened)[Symbol.asyncDispose]());

  const body = { prompt: expected.prompt, max_tokens: expected.greedy.length, temperature: 0, ignore_eos: true };
  const ask = async (more: object, path = "/v1/completions") => {
    const { url } = await opened;
    const response = await post(url, path, { ...body, return_token_ids: true, ...more });
    return { response, answer: JSON.parse(await response.text()) };
  };
  const tokens = async (more: object) => (await ask(more)).answer.choices?.[0].token_ids;

  test("answers as PEFT does, to the last token, and names the mixture's digest", async () => {
    const { response, answer } = await ask({ adapters: expected.parts });
    assert.deepEqual(answer.choices?.[0].token_ids, expected.greedy, JSON.stringify(answer));
    assert.equal(response.headers.get("x-adapter"), "all-r4-rslora+attn-r8");
    assert.match(response.headers.get("x-adapter-digest") ?? "", /^sha256:[0-9a-f]{64}$/);
    const again = await ask({ adapters: expected.parts.toReversed() });
    assert.equal(again.response.headers.get("x-adapter-digest"), response.headers.get("x-adapter-digest"));
    assert.deepEqual(again.answer.choices?.[0].token_ids, expected.greedy);
  });

  test("answers with one adapter of weight 1 as with that adapter, and with halves of it as with the whole", async () => {
    const alone = await tokens({ model: "attn-r8" });
    assert.deepEqual(await tokens({ adapters: [{ name: "attn-r8" }] }), alone);
    const halves = [
      { name: "attn-r8", weight: 0.5 },
      { name: "copy", weight: 0.5 },
    ];
    assert.deepEqual(await tokens({ adapters: halves }), alone);
  });

  test("runs mixtures, their parts and the base in one batch, each as alone", async () => {
    const requests = [
      { adapters: expected.parts },
      { model: "attn-r8" },
      {},
      { adapters: [{ name: "copy", weight: 2 }] },
    ];
    const alone: unknown[] = [];
    for (const request of requests) alone.push(await tokens(request));
    assert.deepEqual(await Promise.all(requests.map(tokens)), alone);
  });

  test("refuses what it cannot mix, by name", async () => {
    const refusal = async (more: object) => {
      const { response, answer } = await ask(more);
      return [response.status, answer.error.code, answer.error.param];
    };
    const [first] = expected.parts;
    const gone = [first, { name: "gone", weight: 1 }];
    assert.deepEqual(await refusal({ adapters: gone }), [404, "model_not_found", "adapters[1].name"]);
    assert.deepEqual(await refusal({ adapters: [first, { name: "dora" }] }), [422, "adapter_unsupported", "adapters"]);
    assert.deepEqual(await refusal({ adapters: [first, first] }), [400, "invalid_value", "adapters"]);
    assert.deepEqual(await refusal({ adapters: [first, { name: "copy" }, { name: "dora" }] }), [
      400,
      "invalid_value",
      "adapters",
    ]);
    assert.deepEqual(await refusal({ model: "copy", adapters: [first] }), [400, "invalid_value", "model"]);
    assert.deepEqual(await refusal({ adapters: [{ name: "copy", weight: "1" }] }), [400, "invalid_value", "adapters"]);
  });

  test("lets a running mixture finish after a part is deleted, then frees it", async () => {
    const { url } = await opened;
    await put(url, "leaving", adapterFolder("llama", "patterns"));
    const { weightsDigest } = (await opened).stack.gateway.adapters.get("leaving");
    const mixed = { adapters: [{ name: "attn-r8" }, { name: "leaving", weight: 0.25 }] };
    const before = await tokens(mixed);
    const many = Array.from({ length: 6 }, () => tokens(mixed));
    const { activity } = (await opened).stack.gateway.adapters.get("attn-r8");
    assert.ok(activity.requests > 0 && activity.lastUsedAt !== null, "each part counts the request");
    await remove(url, "leaving");
    // A request that arrives after the deletion is refused.
    const finished = (await Promise.all(many)).filter((answer) => answer !== undefined);
    assert.ok(finished.length > 0);
    for (const answer of finished) assert.deepEqual(answer, before);
    assert.equal((await ask(mixed)).response.status, 404);
    const server = await opened;
    await server.assertIdle();
    await untilVersions(server, 0);
    const { mixtures, cache } = server.stack.adapters ?? assert.fail("there are adapters");
    assert.deepEqual(mixtures.forget(weightsDigest), []);
    cache.check();
  });
});

async function openMixing(): Promise<RunningService> {
  const adapters = await mkdtemp(join(root, "adapters-"));
  for (const { name } of expected.parts)
    await cp(adapterFolder("llama", name), join(adapters, name), { recursive: true });
  await cp(adapterFolder("llama", "attn-r8"), join(adapters, "copy"), { recursive: true });
  await cp("test/fixtures/dora/llama", join(adapters, "dora"), { recursive: true });
  return openService({ model, adapters, maxMixedAdapters: "2" });
}
