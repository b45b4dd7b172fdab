/** A long prompt during a running stream: the stream gets a step between any two chunks of it. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { complete, only, scrape, stream } from "../support/client.js";
import { until } from "../support/rig.js";
import { bookworm, openService } from "../support/service.js";

const chunks = 'lorikeet_step_seconds_count{kind="prefill"}';
const steps = 'lorikeet_step_seconds_count{kind="decode"}';

test("between two chunks of a long prompt every running stream gets a token", async () => {
  await using service = await openService({ model: bookworm, maxContext: "1024", maxBatch: "4", maxStallMs: "2" });
  const { url } = service;
  const greedy = { model: "bookworm-7m", temperature: 0, ignore_eos: true, return_token_ids: true };
  let received = 0;
  let isOver = false;
  const running = (async () => {
    for await (const { choices } of stream(url, { ...greedy, prompt: [5, 6, 7], max_tokens: 1000 })) {
      received += choices.flatMap(({ token_ids }) => token_ids ?? []).length;
      if (isOver) return;
    }
  })();
  await until(() => received > 0, "the stream's first token");
  const before = await scrape(url);
  const long = Array.from({ length: 900 }, (_, i) => 5 + ((i * 7919) % 4000));
  const answer = await complete(url, { ...greedy, prompt: long, max_tokens: 1 });
  const after = await scrape(url);
  isOver = true;
  await running;
  assert.equal(only(answer).token_ids?.length, 1);
  const of = (series: string): number => (after.get(series) ?? 0) - (before.get(series) ?? 0);
  assert.ok(of(chunks) >= 5, `the prompt was computed in ${of(chunks)} chunks`);
  assert.ok(of(steps) >= of(chunks) - 1, `${of(steps)} steps between ${of(chunks)} chunks`);
  await service.assertIdle();
});
