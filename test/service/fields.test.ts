/** vLLM's parameters over the embedded model: each changes the answer as vLLM says, whole, streamed, over a WebSocket, with an adapter. */
import assert from "node:assert/strict";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { post, SocketClient } from "../support/client.js";
import { writeRandomAdapters } from "../support/random-adapters.js";
import { adaptersFolder, bookworm, openService, type RunningService } from "../support/service.js";
import { load } from "../text/families.js";

type PromptLogprobs = readonly (Readonly<
  Record<string, { logprob: number; rank: number; decoded_token: string }>
> | null)[];

interface Choice {
  readonly index: number;
  readonly text?: string;
  readonly delta?: { readonly content?: string };
  readonly message?: { readonly content: string };
  readonly token_ids?: number[];
  readonly prompt_token_ids?: number[];
  readonly prompt_logprobs?: PromptLogprobs;
  readonly logprobs?: {
    readonly tokens?: string[];
    readonly token_logprobs?: (number | null)[];
    readonly content?: { readonly token: string; readonly top_logprobs: { readonly token: string }[] }[];
  } | null;
  readonly finish_reason: string | null;
}

interface Body {
  readonly model: string;
  readonly system_fingerprint: string;
  readonly choices: Choice[];
  readonly usage?: { prompt_tokens: number; completion_tokens: number; total_tokens: number } | null;
  readonly prompt_token_ids?: number[];
  readonly prompt_logprobs?: PromptLogprobs;
  readonly error?: { readonly code: string; readonly param: string; readonly message: string };
}

const chatPath = "/v1/chat/completions";
const prompt = "It was a dark";
const messages = [{ role: "user", content: "Speak of the night." }];

let service: RunningService;
let folder: Awaited<ReturnType<typeof adaptersFolder>>;

before(async () => {
  folder = await adaptersFolder({});
  await writeRandomAdapters(folder.path, bookworm, { one: { rank: 8, seed: 1 } });
  service = await openService({ model: bookworm, adapters: folder.path, maxContext: "128" });
});
after(async () => {
  await service[Symbol.asyncDispose]();
  await folder[Symbol.asyncDispose]();
});

/** A whole answer; greedy and with ids unless told otherwise. */
async function ask(body: object, path = "/v1/completions"): Promise<Body> {
  const asked = { temperature: 0, max_tokens: 12, return_token_ids: true, ...body };
  return JSON.parse(await (await post(service.url, path, asked)).text());
}

const complete = (body: object): Promise<Body> => ask({ prompt, ...body });
const chat = (body: object): Promise<Body> => ask({ messages, ...body }, chatPath);

async function chunksOf(body: object, path = "/v1/completions"): Promise<Body[]> {
  const asked = { temperature: 0, max_tokens: 12, return_token_ids: true, stream: true, ...body };
  const text = await (await post(service.url, path, asked)).text();
  const data = text.split("\n\n").filter((event) => event.startsWith("data: {"));
  return data.map((event) => JSON.parse(event.slice("data: ".length)));
}

/** The one choice of an answer, its text whatever the kind. */
function only(body: Body): Choice & { readonly said: string; readonly ids: number[] } {
  assert.equal(body.error, undefined, body.error?.message);
  const [choice] = body.choices;
  assert.ok(choice && body.choices.length === 1);
  return { ...choice, said: choice.text ?? choice.message?.content ?? "", ids: choice.token_ids ?? [] };
}

const textOf = (chunks: readonly Body[]): string =>
  chunks.flatMap(({ choices }) => choices.map((choice) => choice.text ?? choice.delta?.content ?? "")).join("");

async function refusal(body: object, path?: string): Promise<[string | undefined, string | undefined]> {
  const { error } = path === undefined ? await complete(body) : await chat(body);
  return [error?.code, error?.param];
}

