/** OpenAI request bodies: what is read, what is refused, and that every fault is reported at once. */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { LorikeetError } from "../../src/base/errors.js";
import { chatFormat, parseChat } from "../../src/gateway/openai/chat-input.js";
import { completionFormat, parseCompletion } from "../../src/gateway/openai/completion-input.js";
import { gatewayDefaults } from "../../src/gateway/options.js";
import { samplingDefaults, samplingOf } from "../../src/gateway/sampling.js";

const bounds = { ...gatewayDefaults, vocabSize: 100, maxContext: 64 };
const completion = (body: unknown) => parseCompletion(completionFormat(bounds), body);
const chat = (body: unknown) => parseChat(chatFormat(bounds), body);
const messages = [{ role: "user", content: "hi" }];

test("token ids with a language are refused on the field that names the language", () => {
  const languages = { idByName: new Map([["fra_Latn", 3]]), names: ["fra_Latn"] };
  const sources = { prefix: "translate: ", tasks: new Map(), languages, startIds: [] };
  for (const [body, param] of [
    [{ tgt_lang: "fra_Latn" }, "tgt_lang"],
    [{ src_lang: "fra_Latn", tgt_lang: "fra_Latn" }, "src_lang"],
  ] as const) {
    const format = completionFormat(bounds, sources);
    const fault = faultOf(() => parseCompletion(format, { model: "m", prompt: [3, 12], ...body }, sources));
    assert.equal(fault.param, param);
    assert.match(fault.message, new RegExp(`^\\S*${param}\\S* is for texts; a .prompt. of token ids is read as it is`));
  }
});

function faultOf(parse: () => unknown): LorikeetError {
  try {
    parse();
  } catch (error) {
    assert.ok(error instanceof LorikeetError, String(error));
    return error;
  }
  throw new Error("nothing was refused");
}

