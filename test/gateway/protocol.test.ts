/** A made-up protocol over the neutral use cases: what it parses is answered, what it refuses is counted, and no other code knows it. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { LorikeetError } from "../../src/base/errors.js";
import type { RequestSummary } from "../../src/gateway/observer.js";
import { openAiProtocols } from "../../src/gateway/openai/protocol.js";
import type { Frame, Protocol } from "../../src/gateway/protocol.js";
import type { GenerationRequest } from "../../src/gateway/requests.js";
import { openRig, type Rig } from "../support/rig.js";

const never = new AbortController().signal;

/** Its body is a string; its frames are the characters that came, its whole answer the last word. */
function shoutingProtocol({ gateway }: Rig): Protocol {
  const { completions } = openAiProtocols(gateway);
  return {
    route: "completions",
    read(body): GenerationRequest {
      if (typeof body !== "string") throw new LorikeetError("invalid_value", "Say something.");
      return completions.read({ prompt: body, max_tokens: 3 });
    },
    async *frames(answer) {
      let count = 0;
      for await (const { text } of answer.parts()) {
        count += text.length;
        if (text !== "") yield { type: "chunk", data: { shout: text.toUpperCase() } };
      }
      yield { type: "done", marker: "over", data: { count, outcome: (await answer.ended).outcome } };
    },
    async whole(answer) {
      return { shouts: (await answer.collect()).map(({ text }) => text.toUpperCase()) };
    },
    errorForm: ({ status, message }) => ({ status, body: { oh: message } }),
  };
}

test("a protocol reads its bodies and writes its answers around the same use case", async () => {
  await using rig = await openRig();
  const protocol = shoutingProtocol(rig);
  const ask = (body: unknown) =>
    rig.gateway.complete({ route: protocol.route, read: () => protocol.read(body) }, never);
  const frames: Frame[] = [];
  for await (const frame of protocol.frames(await ask("abc"))) frames.push(frame);
  assert.deepEqual(frames, [
    ...["A", "B", "C"].map((shout) => ({ type: "chunk", data: { shout } })),
    { type: "done", marker: "over", data: { count: 3, outcome: "completed" } },
  ]);
  assert.deepEqual(await protocol.whole(await ask("xyz")), { shouts: ["XYZ"] });
});

test("a body that a protocol cannot read counts as one refused request", async () => {
  await using rig = await openRig();
  const protocol = shoutingProtocol(rig);
  const summaries: RequestSummary[] = [];
  rig.gateway.observe({ ended: (summary) => summaries.push(summary) });
  const asking = rig.gateway.complete({ route: protocol.route, read: () => protocol.read(5) }, never);
  await assert.rejects(asking, { code: "invalid_value", message: "Say something." });
  assert.deepEqual(
    summaries.map(({ route, outcome, model }) => [route, outcome, model]),
    [["completions", "refused", null]],
  );
  assert.equal(rig.engine.sequences.length, 0);
});