describe("what ends an answer", () => {
  test("stop_token_ids ends it before that token, with ignore_eos too, for the base and an adapter", async () => {
    for (const model of [undefined, "one"]) {
      const plain = only(await complete({ model }));
      const id = plain.ids[4] ?? -1;
      const at = plain.ids.indexOf(id);
      const stopped = only(await complete({ model, stop_token_ids: [id], ignore_eos: true }));
      assert.deepEqual([stopped.ids, stopped.finish_reason], [plain.ids.slice(0, at), "stop"]);
      assert.equal(plain.said.startsWith(stopped.said), true);
      assert.equal(textOf(await chunksOf({ prompt, model, stop_token_ids: [id] })), stopped.said);
    }
  });

  test("min_tokens holds back stop tokens, the model's own too, and stop strings", async () => {
    const plain = only(await complete({}));
    const id = plain.ids[2] ?? -1;
    const stopped = only(await complete({ stop_token_ids: [id] }));
    const held = only(await complete({ stop_token_ids: [id], min_tokens: 8 }));
    assert.ok(stopped.ids.length < 8 && held.ids.length >= 8);
    assert.ok(!held.ids.slice(0, 8).includes(id), "the token itself does not come before");
    const end = only(await complete({ logit_bias: { 0: 100 } }));
    assert.deepEqual([end.ids.length, end.finish_reason], [0, "stop"]);
    const later = only(await complete({ logit_bias: { 0: 100 }, min_tokens: 5 }));
    assert.deepEqual([later.ids.length, later.finish_reason], [5, "stop"]);
    const word = plain.said.trim().split(" ")[0] ?? "";
    assert.equal(only(await complete({ stop: word })).said.trim(), "");
    assert.ok(only(await complete({ stop: word, min_tokens: 6 })).said.includes(word));
    assert.deepEqual(await refusal({ min_tokens: 13 }), ["invalid_value", "min_tokens"]);
    assert.deepEqual(await refusal({ min_tokens: 1, allowed_token_ids: [0, 2] }), [
      "invalid_value",
      "allowed_token_ids",
    ]);
  });

  test("include_stop_str_in_output keeps the stop string, and a stop token's text", async () => {
    const plain = only(await complete({}));
    const words = plain.said.split(" ").filter((word) => word !== "");
    const stop = words[2] ?? "";
    const before = only(await complete({ stop })).said;
    const whole = only(await complete({ stop, include_stop_str_in_output: true }));
    assert.deepEqual([whole.said, whole.finish_reason], [before + stop, "stop"]);
    assert.equal(textOf(await chunksOf({ prompt, stop, include_stop_str_in_output: true })), whole.said);
    const id = plain.ids[3] ?? -1;
    const at = plain.ids.indexOf(id);
    const token = only(await complete({ stop_token_ids: [id], include_stop_str_in_output: true, logprobs: 0 }));
    assert.deepEqual([token.ids, token.finish_reason], [plain.ids.slice(0, at + 1), "stop"]);
    assert.ok(plain.said.startsWith(token.said) && typeof token.logprobs?.token_logprobs?.at(-1) === "number");
  });
});

describe("which tokens come", () => {
  test("allowed_token_ids admits no other token, greedy or sampled, in any choice", async () => {
    const allowed = [77, 300, 1200];
    for (const temperature of [0, 1.5]) {
      const { choices } = await complete({ allowed_token_ids: allowed, temperature, n: 3, seed: 1 });
      for (const { token_ids } of choices) {
        assert.equal(token_ids?.length, 12);
        assert.ok(token_ids?.every((id) => allowed.includes(id)));
      }
    }
    assert.deepEqual(
      only(await complete({ allowed_token_ids: [300], repetition_penalty: 2 })).ids,
      Array(12).fill(300),
    );
    assert.deepEqual(await refusal({ allowed_token_ids: [4096] }), ["invalid_value", "allowed_token_ids"]);
  });

  test("skip_special_tokens false shows special tokens", async () => {
    const tokenizer = await load("bookworm");
    const id = (await tokenizer.encode("<|im_start|>", { addSpecialTokens: false }))[0] ?? -1;
    const body = { allowed_token_ids: [id], max_tokens: 2 };
    assert.equal(only(await complete(body)).said, "");
    assert.equal(only(await complete({ ...body, skip_special_tokens: false })).said, "<|im_start|><|im_start|>");
    assert.equal(only(await chat({ ...body, skip_special_tokens: false })).said, "<|im_start|><|im_start|>");
    const echo = only(await complete({ prompt: [id, 300], echo: true, skip_special_tokens: false, max_tokens: 1 }));
    assert.ok(echo.said.startsWith("<|im_start|>"));
  });

  test("a seed repeats an answer with any of them", async () => {
    const body = { temperature: 1, seed: 3, n: 2, min_tokens: 4, allowed_token_ids: [...Array(500).keys()] };
    const texts = async () => (await complete(body)).choices.map(({ text }) => text);
    assert.deepEqual(await texts(), await texts());
  });
});

