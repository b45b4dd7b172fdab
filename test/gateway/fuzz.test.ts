/** Bodies of every generation route that nobody would write: read or refused as a client's fault, and never a failure of the server. */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import fc from "fast-check";
import { LorikeetError } from "../../src/base/errors.js";
import { countFormat, messagesFormat, parseCount, parseMessages } from "../../src/gateway/anthropic/messages-input.js";
import { parseJob } from "../../src/gateway/fine-tuning/job-input.js";
import { completionFormat, parseCompletion } from "../../src/gateway/openai/completion-input.js";
import { gatewayDefaults } from "../../src/gateway/options.js";
import { generateFormat, parseGenerate } from "../../src/gateway/tgi/generate-input.js";
import { post } from "../support/client.js";
import { openServerRig } from "../support/rig.js";

const bounds = { ...gatewayDefaults, vocabSize: 260, maxContext: 64 };
const runs = { numRuns: 250 };

/** Reads a body, or finds that it is refused with a sentence that has no line break and no stack. */
function readOrRefuse<T>(read: () => T): T | null {
  try {
    return read();
  } catch (error) {
    assert.ok(error instanceof LorikeetError && error.status === 400, String(error));
    assert.ok(error.message.length < 4000 && !error.message.includes("\n"), error.message);
    return null;
  }
}

const anything = fc.anything({ maxDepth: 3, withNullPrototype: true });
const text = fc.oneof({ weight: 4, arbitrary: fc.string({ unit: "binary" }) }, anything);

const block = fc.record(
  {
    type: fc.oneof(fc.constantFrom("text", "image", "tool_use", "tool_result", "thinking", "document"), anything),
    text,
    thinking: text,
    id: text,
    name: text,
    input: fc.oneof(fc.dictionary(fc.string(), fc.jsonValue()), anything),
    tool_use_id: text,
    content: fc.oneof(text, fc.array(fc.record({ type: fc.constant("text"), text }))),
    cache_control: anything,
    is_error: fc.oneof(fc.boolean(), anything),
  },
  { requiredKeys: [] },
);
const message = fc.record(
  { role: fc.constantFrom("user", "assistant", "system", "tool", "robot"), content: fc.oneof(text, fc.array(block)) },
  { requiredKeys: ["role"] },
);
const tool = fc.record(
  {
    name: text,
    description: text,
    input_schema: fc.oneof(fc.dictionary(fc.string(), anything), anything),
    type: text,
  },
  { requiredKeys: [] },
);
const mixture = fc.oneof(fc.array(fc.record({ name: text, weight: fc.oneof(fc.double(), anything) })), anything);

const messagesBody = fc.oneof(
  fc.record(
    {
      max_tokens: fc.oneof(fc.integer({ min: 1, max: 9 }), anything),
      messages: fc.array(message, { maxLength: 4 }),
      system: fc.oneof(text, fc.array(block)),
      tools: fc.oneof(fc.array(tool, { maxLength: 3 }), anything),
      tool_choice: fc.oneof(fc.record({ type: fc.constantFrom("auto", "any", "none", "tool"), name: text }), anything),
      thinking: fc.oneof(
        fc.record({ type: fc.constantFrom("enabled", "disabled"), budget_tokens: anything }),
        anything,
      ),
      output_config: fc.oneof(fc.record({ effort: text, format: anything }), anything),
      adapters: mixture,
    },
    { requiredKeys: ["max_tokens", "messages"] },
  ),
  fc.dictionary(fc.constantFrom(...messagesFormat(bounds).known, "other"), anything),
);

const parameters = fc.oneof(
  fc.record(
    {
      max_new_tokens: fc.oneof(fc.integer({ min: 1, max: 9 }), anything),
      temperature: fc.oneof(fc.double({ min: 0, max: 2 }), anything),
      stop: fc.oneof(fc.array(text), anything),
      seed: fc.oneof(fc.maxSafeInteger(), anything),
      details: fc.boolean(),
      decoder_input_details: fc.boolean(),
      top_n_tokens: fc.oneof(fc.integer({ min: 0, max: 5 }), anything),
      grammar: fc.oneof(
        fc.record({ type: fc.constantFrom("json", "regex", "json_schema"), value: anything }),
        anything,
      ),
      adapters: mixture,
      merged_adapters: fc.oneof(fc.record({ ids: fc.array(text), weights: anything }), anything),
    },
    { requiredKeys: [] },
  ),
  fc.dictionary(fc.constantFrom(...generateFormat(bounds).known, "other"), anything),
);
const generateBody = fc.record({ inputs: text, parameters: fc.oneof(parameters, anything) }, { requiredKeys: [] });

