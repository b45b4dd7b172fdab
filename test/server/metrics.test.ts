/** The metrics: every name of the contract exists, counts follow events, adapter labels are capped and removed with their adapter. */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { basesOf } from "../../src/gateway/bases.js";
import { AdapterLabels } from "../../src/server/metrics/adapter-labels.js";
import { Metrics } from "../../src/server/metrics/metrics.js";
import { openRig, openServerRig, type ServerRig, until } from "../support/rig.js";

const bytes = (text: string): number[] => [...Buffer.from(text)];

async function scrape(rig: ServerRig): Promise<string> {
  const response = await fetch(`${rig.url}/metrics`);
  assert.match(response.headers.get("content-type") ?? "", /^text\/plain; version=0\.0\.4/);
  return response.text();
}

/** The value of one series, or null. */
function seriesValue(text: string, series: string): number | null {
  const line = text.split("\n").find((each) => each.startsWith(`${series} `));
  return line === undefined ? null : Number(line.slice(series.length + 1));
}

async function ask(rig: ServerRig, body: object, path = "/v1/completions"): Promise<void> {
  const headers = { "content-type": "application/json" };
  const sent = JSON.stringify({ model: "base", prompt: "xyz", max_tokens: 2, ...body });
  await (await fetch(`${rig.url}${path}`, { method: "POST", headers, body: sent })).text();
}