describe("the prompt", () => {
  test("truncate_prompt_tokens keeps its last tokens, or its first", async () => {
    const whole = only(await complete({ prompt: "one two three four five" })).prompt_token_ids ?? [];
    const kept = async (body: object) => only(await complete({ prompt: "one two three four five", ...body }));
    assert.deepEqual((await kept({ truncate_prompt_tokens: 2 })).prompt_token_ids, whole.slice(-2));
    const right = await kept({ truncate_prompt_tokens: 2, truncation_side: "right" });
    assert.deepEqual(right.prompt_token_ids, whole.slice(0, 2));
    const ids = only(await complete({ prompt: [5, 6, 7, 8], truncate_prompt_tokens: 3 }));
    assert.deepEqual(ids.prompt_token_ids, [6, 7, 8]);
    const long = { prompt: "word ".repeat(300) };
    assert.equal((await complete(long)).error?.code, "context_length_exceeded");
    assert.equal(only(await complete({ ...long, truncate_prompt_tokens: -1 })).prompt_token_ids?.length, 128 - 12);
    const longer = { prompt: `${long.prompt}${long.prompt}five` };
    assert.equal((await complete(longer)).error?.code, "prompt_too_long");
    const last = only(await complete({ ...longer, truncate_prompt_tokens: 2 })).prompt_token_ids;
    assert.deepEqual(
      last,
      only(await complete({ prompt: "word word five", truncate_prompt_tokens: 2 })).prompt_token_ids,
    );
    const echo = await kept({ truncate_prompt_tokens: 1, echo: true, max_tokens: 1 });
    assert.ok(!echo.said.includes("one") && echo.said.includes("five"));
    const cut = await chat({ truncate_prompt_tokens: 4 });
    assert.equal(cut.prompt_token_ids?.length, 4);
  });

  test("prompt_logprobs scores it, with ranks, as echo's log-probabilities do", async () => {
    const echo = only(await complete({ echo: true, logprobs: 2, max_tokens: 1 }));
    const found = only(await complete({ prompt_logprobs: 2, max_tokens: 1 }));
    const ids = found.prompt_token_ids ?? [];
    assert.equal(found.prompt_logprobs?.length, ids.length);
    assert.equal(found.prompt_logprobs?.[0], null);
    for (const [place, id] of ids.entries()) {
      const entry: PromptLogprobs[number] | undefined = found.prompt_logprobs?.[place];
      if (!entry) continue;
      const own: { logprob: number; rank: number } | undefined = entry[String(id)];
      assert.equal(own?.logprob, echo.logprobs?.token_logprobs?.[place]);
      const likelier = Object.values(entry).filter(({ logprob }) => logprob > (own?.logprob ?? 0)).length;
      assert.ok(own && (own.rank === likelier + 1 || (likelier === 2 && own.rank > 2)));
      assert.ok(Object.keys(entry).length >= 2 && Object.keys(entry).length <= 3);
    }
    const both = only(await complete({ prompt_logprobs: 0, echo: true, logprobs: 2, max_tokens: 1 }));
    assert.deepEqual(both.logprobs, echo.logprobs);
    assert.ok(both.prompt_logprobs?.every((entry) => entry === null || Object.keys(entry).length === 1));
    const chatted = await chat({ prompt_logprobs: 1 });
    assert.equal(chatted.prompt_logprobs?.length, chatted.usage?.prompt_tokens);
    const streamed = (await chunksOf({ prompt, prompt_logprobs: 2, max_tokens: 1 })).flatMap(({ choices }) => choices);
    assert.deepEqual(
      streamed.flatMap(({ prompt_logprobs }) => (prompt_logprobs ? [prompt_logprobs] : [])),
      [found.prompt_logprobs],
    );
  });

  test("add_generation_prompt false omits the start of the answer", async () => {
    const plain = (await chat({})).prompt_token_ids ?? [];
    const bare = (await chat({ add_generation_prompt: false })).prompt_token_ids ?? [];
    assert.ok(bare.length < plain.length);
    assert.deepEqual(plain.slice(0, bare.length), bare);
  });

  test("continue_final_message continues the last message, whole and streamed", async () => {
    const open = [...messages, { role: "assistant", content: "The night was" }];
    const body = { messages: open, continue_final_message: true };
    const tokenizer = await load("bookworm");
    const { prompt_token_ids, ...answer } = await chat(body);
    assert.match(tokenizer.decode(prompt_token_ids ?? [], { keepSpecialTokens: true }), /\nThe night was$/);
    const said = only(answer).said;
    assert.match(said, /^[\s,.;]/, "it goes on where the message ends, its leading space kept");
    assert.equal(textOf(await chunksOf(body, chatPath)), said);
    const both = { ...body, add_generation_prompt: true };
    assert.deepEqual(await refusal(both, chatPath), ["invalid_value", "continue_final_message"]);
  });
});

