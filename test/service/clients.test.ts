/** Users' own clients against the running server with the embedded model: the `openai` package, a `ws` client, vLLM's calls. PyTorch is the judge. */
import assert from "node:assert/strict";
import { cp, readFile } from "node:fs/promises";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import OpenAI, { BadRequestError, NotFoundError } from "openai";
import { complete, type Frame, frameTokens, only, post, SocketClient } from "../support/client.js";
import { writeRandomAdapters } from "../support/random-adapters.js";
import { adaptersFolder, bookworm, openService, type RunningService } from "../support/service.js";

interface Expected {
  readonly promptIds: readonly number[];
  readonly promptLogprobs: readonly (number | null)[];
  readonly ids: readonly number[];
  readonly logprobs: readonly number[];
  readonly text: string;
}

interface Judge {
  readonly completions: readonly (Expected & { readonly prompt: string })[];
  readonly chat: Expected & { readonly messages: OpenAI.ChatCompletionMessageParam[] };
}

const judge: Judge = JSON.parse(await readFile("test/fixtures/bookworm/expected.json", "utf8"));
const model = "bookworm-7m";
const greedy = { model, temperature: 0 };

function near(found: readonly (number | null)[] | null | undefined, expected: readonly (number | null)[]): void {
  assert.equal(found?.length, expected.length);
  for (const [i, value] of expected.entries()) {
    const difference = Math.abs((found?.[i] ?? 0) - (value ?? 0));
    assert.ok(difference <= 1e-4, `${i}: ${found?.[i]} is not ${value}`);
  }
}

let service: RunningService;
let folder: Awaited<ReturnType<typeof adaptersFolder>>;
let outside: typeof folder;
let client: OpenAI;

before(async () => {
  folder = await adaptersFolder({});
  outside = await adaptersFolder({});
  await writeRandomAdapters(outside.path, bookworm, { one: { rank: 8, seed: 1 }, two: { rank: 4, seed: 2 } });
  service = await openService({
    model: bookworm,
    adapters: folder.path,
    maxContext: "128",
    loraPathRoot: outside.path,
  });
  client = new OpenAI({ baseURL: `${service.url}/v1`, apiKey: "none", maxRetries: 0 });
});
after(async () => {
  await service[Symbol.asyncDispose]();
  await folder[Symbol.asyncDispose]();
  await outside[Symbol.asyncDispose]();
});