describe("the exposition", () => {
  test("has every name that the contract lists, and Node's own", async () => {
    await using rig = await openServerRig({ script: { answer: () => bytes("ab") } });
    await rig.adapters.add("plays");
    await ask(rig, { model: "plays" });
    await fetch(`${rig.url}/v1/adapters/x`, { method: "PUT", body: "x" });
    const text = await scrape(rig);
    for (const name of [
      "lorikeet_requests_total",
      "lorikeet_tokens_total",
      "lorikeet_time_to_first_token_seconds_bucket",
      "lorikeet_inter_token_seconds_bucket",
      "lorikeet_queue_seconds_bucket",
      "lorikeet_batch_rows_bucket",
      "lorikeet_batch_adapters_bucket",
      "lorikeet_kv_slots",
      "lorikeet_adapter_cache_bytes",
      "lorikeet_adapter_cache_max_bytes",
      "lorikeet_adapter_cache_hits_total",
      "lorikeet_adapter_cache_misses_total",
      "lorikeet_adapter_cache_evictions_total",
      "lorikeet_adapters",
      "lorikeet_uploads_total",
      "lorikeet_ws_connections",
      "lorikeet_active_adapter_bytes",
      "lorikeet_event_loop_delay_seconds",
      "vllm:lora_requests_info",
      "vllm:num_requests_running",
      "vllm:num_requests_waiting",
      "nodejs_version_info",
      "process_resident_memory_bytes",
    ]) {
      assert.match(text, new RegExp(`^${name}[{ ]`, "m"), name);
    }
    for (const name of [
      "lorikeet_step_seconds",
      "lorikeet_adapter_load_seconds",
      "lorikeet_adapter_validation_seconds",
    ]) {
      assert.match(text, new RegExp(`^# TYPE ${name} histogram$`, "m"));
    }
  });

  test("counts requests by adapter, route and outcome, and tokens by kind", async () => {
    await using rig = await openServerRig({ script: { answer: () => bytes("ab"), cachedTokens: 1 } });
    await rig.adapters.add("plays");
    await ask(rig, { model: "plays" });
    await ask(rig, { model: "plays" });
    await ask(rig, {});
    await ask(rig, { model: "gone-for-good" });
    await ask(
      rig,
      { model: "base", prompt: undefined, messages: [{ role: "user", content: "x" }] },
      "/v1/chat/completions",
    );
    const bare = { prompt: undefined, max_tokens: undefined };
    await ask(rig, { ...bare, model: "plays", prompt: "xy" }, "/tokenize");
    await ask(rig, { ...bare, model: undefined, prompt: "xy" }, "/v1/tokenize");
    await ask(rig, { ...bare, tokens: [97] }, "/detokenize");
    await ask(rig, { ...bare, prompt: 7 }, "/tokenize");
    await ask(rig, { ...bare, model: "gone-for-good", tokens: [97] }, "/detokenize");
    const text = await scrape(rig);
    const requests = (adapter: string, route: string, outcome: string) =>
      seriesValue(text, `lorikeet_requests_total{adapter="${adapter}",route="${route}",outcome="${outcome}"}`);
    assert.equal(requests("plays", "completions", "completed"), 2);
    assert.equal(requests("base", "completions", "completed"), 1);
    assert.equal(requests("base", "chat", "completed"), 1);
    assert.equal(requests("none", "completions", "refused"), 1);
    assert.equal(requests("plays", "tokenize", "completed"), 1);
    assert.equal(requests("base", "tokenize", "completed"), 1);
    assert.equal(requests("base", "detokenize", "completed"), 1);
    assert.equal(requests("none", "tokenize", "refused"), 1);
    assert.equal(requests("none", "detokenize", "refused"), 1);
    assert.doesNotMatch(text, /gone-for-good/);
    const tokens = (kind: string) => seriesValue(text, `lorikeet_tokens_total{adapter="plays",kind="${kind}"}`);
    assert.deepEqual(["prompt", "completion", "cached"].map(tokens), [6, 4, 2]);
    assert.equal(seriesValue(text, "lorikeet_time_to_first_token_seconds_count"), 4);
    assert.equal(seriesValue(text, "lorikeet_inter_token_seconds_count"), 4);
    assert.equal(seriesValue(text, 'lorikeet_adapters{tier="host"}'), 1);
    assert.equal(seriesValue(text, "lorikeet_adapter_cache_hits_total"), 3);
    assert.equal(
      seriesValue(await scrape(rig), "lorikeet_adapter_cache_hits_total"),
      3,
      "a second scrape counts nothing twice",
    );
  });

  test("reads the gateway's counts once per scrape", async () => {
    await using rig = await openRig();
    const metrics = new Metrics({ maxAdapterLabels: 4 });
    let asked = 0;
    const stats = () => {
      asked++;
      return rig.gateway.stats();
    };
    const gateway = { ...rig.gateway, stats };
    metrics.bind(basesOf("base", gateway));
    for (const scrapes of [1, 2]) {
      assert.match(await metrics.render(), /^lorikeet_kv_slots\{/m);
      assert.equal(asked, scrapes);
    }
    metrics.close();
  });

  test("names the device, and its memory where it has its own", async () => {
    const metrics = new Metrics({ maxAdapterLabels: 1 });
    const card = { kind: "webgpu", name: "Card", driver: "d 1.0", software: false, memoryBytes: 100, fp16: true };
    const labels = { ...card, longestChunk: 30, kvCacheDtype: "fp16", activationDtype: "fp32" };
    metrics.describeDevices([{ base: "base", labels, allocated: () => 7 }]);
    const text = await metrics.render();
    metrics.close();
    const shown =
      'device="webgpu",name="Card",driver="d 1.0",software="false",fp16="true",activation_dtype="fp32",kv_cache_dtype="fp16",longest_chunk="30"';
    assert.equal(seriesValue(text, `lorikeet_device_info{${shown}}`), 1);
    assert.equal(seriesValue(text, "lorikeet_device_memory_bytes"), 100);
    assert.equal(seriesValue(text, "lorikeet_device_allocated_bytes"), 7);
  });

  test("shows who runs, by name, and sockets", async () => {
    await using rig = await openServerRig({ script: { answer: () => bytes("x".repeat(100)), tokenMs: 5 } });
    await rig.adapters.add("plays");
    const controller = new AbortController();
    const answer = await rig.complete({ model: "plays", prompt: "x", max_tokens: 99 }, controller.signal);
    const text = await scrape(rig);
    assert.match(
      text,
      /^vllm:lora_requests_info\{max_lora="4",running_lora_adapters="plays",waiting_lora_adapters=""\} 1\d{9}/m,
    );
    assert.equal(seriesValue(text, "vllm:num_requests_running"), 1);
    assert.equal(seriesValue(text, 'lorikeet_adapters{tier="device"}'), 1);
    answer.cancel();
    await answer.ended;
    assert.match(await scrape(rig), /running_lora_adapters=""/);
  });

  test("an adapter's series are removed with it", async () => {
    await using rig = await openServerRig({ script: { answer: () => bytes("ab") } });
    await rig.adapters.add("plays");
    await ask(rig, { model: "plays" });
    assert.match(await scrape(rig), /adapter="plays"/);
    await rig.gateway.adapters.remove("plays");
    assert.doesNotMatch(await scrape(rig), /adapter="plays"/);
  });

  test("labels are capped, and further adapters count as other", async () => {
    await using rig = await openServerRig({ script: { answer: () => bytes("ab") }, server: { maxAdapterLabels: 1 } });
    for (const name of ["a", "b", "c"]) await rig.adapters.add(name);
    for (const model of ["a", "b", "c"]) await ask(rig, { model });
    await until(() => rig.engine.running === 0);
    const text = await scrape(rig);
    const count = (adapter: string) =>
      seriesValue(text, `lorikeet_requests_total{adapter="${adapter}",route="completions",outcome="completed"}`);
    assert.deepEqual([count("a"), count("b"), count("other")], [1, null, 2]);
  });

  test("the engine's steps count through its observer", async () => {
    const metrics = new Metrics({ maxAdapterLabels: 4 });
    const observer = metrics.engineObserverOf("base");
    observer.step?.({ kind: "decode", seconds: 0.01, rows: 16, adapters: 14, tokens: 16 });
    observer.step?.({ kind: "prefill", seconds: 0.1, rows: 1, adapters: 1, tokens: 64 });
    observer.adapterLoaded?.({ digest: "d", from: "disk", seconds: 0.2 });
    const text = await metrics.render();
    assert.equal(seriesValue(text, "lorikeet_batch_adapters_count"), 1, "a prefill is no batch");
    assert.equal(seriesValue(text, 'lorikeet_batch_adapters_bucket{le="13"}'), 0);
    assert.equal(seriesValue(text, 'lorikeet_batch_adapters_bucket{le="14"}'), 1);
    assert.equal(seriesValue(text, 'lorikeet_step_seconds_count{kind="prefill"}'), 1);
    assert.equal(seriesValue(text, 'lorikeet_adapter_load_seconds_count{from="disk"}'), 1);
    metrics.close();
  });
});

describe("adapter labels", () => {
  test("an adapter twice as busy as the least busy label replaces it and its series", () => {
    const dropped: string[] = [];
    const labels = new AdapterLabels(2, (label) => dropped.push(label));
    for (const name of ["a", "a", "a", "b"]) assert.equal(labels.use(name), name);
    assert.deepEqual([labels.use("c"), labels.use("c")], ["other", "other"]);
    assert.equal(labels.use("c"), "c");
    assert.deepEqual(dropped, ["b"]);
    assert.equal(labels.use("b"), "other");
    assert.equal(labels.size, 2);
  });

  test("an adapter named like a special label is counted as other", () => {
    const dropped: string[] = [];
    const labels = new AdapterLabels(4, (label) => dropped.push(label));
    assert.deepEqual([labels.use("other"), labels.use("none")], ["other", "other"]);
    labels.prune(() => false);
    assert.deepEqual(dropped, [], "the rest's series stay");
  });

  test("stays bounded whatever is asked for", () => {
    const labels = new AdapterLabels(3, () => {});
    for (let index = 0; index < 1000; index++) labels.use(`n${index}`);
    assert.equal(labels.size, 3);
    labels.prune((name) => name === "n1");
    assert.equal(labels.size, 1);
  });
});