describe("completions", () => {
  test("reads every supported parameter", () => {
    const request = completion({
      model: "m",
      prompt: "p",
      max_tokens: 3,
      temperature: 0.5,
      top_p: 0.9,
      top_k: 5,
      min_p: 0.1,
      repetition_penalty: 1.1,
      presence_penalty: 1,
      frequency_penalty: -1,
      n: 2,
      stop: ["a", "b"],
      seed: 7,
      logit_bias: { "3": -100, "4": 2.5 },
      logprobs: 2,
      stream: true,
      stream_options: { include_usage: true, include_obfuscation: null, continuous_usage_stats: true },
      echo: true,
      ignore_eos: true,
      response_format: { type: "text" },
      return_token_ids: true,
      stop_token_ids: [9, 8],
      min_tokens: 1,
      include_stop_str_in_output: true,
      skip_special_tokens: false,
      add_special_tokens: false,
      allowed_token_ids: [1, 2],
      truncate_prompt_tokens: 5,
      truncation_side: "right",
      prompt_logprobs: 3,
      return_tokens_as_token_ids: true,
    });
    assert.deepEqual(request, {
      kind: "completions",
      model: "m",
      adapters: [],
      prompts: [{ kind: "text", text: "p" }],
      maxTokens: 3,
      shortensToFit: false,
      defaultMaxTokens: 16,
      choices: 2,
      stops: ["a", "b"],
      stream: true,
      includeUsage: true,
      continuousUsage: true,
      echo: true,
      logprobs: 2,
      ignoreEos: true,
      returnTokenIds: true,
      grammar: null,
      stopTokenIds: [9, 8],
      minTokens: 1,
      includesStop: true,
      keepsSpecialTokens: true,
      addsSpecialTokens: false,
      truncation: { tokens: 5, side: "right" },
      promptLogprobs: 3,
      namesTokensById: true,
      sampling: {
        temperature: 0.5,
        topK: 5,
        topP: 0.9,
        minP: 0.1,
        repetitionPenalty: 1.1,
        presencePenalty: 1,
        frequencyPenalty: -1,
        logitBias: new Map([
          [3, -100],
          [4, 2.5],
        ]),
        allowedIds: [1, 2],
        seed: 7,
      },
    });
  });

  test("takes each of the four forms of a prompt", () => {
    const prompts = (prompt: unknown) => completion({ model: "m", prompt }).prompts;
    assert.deepEqual(prompts(["a", ""]), [
      { kind: "text", text: "a" },
      { kind: "text", text: "" },
    ]);
    assert.deepEqual(prompts([1, 2]), [{ kind: "ids", ids: [1, 2] }]);
    assert.deepEqual(prompts([[1], [2, 3]]), [
      { kind: "ids", ids: [1] },
      { kind: "ids", ids: [2, 3] },
    ]);
  });

  test("refuses prompts of unknown forms, and ids outside the vocabulary", () => {
    for (const prompt of [[], [[]], [1, "a"], [100], [-1], [1.5], {}, 5, [["a"]], Array(65).fill("a")]) {
      const fault = faultOf(() => completion({ model: "m", prompt }));
      assert.equal(fault.param, "prompt");
      assert.match(fault.message, /up to 64 strings.*0 to 99/);
    }
  });

  test("null equals absent, everywhere", () => {
    const nulls = {
      max_tokens: null,
      stop: null,
      seed: null,
      stream: null,
      tools: null,
      no_such: null,
      logprobs: null,
    };
    assert.deepEqual(completion({ model: "m", prompt: "p", ...nulls }), completion({ model: "m", prompt: "p" }));
    assert.equal(faultOf(() => completion({ model: "m", prompt: null })).param, "prompt");
  });

  test("accepts parameters at the values that change nothing", () => {
    const ignored = {
      tools: [],
      tool_choice: "none",
      response_format: { type: "text" },
      best_of: 1,
      suffix: "",
      parallel_tool_calls: true,
      store: true,
      service_tier: "auto",
      metadata: { a: "b" },
      user: "u",
      safety_identifier: "s",
      prompt_cache_key: "k",
      prompt_cache_retention: "24h",
      verbosity: "low",
      reasoning_effort: "high",
      min_tokens: 0,
      length_penalty: 1,
      use_beam_search: false,
      skip_special_tokens: true,
      spaces_between_special_tokens: true,
      include_stop_str_in_output: false,
      add_special_tokens: true,
      stop_token_ids: [],
    };
    assert.deepEqual(completion({ model: "m", prompt: "p", ...ignored }), completion({ model: "m", prompt: "p" }));
  });

  test("names each unsupported parameter, whatever it is called", () => {
    for (const [name, value] of Object.entries({
      tools: [{}],
      tool_choice: "auto",
      best_of: 2,
      suffix: "x",
      store: "yes",
      use_beam_search: true,
      verbosity: "loud",
      prompt_cache_retention: "forever",
      reasoning_effort: 5,
      guided_whitespace_pattern: " ",
      constructor: 1,
      toString: 1,
    })) {
      const fault = faultOf(() => completion({ model: "m", prompt: "p", [name]: value }));
      assert.equal(fault.code, "unsupported_parameter", name);
      assert.equal(fault.param, name);
      assert.match(fault.message, new RegExp(`\`${name}\``));
    }
    const own = JSON.parse('{"model":"m","prompt":"p","__proto__":{"stream":true}}');
    assert.equal(faultOf(() => completion(own)).param, "__proto__");
  });

  test("reports every fault together and repeats no text of the user's", () => {
    const fault = faultOf(() =>
      completion({
        prompt: { secret: "sesame" },
        temperature: 3,
        n: 0,
        stop: "",
        automaton: "sesame",
        top_p: "sesame",
      }),
    );
    assert.equal(fault.faults.length, 6);
    for (const name of ["automaton", "prompt", "temperature", "n", "stop", "top_p"]) {
      assert.ok(
        fault.faults.some((text) => text.includes(`\`${name}\``)),
        name,
      );
    }
    assert.match(fault.message, /from 0 to 2; found 3/);
    assert.doesNotMatch(fault.message, /sesame/);
  });

  test("checks the length of a list or an object before its contents", () => {
    const many = 10_000;
    for (const [param, value] of [
      ["stop", Array(many).fill("")],
      ["logit_bias", Object.fromEntries(Array.from({ length: many }, (_, index) => [`x${index}`, 1]))],
    ] as const) {
      const fault = faultOf(() => completion({ model: "m", prompt: "p", [param]: value }));
      assert.deepEqual([fault.param, fault.faults.length], [param, 1], fault.message);
    }
    const { faults } = faultOf(() => chat({ model: "m", messages: Array(many).fill({}) }));
    assert.deepEqual(faults, ["`messages` must be a list of 1 to 1024 messages; found a list of 10000."]);
    const body = Object.fromEntries(Array.from({ length: many }, (_, index) => [`k${index}`, 1]));
    assert.match(faultOf(() => completion(body)).message, /has 10000 parameters; at most 256 are allowed/);
  });

  test("shows numbers and booleans that came as strings, and no other string", () => {
    const found = (temperature: unknown) =>
      faultOf(() => completion({ model: "m", prompt: "p", temperature })).message.split("; found ")[1];
    assert.equal(found("0.7"), 'the string "0.7".');
    assert.equal(found("true"), 'the string "true".');
    assert.equal(found("sesame"), "a string of 6 characters.");
  });

  test("names the faulty item of a prompt and its position", () => {
    const found = (prompt: unknown) => faultOf(() => completion({ model: "m", prompt })).message.split("; found ")[1];
    assert.equal(found([1, 100, 2]), "100 at position 1.");
    assert.equal(found([1, "a"]), "a string of 1 character at position 1.");
    assert.equal(found([[1], [2, -3]]), "-3 at position 1 of prompt 1.");
    assert.equal(found([[1], []]), "an empty list at position 1.");
    assert.equal(found(["a", "b", [1]]), "a list of 1 at position 2, after a string of 1 character.");
    assert.equal(found([{}]), "an object at position 0.");
    assert.equal(found({}), "an object.");
  });

  test("refuses keys of logit_bias that are not token ids in their one decimal spelling", () => {
    for (const key of ["01", "1e1", " 1", "1 ", "+1", "-1", "1.0", "0x1", "", "x", "١", "constructor", "__proto__"]) {
      const body = JSON.parse(`{"model":"m","prompt":"p","logit_bias":{${JSON.stringify(key)}:1}}`);
      const fault = faultOf(() => completion(body));
      assert.deepEqual([fault.param, fault.code], [`logit_bias.${key}`, "invalid_value"]);
      assert.match(fault.message, /must have a token id as its key/);
    }
    for (const key of ["100", "4294967296", "9007199254740993"]) {
      const fault = faultOf(() => completion({ model: "m", prompt: "p", logit_bias: { [key]: 1 } }));
      assert.match(fault.message, /is outside the vocabulary: token ids are 0 to 99; found token id \d+\./);
    }
    const { faults } = faultOf(() => completion({ model: "m", prompt: "p", logit_bias: { "1": "a", "01": 1 } }));
    assert.equal(faults.length, 2);
    assert.deepEqual(
      completion({ model: "m", prompt: "p", logit_bias: { "0": 1, "99": -1 } }).sampling.logitBias.size,
      2,
    );
  });

  test("takes seeds of 64 bits, of either sign", () => {
    for (const seed of [0, -1, 2 ** 53, -(2 ** 63), 2 ** 63]) {
      assert.equal(completion({ model: "m", prompt: "p", seed }).sampling.seed, seed);
    }
    for (const seed of [2 ** 64, 1.5, "1", true]) {
      assert.equal(faultOf(() => completion({ model: "m", prompt: "p", seed })).param, "seed");
    }
  });

  test("replaces lone surrogates with U+FFFD everywhere", () => {
    const { prompts, stops } = completion({ model: "m", prompt: ["a\ud800b", "😀"], stop: ["\udc00x", "ok"] });
    assert.deepEqual(prompts, [
      { kind: "text", text: "a\ufffdb" },
      { kind: "text", text: "😀" },
    ]);
    assert.deepEqual(stops, ["\ufffdx", "ok"]);
    const content = [{ type: "text", text: "\ud83d" }];
    const request = chat({ model: "\ud800m", messages: [{ role: "user", content, name: "n\udfff" }] });
    assert.deepEqual(request.messages, [{ role: "user", content: "\ufffd", name: "n\ufffd" }]);
    assert.equal(request.model, "\ufffdm");
    assert.equal(faultOf(() => completion({ model: "m", prompt: "p", "\ud800": 1 })).param, "\ufffd");
    const long = `${"x".repeat(63)}😀${"y".repeat(9)}`;
    assert.equal(faultOf(() => completion({ model: "m", prompt: "p", [long]: 1 })).param, `${"x".repeat(63)}\ufffd…`);
  });

  test("refuses a body that is nested deeper than any parameter is", () => {
    const deep = JSON.parse(`{"model":"m","prompt":"p","metadata":${'{"a":'.repeat(100_000)}1${"}".repeat(100_000)}}`);
    assert.match(faultOf(() => completion(deep)).message, /nested more than 64 levels deep/);
    const list = JSON.parse(`{"model":"m","prompt":${"[".repeat(100_000)}${"]".repeat(100_000)}}`);
    assert.match(faultOf(() => completion(list)).message, /nested more than 64 levels deep/);
  });

  test("refuses a logit_bias that is a list", () => {
    for (const bias of [[], [1]]) {
      const fault = faultOf(() => completion({ model: "m", prompt: "p", logit_bias: bias }));
      assert.deepEqual([fault.code, fault.param, fault.faults.length], ["invalid_value", "logit_bias", 1]);
    }
  });

  test("enforces each bound exactly", () => {
    const ok = (extra: object) => completion({ model: "m", prompt: "p", ...extra });
    const refused = (extra: object, param: string) => assert.equal(faultOf(() => ok(extra)).param, param);
    ok({ stop: Array(4).fill("x") });
    refused({ stop: Array(5).fill("x") }, "stop");
    ok({ stop: "x".repeat(256) });
    refused({ stop: "x".repeat(257) }, "stop");
    ok({ n: 16 });
    refused({ n: 17 }, "n");
    ok({ logprobs: 20 });
    refused({ logprobs: 21 }, "logprobs");
    ok({ max_tokens: 64 });
    refused({ max_tokens: 65 }, "max_tokens");
    refused({ logit_bias: { "100": 1 } }, "logit_bias.100");
    refused({ logit_bias: { "1": 101 } }, "logit_bias.1");
    refused({ logit_bias: { x: 1 } }, "logit_bias.x");
    for (const penalty of [0, 1e-300, 1e-40, 0.0099, 10.1, -1]) {
      refused({ repetition_penalty: penalty }, "repetition_penalty");
      const { message } = faultOf(() => completion({ prompt: "x", repetition_penalty: penalty }));
      assert.match(message, /must be a number from 0\.01 to 10/);
    }
    for (const penalty of [0.01, 10]) ok({ repetition_penalty: penalty });
    refused({ max_tokens: 0 }, "max_tokens");
    ok({ max_tokens: 0, echo: true });
    refused({ max_tokens: 1, max_completion_tokens: 2 }, "max_tokens");
    refused({ stream_options: { include_usage: true } }, "stream_options");
    refused({ stream: true, stream_options: { other: 1 } }, "stream_options.other");
    ok({ stop_token_ids: Array(128).fill(99) });
    refused({ stop_token_ids: Array(129).fill(99) }, "stop_token_ids");
    refused({ stop_token_ids: [1, 100] }, "stop_token_ids");
    refused({ allowed_token_ids: [] }, "allowed_token_ids");
    ok({ min_tokens: 64 });
    refused({ min_tokens: 65 }, "min_tokens");
    for (const truncate_prompt_tokens of [-1, 1, 64]) ok({ truncate_prompt_tokens });
    for (const tokens of [0, -2, 65, 1.5]) refused({ truncate_prompt_tokens: tokens }, "truncate_prompt_tokens");
    refused({ truncation_side: "middle" }, "truncation_side");
    ok({ prompt_logprobs: 20 });
    refused({ prompt_logprobs: 21 }, "prompt_logprobs");
    refused({ prompt_logprobs: -1 }, "prompt_logprobs");
  });

  test("refuses a body that is not an object", () => {
    for (const body of [null, undefined, 3, "x", []])
      assert.match(faultOf(() => completion(body)).message, /JSON object/);
  });
});