describe("the openai package", () => {
  test("completes several prompts at once as PyTorch does, with log-probabilities of prompts and answers", async () => {
    const { choices, usage } = await client.completions.create({
      ...greedy,
      prompt: judge.completions.map(({ prompt }) => prompt),
      max_tokens: 40,
      logprobs: 2,
      echo: true,
    });
    assert.equal(choices.length, judge.completions.length);
    for (const [i, expected] of judge.completions.entries()) {
      const { text, logprobs, finish_reason } = choices[i] ?? {};
      assert.equal(text, expected.prompt + expected.text);
      assert.equal(finish_reason, "length");
      near(logprobs?.token_logprobs, [...expected.promptLogprobs, ...expected.logprobs]);
      assert.equal(logprobs?.tokens?.length, logprobs?.text_offset?.length);
      for (const [position, table] of logprobs?.top_logprobs?.entries() ?? []) {
        const own = logprobs?.token_logprobs?.[position];
        assert.ok(
          position === 0 || (own != null && Object.values(table ?? {}).includes(own)),
          `alternatives at ${position}`,
        );
      }
    }
    const prompts = judge.completions.reduce((sum, { promptIds }) => sum + promptIds.length, 0);
    assert.deepEqual([usage?.prompt_tokens, usage?.completion_tokens], [prompts, 120]);
    assert.equal(usage?.total_tokens, prompts + 120);
  });

  test("streams the same text in pieces of whole characters, with usage last", async () => {
    const [, , expected] = judge.completions;
    const stream = await client.completions.create({
      ...greedy,
      prompt: expected?.prompt ?? "",
      max_tokens: 40,
      stream: true,
      stream_options: { include_usage: true },
    });
    let text = "";
    const ids = new Set<string>();
    let usage: OpenAI.CompletionUsage | undefined;
    const reasons: string[] = [];
    for await (const chunk of stream) {
      ids.add(chunk.id);
      assert.ok(!usage, "usage comes last");
      usage = chunk.usage ?? undefined;
      assert.doesNotMatch(chunk.choices[0]?.text ?? "", /\ufffd/);
      text += chunk.choices[0]?.text ?? "";
      if (chunk.choices[0]?.finish_reason) reasons.push(chunk.choices[0].finish_reason);
    }
    assert.equal(text, expected?.text);
    assert.deepEqual([ids.size, reasons], [1, ["length"]]);
    assert.deepEqual([usage?.prompt_tokens, usage?.completion_tokens], [expected?.promptIds.length, 40]);
  });

  test("chats through the model's own template as PyTorch does, whole and streamed", async () => {
    const { messages, text, logprobs, promptIds } = judge.chat;
    const ask = { ...greedy, messages, max_completion_tokens: 30, logprobs: true, top_logprobs: 3 };
    const whole = await client.chat.completions.create(ask);
    const [choice] = whole.choices;
    assert.deepEqual(
      [choice?.message.role, choice?.message.content, choice?.finish_reason],
      ["assistant", text, "length"],
    );
    assert.equal(whole.usage?.prompt_tokens, promptIds.length);
    const content = choice?.logprobs?.content ?? [];
    near(
      content.map(({ logprob }) => logprob),
      logprobs,
    );
    assert.equal(Buffer.concat(content.map(({ bytes }) => Buffer.from(bytes ?? []))).toString(), text);
    for (const { token, logprob, top_logprobs } of content) {
      assert.equal(top_logprobs.length, 3);
      assert.deepEqual(
        [top_logprobs[0]?.token, top_logprobs[0]?.logprob],
        [token, logprob],
        "greedy takes the likeliest",
      );
    }
    const final = await client.chat.completions.stream(ask).finalChatCompletion();
    assert.equal(final.choices[0]?.message.content, text);
    near(
      final.choices[0]?.logprobs?.content?.map(({ logprob }) => logprob),
      logprobs,
    );
  });

  test("gets n different choices, which a seed reproduces", async () => {
    const ask = { model, prompt: "She said", max_tokens: 12, n: 4, temperature: 1, seed: 11 };
    const [first, again] = await Promise.all([client.completions.create(ask), client.completions.create(ask)]);
    const texts = first.choices.map(({ text }) => text);
    assert.deepEqual(
      texts,
      again.choices.map(({ text }) => text),
    );
    assert.equal(new Set(texts).size, 4);
    assert.equal(first.usage?.completion_tokens, 48);
    const other = await client.completions.create({ ...ask, seed: 12 });
    assert.notDeepEqual(
      texts,
      other.choices.map(({ text }) => text),
    );
  });

  test("stops before a stop string, which no stream ever shows", async () => {
    const [expected] = judge.completions;
    assert.ok(expected);
    // Stops within a token, across tokens and across a line break.
    for (const stop of ["before", " was a lo", 'open.\n\n"I', "\n"]) {
      assert.ok(expected.text.includes(stop), stop);
      const whole = expected.text.slice(0, expected.text.indexOf(stop));
      const ask: OpenAI.CompletionCreateParamsNonStreaming = {
        ...greedy,
        prompt: expected.prompt,
        max_tokens: 40,
        stop: [stop, "never there"],
      };
      const { choices } = await client.completions.create(ask);
      assert.deepEqual([choices[0]?.text, choices[0]?.finish_reason], [whole, "stop"]);
      let text = "";
      for await (const chunk of await client.completions.create({ ...ask, stream: true }))
        text += chunk.choices[0]?.text ?? "";
      assert.equal(text, whole);
    }
    await service.assertIdle();
  });

  test("follows logit_bias and penalties into the real sampler", async () => {
    const [expected] = judge.completions;
    const banned = expected?.ids[0] ?? 0;
    const ask = { ...greedy, prompt: expected?.prompt ?? "", max_tokens: 8, return_token_ids: true };
    const ids = async (more: object): Promise<readonly number[]> =>
      only(await complete(service.url, { ...ask, ...more })).token_ids ?? [];
    assert.deepEqual(await ids({}), expected?.ids.slice(0, 8));
    assert.ok(!(await ids({ logit_bias: { [banned]: -100 } })).includes(banned));
    assert.deepEqual(await ids({ logit_bias: { 77: 100 } }), Array(8).fill(77));
    const repeated = await ids({ max_tokens: 40 });
    const varied = await ids({ max_tokens: 40, frequency_penalty: 2 });
    assert.ok(new Set(varied).size > new Set(repeated).size, "a penalty makes it repeat itself less");
  });

  test("gets errors with both numbers, and unknown models as the package's own classes", async () => {
    const tooLong = client.completions.create({ model, prompt: "word ".repeat(200), max_tokens: 5 });
    await assert.rejects(tooLong, (error) => {
      assert.ok(error instanceof BadRequestError);
      assert.match(error.message, /context is 128 tokens, but \d+ were asked for/);
      return error.code === "context_length_exceeded";
    });
    await assert.rejects(
      client.chat.completions.create({ model: "nobody", messages: judge.chat.messages }),
      NotFoundError,
    );
  });
});