describe("chat templates", () => {
  test("chat_template_kwargs and reasoning_effort are variables of the template", async () => {
    const own = await mkdtemp(join(tmpdir(), "lorikeet-template-"));
    const chatTemplate = join(own, "chat.jinja");
    await writeFile(
      chatTemplate,
      "{{ mood | default('calm') }}|{{ reasoning_effort | default('none') }}|{{ messages[0]['content'] }}",
    );
    const other = await openService({ model: bookworm, chatTemplate });
    const { stack } = other;
    assert.ok("tokenizer" in stack, "bookworm generates text");
    try {
      const rendered = async (body: object): Promise<string> => {
        const asked = { messages, max_tokens: 1, return_token_ids: true, ...body };
        const { prompt_token_ids }: Body = JSON.parse(await (await post(other.url, chatPath, asked)).text());
        return stack.tokenizer?.decode(prompt_token_ids ?? []) ?? "";
      };
      assert.equal(await rendered({}), "calm|none|Speak of the night.");
      const kwargs = { chat_template_kwargs: { mood: "wild" }, reasoning_effort: "low" };
      assert.equal(await rendered(kwargs), "wild|low|Speak of the night.");
      assert.equal(await rendered({ chat_template_kwargs: { mood: "\ud800" } }), "\ufffd|none|Speak of the night.");
      assert.notEqual(
        JSON.parse(await (await post(other.url, chatPath, { messages, max_tokens: 1 })).text()).system_fingerprint,
        (await chat({})).system_fingerprint,
        "another template answers otherwise",
      );
    } finally {
      await other[Symbol.asyncDispose]();
      await rm(own, { recursive: true });
    }
  });
});