describe("chat", () => {
  test("joins text parts, reads names, and takes a developer for the system", () => {
    const request = chat({
      model: "m",
      messages: [
        { role: "developer", content: "be brief" },
        {
          role: "user",
          content: [
            { type: "text", text: "a" },
            { type: "text", text: "b" },
          ],
          name: "ann",
        },
        { role: "assistant", content: "c", refusal: null, tool_calls: [], annotations: [] },
      ],
    });
    assert.deepEqual(request.messages, [
      { role: "system", content: "be brief" },
      { role: "user", content: "a\nb", name: "ann" },
      { role: "assistant", content: "c" },
    ]);
  });

  test("names the message that cannot be used", () => {
    const bad = [
      { role: "function", content: "x" },
      { role: "user", content: [{ type: "image_url", image_url: {} }] },
      { role: "user", content: null },
      { role: "user", content: "x", tool_calls: [{}] },
      "x",
    ];
    for (const message of bad) {
      assert.equal(faultOf(() => chat({ model: "m", messages: [...messages, message] })).param, "messages[1]");
    }
    assert.equal(faultOf(() => chat({ model: "m", messages: [] })).param, "messages");
    assert.equal(faultOf(() => chat({ model: "m", messages: Array(1025).fill(messages[0]) })).param, "messages");
  });

  test("an invalid message is answered with what is wrong and where", () => {
    const found = (message: unknown) => {
      const fault = faultOf(() => chat({ model: "m", messages: [message] }));
      return [fault.param, fault.message.split("; found ")[1]];
    };
    const content = "x";
    assert.deepEqual(found({ role: {}, content }), ["messages[0]", "an object as `role`."]);
    assert.deepEqual(found({ role: "function", content }), ["messages[0]", '"function" as `role`.']);
    assert.deepEqual(found({ role: "a secret role", content }), [
      "messages[0]",
      "a string of 13 characters as `role`.",
    ]);
    assert.deepEqual(found({ content }), ["messages[0]", "nothing as `role`."]);
    assert.deepEqual(found({ role: "user" }), ["messages[0]", "nothing as `content`."]);
    assert.deepEqual(found({ role: "user", content: [] }), ["messages[0]", "a list of 0 as `content`."]);
    const parts = [
      { type: "text", text: "a" },
      { type: "image_url", image_url: {} },
    ];
    assert.deepEqual(found({ role: "user", content: parts })[1], '"image_url" as `type` at `content[1]`.');
    assert.deepEqual(found({ role: "user", content: [{ type: "text" }] })[1], "nothing as `text` at `content[0]`.");
    assert.deepEqual(found({ role: "user", content, name: 3 })[1], "3 as `name`.");
    assert.deepEqual(found("x")[1], "a string of 1 character.");
  });

  test("reads the template's rendering parameters", () => {
    const template = (extra: object) => chat({ model: "m", messages, ...extra }).template;
    assert.deepEqual(template({}), { addGenerationPrompt: true, continueFinalMessage: false, kwargs: {} });
    assert.equal(template({ add_generation_prompt: false }).addGenerationPrompt, false);
    const open = template({ continue_final_message: true });
    assert.deepEqual([open.addGenerationPrompt, open.continueFinalMessage], [false, true]);
    const kwargs = { enable_thinking: false, nested: [{ a: null }] };
    assert.deepEqual(template({ chat_template_kwargs: kwargs, reasoning_effort: "low" }).kwargs, {
      reasoning_effort: "low",
      ...kwargs,
    });
    const refused = (extra: object) => faultOf(() => template(extra));
    assert.equal(refused({ chat_template_kwargs: [1] }).param, "chat_template_kwargs");
    assert.match(refused({ chat_template_kwargs: { messages: [] } }).message, /must not set `messages`/);
    assert.equal(refused({ reasoning_effort: "huge" }).param, "reasoning_effort");
    const both = refused({ continue_final_message: true, add_generation_prompt: true });
    assert.equal(both.param, "continue_final_message");
    const text = JSON.parse(
      '{"model":"m","messages":[{"role":"user","content":"x"}],"chat_template_kwargs":{"a":"\\ud800"}}',
    );
    assert.deepEqual(chat(text).template.kwargs, { a: "\ufffd" });
  });

  test("reads logprobs as chat spells them", () => {
    assert.equal(chat({ model: "m", messages }).logprobs, null);
    assert.equal(chat({ model: "m", messages, logprobs: true }).logprobs, 0);
    assert.equal(chat({ model: "m", messages, logprobs: true, top_logprobs: 3 }).logprobs, 3);
    assert.equal(faultOf(() => chat({ model: "m", messages, top_logprobs: 3 })).param, "top_logprobs");
    assert.equal(faultOf(() => chat({ model: "m", messages, logprobs: 3 })).param, "logprobs");
    assert.equal(faultOf(() => chat({ model: "m", messages, echo: true })).param, "echo");
    assert.equal(faultOf(() => chat({ model: "m", messages, max_tokens: 0 })).param, "max_tokens");
  });
});