test("a ws client has many requests on one socket, each with its own answer, and cancels one", async () => {
  using socket = await SocketClient.open(service.url);
  const ask = { ...greedy, max_tokens: 40, return_token_ids: true };
  const texts = (frames: readonly Frame[]): string =>
    frames
      .flatMap(({ type, data }) => (type === "chunk" ? (data?.choices ?? []) : []))
      .map(({ text }) => text)
      .join("");
  const running = judge.completions.map(({ prompt }, i) => socket.ask(`r${i}`, { ...ask, prompt }));
  const endless = socket.ask("endless", { ...ask, prompt: "On", max_tokens: 120, ignore_eos: true }, (frame) => {
    if (frame.type === "chunk" && frame.data?.choices[0]?.text) socket.cancel("endless");
  });
  const chat = socket.ask(
    "chat",
    { ...greedy, messages: judge.chat.messages, max_tokens: 30 },
    undefined,
    "chat.completions",
  );
  for (const [i, frames] of (await Promise.all(running)).entries()) {
    const expected = judge.completions[i];
    assert.deepEqual([texts(frames), frameTokens(frames)], [expected?.text, expected?.ids]);
    const { type, data } = frames.at(-1) ?? {};
    assert.deepEqual([type, data?.usage?.completion_tokens, data?.lorikeet?.adapter], ["done", 40, null]);
  }
  assert.equal((await chat).at(-1)?.type, "done");
  assert.equal((await endless).at(-1)?.error?.code, "cancelled");
  await service.assertIdle();
});

test("vLLM's calls load, replace and unload an adapter, which serves at once", async () => {
  const { url } = service;
  const load = async (body: object): Promise<[number, string]> => {
    const response = await post(url, "/v1/load_lora_adapter", body);
    return [response.status, await response.text()];
  };
  const answer = async (): Promise<string | undefined> => {
    const { choices } = await client.completions.create({ ...greedy, model: "sql", prompt: "It was", max_tokens: 8 });
    return choices[0]?.text;
  };
  const path = join(outside.path, "one");
  const { text: base } =
    (await client.completions.create({ ...greedy, prompt: "It was", max_tokens: 8 })).choices[0] ?? {};
  const success = "Success: LoRA adapter 'sql' added successfully.";
  assert.deepEqual(await load({ lora_name: "sql", lora_path: path }), [200, success]);
  const first = await answer();
  assert.notEqual(first, base);
  assert.equal((await client.models.retrieve("sql")).object, "model");
  assert.equal((await load({ lora_name: "sql", lora_path: path }))[0], 400);
  // The folder may change or go: the server has its own copy.
  await cp(join(outside.path, "two"), path, { recursive: true });
  assert.equal(await answer(), first);
  assert.deepEqual(await load({ lora_name: "sql", lora_path: path, load_inplace: true }), [200, success]);
  const second = await answer();
  assert.equal(new Set([base, first, second]).size, 3);
  const unloaded = await post(url, "/v1/unload_lora_adapter", { lora_name: "sql" });
  assert.deepEqual(
    [unloaded.status, await unloaded.text()],
    [200, "Success: LoRA adapter 'sql' removed successfully."],
  );
  await assert.rejects(answer(), NotFoundError);
  assert.equal((await load({ lora_name: "x", lora_path: "/etc" }))[0], 404, "only below --lora-path-root");
});