const settings = fc.oneof(
  fc.record(
    Object.fromEntries(
      ["n_epochs", "batch_size", "learning_rate_multiplier", "beta"].map((name) => [
        name,
        fc.oneof(fc.constant("auto"), fc.integer({ min: 0, max: 60 }), fc.double(), anything),
      ]),
    ),
    { requiredKeys: [] },
  ),
  anything,
);
const methodBody = fc.oneof(
  fc.record(
    {
      type: fc.oneof(fc.constantFrom("supervised", "dpo", "reinforcement"), anything),
      supervised: fc.oneof(fc.record({ hyperparameters: settings }, { requiredKeys: [] }), anything),
      dpo: fc.oneof(fc.record({ hyperparameters: settings }, { requiredKeys: [] }), anything),
    },
    { requiredKeys: [] },
  ),
  anything,
);
const jobBody = fc.record(
  {
    model: text,
    training_file: fc.oneof(fc.constant("file-0123"), text),
    validation_file: fc.oneof(fc.constant("file-0123"), text),
    suffix: fc.oneof(fc.constant("mine"), text),
    seed: fc.oneof(fc.integer(), anything),
    metadata: fc.oneof(fc.dictionary(fc.string(), fc.string()), anything),
    hyperparameters: settings,
    method: methodBody,
    integrations: anything,
  },
  { requiredKeys: ["model", "training_file"] },
);

describe("any body", () => {
  test("of a fine-tuning job is read or refused", () => {
    const check = (body: unknown): void => {
      const job = readOrRefuse(() => parseJob(body));
      if (job === null) return;
      assert.match(job.trainingFile, /^file-[A-Za-z0-9]+$/);
      assert.ok(job.suffix === null || /^[A-Za-z0-9_-]{1,64}$/.test(job.suffix));
      for (const number of Object.values(job.hyperparameters)) assert.ok(number === null || number > 0);
    };
    fc.assert(fc.property(jobBody, check), runs);
    fc.assert(fc.property(anything, check), runs);
  });

  test("of messages is read or refused", () => {
    const [whole, count] = [messagesFormat(bounds), countFormat(bounds)];
    const check = (body: unknown): void => {
      const request = readOrRefuse(() => parseMessages(whole, body));
      for (const { content, toolCalls = [] } of request?.messages ?? []) {
        assert.equal(typeof content, "string");
        for (const call of toolCalls) assert.equal(typeof JSON.parse(call.arguments), "object");
      }
      readOrRefuse(() => parseCount(count, body));
    };
    fc.assert(fc.property(messagesBody, check), runs);
    fc.assert(fc.property(anything, check), runs);
  });

  test("of generate is read or refused", () => {
    const format = generateFormat(bounds);
    const check = (body: unknown): void => {
      const request = readOrRefuse(() => parseGenerate(format, body, null));
      if (request) assert.ok(request.sampling.temperature !== null && request.sampling.temperature >= 0);
    };
    fc.assert(fc.property(generateBody, check), runs);
    fc.assert(fc.property(anything, check), runs);
  });

  test("of a mixture is a list of names with finite weights, or refused", () => {
    const format = completionFormat(bounds);
    const check = (adapters: unknown): void => {
      const request = readOrRefuse(() => parseCompletion(format, { prompt: "x", adapters }));
      for (const { name, weight } of request?.adapters ?? []) {
        assert.ok(name.length > 0 && Number.isFinite(weight), name);
      }
    };
    fc.assert(fc.property(mixture, check), runs);
  });

  test("that JSON can write is answered by a server without a failure of its own, in the route's form", async () => {
    await using rig = await openServerRig();
    const answer = async (path: string, body: unknown, key: string): Promise<void> => {
      const response = await post(rig.url, path, body as object);
      assert.ok(response.status < 500, `${path} ${response.status} ${JSON.stringify(body)}`);
      const sent = await response.text();
      if (response.status === 200) return;
      assert.ok(Object.hasOwn(JSON.parse(sent), key), sent);
    };
    const json = <T>(arbitrary: fc.Arbitrary<T>) =>
      arbitrary.map((value) => JSON.parse(JSON.stringify(value, (_, item) => (typeof item === "bigint" ? 1 : item))));
    const property = fc.asyncProperty(json(messagesBody), json(generateBody), async (messages, generate) => {
      await answer("/v1/messages", messages, "error");
      await answer("/v1/messages/count_tokens", messages, "error");
      await answer("/generate", generate, "error_type");
    });
    await fc.assert(property, { numRuns: 25 });
    const { running, waiting } = rig.gateway.stats().engine;
    assert.deepEqual([running, waiting], [0, 0]);
  });
});