describe("sampling", () => {
  const silentInput = completion({ model: "m", prompt: "p" }).sampling;

  test("defaults are OpenAI's unless the model's are asked for", () => {
    const config = {
      temperature: 0.6,
      top_k: 20,
      top_p: 0.95,
      repetition_penalty: 1.05,
      max_new_tokens: 9,
      do_sample: true,
    };
    const openAi = samplingOf(silentInput, samplingDefaults("openai", config), null, 0);
    assert.deepEqual([openAi.temperature, openAi.topK, openAi.topP, openAi.repetitionPenalty], [1, 0, 1, 1]);
    const defaults = samplingDefaults("model", config);
    const own = samplingOf(silentInput, defaults, null, 0);
    assert.deepEqual([own.temperature, own.topK, own.topP, own.repetitionPenalty], [0.6, 20, 0.95, 1.05]);
    assert.equal(defaults.maxTokens, 9);
    assert.equal(samplingDefaults("model", { ...config, do_sample: false }).temperature, 0);
    assert.equal(samplingDefaults("model", { temperature: 99 }).temperature, 1);
    assert.equal(samplingDefaults("model", { repetition_penalty: 1e-40 }).repetitionPenalty, 1);
  });

  test("seeds of choices differ and repeat; edge values have their documented meaning", () => {
    const { sampling } = completion({ model: "m", prompt: "p", seed: 5, top_k: -1, top_p: 0 });
    const defaults = samplingDefaults("openai", {});
    const seeds = [0, 1, 2].map((index) => samplingOf(sampling, defaults, null, index).seed);
    assert.equal(seeds[0], 5);
    assert.equal(new Set(seeds).size, 3);
    assert.deepEqual(
      seeds,
      [0, 1, 2].map((index) => samplingOf(sampling, defaults, null, index).seed),
    );
    const { topK, topP } = samplingOf(sampling, defaults, null, 0);
    assert.deepEqual([topK, topP], [1, 1]);
  });
});