describe("the form of an answer", () => {
  test("return_tokens_as_token_ids names tokens by their ids, in both kinds", async () => {
    const { logprobs, ids } = only(await complete({ logprobs: 1, return_tokens_as_token_ids: true }));
    assert.deepEqual(
      logprobs?.tokens,
      ids.map((id) => `token_id:${id}`),
    );
    const chatted = only(await chat({ logprobs: true, top_logprobs: 1, return_tokens_as_token_ids: true }));
    assert.deepEqual(
      chatted.logprobs?.content?.map(({ token, top_logprobs }) => [token, top_logprobs[0]?.token]),
      chatted.ids.map((id) => [`token_id:${id}`, `token_id:${id}`]),
    );
  });

  test("return_token_ids puts the prompt's ids beside choices", async () => {
    const whole = await chat({ n: 2 });
    assert.equal(whole.prompt_token_ids?.length, whole.usage?.prompt_tokens);
    const chunks = await chunksOf({ messages, n: 2 }, chatPath);
    const given = chunks.flatMap(({ prompt_token_ids }) => (prompt_token_ids ? [prompt_token_ids] : []));
    assert.deepEqual(given, [whole.prompt_token_ids]);
    const one = await complete({});
    assert.deepEqual(one.prompt_token_ids, one.choices[0]?.prompt_token_ids);
    const many = await complete({ prompt: ["a b", "c"] });
    assert.equal(many.prompt_token_ids, undefined);
    assert.notDeepEqual(many.choices[0]?.prompt_token_ids, many.choices[1]?.prompt_token_ids);
    assert.equal((await complete({ return_token_ids: false })).prompt_token_ids, undefined);
  });

  test("continuous_usage_stats counts each choice in every chunk", async () => {
    const stream_options = { include_usage: true, continuous_usage_stats: true };
    const chunks = await chunksOf({ prompt, n: 2, stream_options });
    const last = chunks.at(-1);
    assert.deepEqual([last?.choices.length, last?.usage?.completion_tokens], [0, 24]);
    for (const index of [0, 1]) {
      const counts = chunks.filter(({ choices }) => choices[0]?.index === index).map(({ usage }) => usage);
      assert.ok(counts.every((usage) => usage?.prompt_tokens === last?.usage?.prompt_tokens));
      const completed = counts.map((usage) => usage?.completion_tokens ?? -1);
      assert.deepEqual(
        completed,
        [...completed].sort((a, b) => a - b),
      );
      assert.deepEqual([completed[0], completed.at(-1)], [1, 12]);
    }
    const without = await chunksOf({ prompt, stream_options: { include_usage: true } });
    assert.ok(without.slice(0, -1).every(({ usage }) => usage === null));
  });

  test("system_fingerprint is the base's, in the answers and chunks of every model", async () => {
    const { system_fingerprint: fingerprint } = await complete({});
    assert.match(fingerprint, /^fp_[0-9a-f]{12}$/);
    for (const body of [await chat({}), await complete({ model: "one" }), ...(await chunksOf({ prompt }))]) {
      assert.equal(body.system_fingerprint, fingerprint);
    }
  });

  test("a request without a model goes to the base", async () => {
    const [named, unnamed] = [await complete({ model: "bookworm-7m" }), await complete({ model: null })];
    assert.equal(unnamed.model, "bookworm-7m");
    assert.equal(only(unnamed).said, only(named).said);
    assert.notEqual(only(await complete({ model: "one" })).said, only(named).said);
  });

  test("parameters that OpenAI's newer clients send change nothing", async () => {
    const extras = {
      ...{
        verbosity: "low",
        store: true,
        prompt_cache_retention: "24h",
        prompt_cache_key: "k",
        safety_identifier: "s",
      },
      ...{ reasoning_effort: "minimal", user: "u", metadata: { a: "b" }, service_tier: "auto" },
    };
    assert.equal(only(await chat(extras)).said, only(await chat({})).said);
    const stream_options = { include_usage: true, include_obfuscation: true };
    assert.equal(textOf(await chunksOf({ messages, ...extras, stream_options }, chatPath)), only(await chat({})).said);
  });

  test("every parameter works over a WebSocket", async () => {
    using socket = await SocketClient.open(service.url);
    const plain = only(await complete({}));
    const id = plain.ids[3] ?? -1;
    const body = {
      ...{ prompt, temperature: 0, max_tokens: 12, return_token_ids: true, stop_token_ids: [id] },
      ...{ include_stop_str_in_output: true, min_tokens: 1, prompt_logprobs: 1, return_tokens_as_token_ids: true },
    };
    const frames = await socket.ask("r", body);
    const choices = frames.flatMap(({ type, data }) => (type === "chunk" ? [...(data?.choices ?? [])] : []));
    assert.deepEqual(
      choices.flatMap(({ token_ids }) => token_ids ?? []),
      plain.ids.slice(0, plain.ids.indexOf(id) + 1),
    );
    assert.equal(choices.at(-1)?.finish_reason, "stop");
    assert.equal(
      choices.flatMap(({ prompt_logprobs }) => prompt_logprobs ?? []).length,
      plain.prompt_token_ids?.length,
    );
  });
});
