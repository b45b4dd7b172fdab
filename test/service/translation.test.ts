/** A translation model on a running server: every route that answers with text, adapters, limits and faults. */

import assert from "node:assert/strict";
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { readGenerationRules } from "../../src/model/task/generation-rules.js";
import { complete, only, post, put, scrape, stream, tokensOf } from "../support/client.js";
import { adaptersFolder, openService, type RunningService } from "../support/service.js";
import { readExpectedTensors } from "../support/task-models.js";
import { translationAdapters, translationModel } from "../support/translation-model.js";

const temporary = mkdtempSync(join(tmpdir(), "lorikeet-translation-"));
/** One server for several tests: each start tries every graph. */
const adapters = await adaptersFolder({ formal: join(translationModel, "adapters", "attn-r8") });
const shared = await openService({ model: translationModel, adapters: adapters.path });
after(async () => {
  await shared[Symbol.asyncDispose]();
  await adapters[Symbol.asyncDispose]();
  rmSync(temporary, { recursive: true });
});

const texts: readonly string[] = JSON.parse(readFileSync(join(translationModel, "texts.json"), "utf8")).map(
  ({ text }: { text: string }) => text,
);
const [first = "", second = ""] = texts;

type Translations = { readonly translation_text: string }[];

async function translate({ url }: RunningService, path: string, body: object): Promise<Translations> {
  const response = await post(url, path, body);
  const answer = (await response.json()) as Translations & { error?: string };
  assert.equal(response.status, 200, answer.error);
  return answer;
}

test("rows with every uploaded adapter and with none, sent together, have PEFT's tokens", async () => {
  const service = shared;
  const { url } = service;
  for (const name of translationAdapters) {
    assert.equal((await put(url, name, join(translationModel, "adapters", name))).outcome, "created");
  }
  const base = await readExpectedTensors("marian");
  const [ids = [], mask = [], greedyIds = []] = ["input_ids", "attention_mask", "greedy_ids"].map((name) =>
    Array.from(base.get(name)?.data as BigInt64Array, Number),
  );
  const length = ids.length / 4;
  const expected = new Map([["marian", greedyIds]]);
  for (const name of translationAdapters) {
    const own = await readExpectedTensors(join("marian", "adapters", name));
    expected.set(name, Array.from(own.get("greedy_ids")?.data as BigInt64Array, Number));
  }
  const asked = [0, 1, 2, 3].flatMap((row) => [...expected.keys()].map((model) => ({ model, row })));
  const rules = { max_tokens: 16, ignore_eos: true, return_token_ids: true };
  const answers = await Promise.all(
    asked.map(({ model, row }) => {
      const prompt = ids.slice(row * length, (row + 1) * length).filter((_, i) => mask[row * length + i] === 1);
      return row % 2 === 0
        ? complete(url, { model, prompt, ...rules }).then((answer) => only(answer).token_ids)
        : tokensOf(stream(url, { model, prompt, ...rules }));
    }),
  );
  for (const [i, { model, row }] of asked.entries()) {
    assert.deepEqual(answers[i], expected.get(model)?.slice(row * 17 + 1, (row + 1) * 17), `${model}, row ${row}`);
  }
  const { data } = (await (await fetch(`${url}/v1/models`)).json()) as {
    data: readonly { max_output_tokens: number }[];
  };
  assert.deepEqual([...new Set(data.map((listed) => listed.max_output_tokens))], [48]);
  const metrics = await scrape(url);
  const generated = [...metrics].filter(([name]) => /^lorikeet_tokens_total\{.*kind="completion"/.test(name));
  assert.equal(
    generated.reduce((sum, [, count]) => sum + count, 0),
    16 * asked.length,
  );
  await service.assertIdle();
});

test("Hugging Face's pipelines answer each text by its own, by the base and by an adapter", async () => {
  const service = shared;
  const { url } = service;
  const parameters = { max_new_tokens: 12 };
  const both = await translate(service, "/models/marian", { inputs: [first, second], parameters });
  assert.equal(both.length, 2);
  const alone = await translate(service, "/hf-inference/models/marian", { inputs: second, parameters });
  assert.deepEqual(alone, [both[1]]);
  const inner = { generate_parameters: parameters, truncation: "do_not_truncate" };
  const named = "/models/marian/pipeline/translation";
  assert.deepEqual(await translate(service, named, { inputs: first, parameters: inner }), [both[0]]);
  const adapted = await translate(service, "/models/formal", { inputs: first, parameters });
  assert.notDeepEqual(adapted, [both[0]]);
  const completed = await complete(url, { model: "formal", prompt: first, max_tokens: 12 });
  assert.deepEqual([{ translation_text: only(completed).text }], adapted);
  const other = await post(url, "/models/marian/pipeline/summarization", { inputs: first, parameters });
  assert.deepEqual(await other.json(), [{ summary_text: both[0]?.translation_text }]);
  const text = await post(url, "/models/marian/pipeline/text2text-generation", { inputs: first, parameters });
  assert.deepEqual(await text.json(), [{ generated_text: both[0]?.translation_text }]);
  const streamed = await (await post(url, "/models/marian", { inputs: first, parameters, stream: true })).text();
  const parts = [...streamed.matchAll(/^data: (\{.*\})$/gm)].map(([, data = ""]) => JSON.parse(data));
  assert.equal(parts.map((part) => part.translation_text).join(""), both[0]?.translation_text);
  await service.assertIdle();
});

test("answers are greedy unless a request samples, and a seed repeats them", async () => {
  const service = shared;
  const { url } = service;
  const greedily = only(await complete(url, { prompt: first, max_tokens: 12 }));
  assert.deepEqual(only(await complete(url, { prompt: first, max_tokens: 12, temperature: 0 })).text, greedily.text);
  const sampling = { do_sample: true, temperature: 2, max_new_tokens: 12 };
  const sampled = (seed: number) =>
    translate(service, "/models/marian", { inputs: first, parameters: { ...sampling, seed } });
  const [one, again, other] = await Promise.all([sampled(1), sampled(1), sampled(2)]);
  assert.deepEqual(one, again);
  assert.notDeepEqual(one, other);
  const unbounded = only(await complete(url, { prompt: first }));
  assert.ok(unbounded.finish_reason === "stop" || unbounded.text.length > greedily.text.length);
  await service.assertIdle();
});

test("repeated tokens of an answer are penalized as in transformers, whatever the source has", async () => {
  // generate(repetition_penalty=1.5) of transformers
  const wanted = [159, 95, 63, 189, 108, 33, 145, 190, 173, 45, 71, 143];
  const rules = { max_tokens: 12, repetition_penalty: 1.5, return_token_ids: true };
  const answer = only(await complete(shared.url, { prompt: [3, 12, 109, 50, 0], ...rules }));
  assert.deepEqual(answer.token_ids, wanted);
});

test("bodies that do not fit the model are refused with what is allowed", async () => {
  const service = shared;
  const { url } = service;
  const long = "the film ".repeat(60);
  const cases: readonly (readonly [string, object, number, string, RegExp])[] = [
    [
      "/models/marian",
      { inputs: long },
      400,
      "context_length_exceeded",
      /`inputs` has \d+ tokens; the model reads at most 48/,
    ],
    ["/models/marian", { inputs: [] }, 400, "invalid_value", /`inputs` must be one or a list/],
    [
      "/models/marian",
      { inputs: first, parameters: { num_beams: 4 } },
      400,
      "unsupported_parameter",
      /num_beams.*only 1/,
    ],
    [
      "/models/marian",
      { inputs: first, parameters: { tgt_lang: "de" } },
      400,
      "unsupported_parameter",
      /`src_lang` and `tgt_lang` are not supported: the model's files name no languages to choose from/,
    ],
    ["/models/marian", { inputs: first, parameters: { max_new_tokens: 49 } }, 400, "invalid_value", /from 1 to 48/],
    ["/models/marian/pipeline/fill-mask", { inputs: first }, 422, "model_unsupported", /"translation"/],
    ["/models/none", { inputs: first }, 404, "model_not_found", /none/],
    ["/v1/completions", { prompt: long }, 400, "context_length_exceeded", /reads at most 48/],
    ["/v1/completions", { prompt: first, echo: true }, 400, "unsupported_parameter", /`echo` is not supported/],
    ["/v1/completions", { prompt: first, prompt_logprobs: 1 }, 400, "unsupported_parameter", /prompt_logprobs/],
    [
      "/v1/chat/completions",
      { messages: [{ role: "user", content: first }] },
      400,
      "chat_template_missing",
      /completions/,
    ],
  ];
  for (const [path, body, status, code, message] of cases) {
    const response = await post(url, path, body);
    const answer = (await response.json()) as { error: string | { message: string; code: string }; code?: string };
    const found = typeof answer.error === "string" ? { message: answer.error, code: answer.code } : answer.error;
    assert.deepEqual([response.status, found.code], [status, code], `${path} ${JSON.stringify(body).slice(0, 80)}`);
    assert.match(found.message, message);
  }
  const headers = { "content-type": "image/png" };
  const picture = await fetch(`${url}/models/marian`, { method: "POST", headers, body: "pixels" });
  assert.equal(picture.status, 415);
  assert.match(((await picture.json()) as { error: string }).error, /The body must be JSON/);
  const truncated = await translate(service, "/models/marian", { inputs: long, parameters: { truncation: true } });
  const longer = { inputs: long.repeat(50), parameters: { truncation: true } };
  assert.deepEqual(await translate(service, "/models/marian", longer), truncated);
  await service.assertIdle();
});

test("a generation_config.json sets the start, what is never generated and the length, and the rest is named", async () => {
  const folder = join(temporary, "rules");
  mkdirSync(folder);
  cpSync(translationModel, folder, { recursive: true });
  const rules = { decoder_start_token_id: 2, eos_token_id: [0], pad_token_id: 2, max_length: 6, num_beams: 4 };
  const write = (more: object): void =>
    writeFileSync(join(folder, "generation_config.json"), JSON.stringify({ ...rules, ...more }));
  const rule = { prompt: first, ignore_eos: true, return_token_ids: true };
  const plain = only(await complete(shared.url, { ...rule, max_tokens: 1 })).token_ids ?? [];
  write({ bad_words_ids: [[plain[0]]], forced_bos_token_id: 7, repetition_penalty: 1.5 });
  const config = JSON.parse(readFileSync(join(folder, "config.json"), "utf8"));
  const tasks = { translation_en_to_de: { prefix: "the ", max_length: 3 }, summarization: { prefix: "a " } };
  writeFileSync(join(folder, "config.json"), JSON.stringify({ ...config, task_specific_params: tasks }));
  {
    await using service = await openService({ model: folder, servedModelName: "marian" });
    const ruled = only(await complete(service.url, rule)).token_ids ?? [];
    assert.deepEqual([ruled.length, ruled[0]], [5, 7]);
    const penalized = async (repetition_penalty: number) =>
      only(await complete(service.url, { ...rule, repetition_penalty })).token_ids;
    assert.deepEqual([await penalized(1.5), new Set(ruled).size], [ruled, 5]);
    assert.notDeepEqual(await penalized(1), ruled);
    assert.ok(!ruled.includes(plain[0] ?? -1));
    const answer = async (path: string, body: object) =>
      Object.values((await translate(service, `/models/marian${path}`, body))[0] ?? {});
    const prefixed = await answer("", { inputs: `the ${second}`, parameters: { max_length: 3 } });
    assert.deepEqual(await answer("/pipeline/translation_en_to_de", { inputs: second }), prefixed);
    const [parameters, no] = [
      { src_lang: "en", tgt_lang: "de" },
      { src_lang: "de", tgt_lang: "en" },
    ];
    assert.deepEqual(await answer("", { inputs: second, parameters }), prefixed);
    const completed = await complete(service.url, { prompt: second, ...parameters, max_tokens: 2 });
    assert.deepEqual([only(completed).text], prefixed);
    const summary = await answer("/pipeline/summarization", { inputs: second });
    assert.deepEqual(summary, await answer("", { inputs: `a ${second}` }));
    const refused = await post(service.url, "/models/marian", { inputs: second, parameters: no });
    assert.match(await refused.text(), /the model translates en to de/);
    const path = "/models/marian/pipeline/translation_en_to_it";
    const unknown = await post(service.url, path, { inputs: second });
    assert.equal(unknown.status, 400);
    assert.match(await unknown.text(), /`translation_en_to_it` is not supported: the model translates en to de/);
  }
  for (const name of ["decoder_start_token_id", "bos_token_id"]) delete config[name];
  writeFileSync(join(folder, "config.json"), JSON.stringify(config));
  writeFileSync(join(folder, "generation_config.json"), "{}");
  await assert.rejects(openService({ model: folder }), /name no decoder_start_token_id/);
});

test("the settings of a generation_config.json are followed token for token", async () => {
  const folder = join(temporary, "settings");
  cpSync(translationModel, folder, { recursive: true });
  const settings = {
    ...{ decoder_start_token_id: 2, eos_token_id: [0, 63], pad_token_id: 2, max_length: 14, forced_bos_token_id: 7 },
    ...{ forced_eos_token_id: 0, min_length: 9, no_repeat_ngram_size: 2, bad_words_ids: [[95, 159], [0]] },
    ...{ begin_suppress_tokens: [159], suppress_tokens: [189], repetition_penalty: 1.1, num_beams: 1 },
  };
  writeFileSync(join(folder, "generation_config.json"), JSON.stringify(settings));
  // Where there is such a file, config.json says nothing of these.
  const config = JSON.parse(readFileSync(join(folder, "config.json"), "utf8"));
  writeFileSync(join(folder, "config.json"), JSON.stringify({ ...config, min_length: 12, num_beams: 4 }));
  assert.deepEqual((await readGenerationRules(folder)).ignored, []);
  await using service = await openService({ model: folder });
  // What transformers' generate gives, without the start and the end.
  const wanted: [prompt: number[], ids: number[], reason: string][] = [
    [[3, 12, 109, 50, 0], [7, 95, 145, 159, 159, 143, 159, 45, 159], "stop"],
    [[9, 40, 7, 0], [7, 168, 143, 168, 119, 143, 143, 187, 119, 15, 143, 160], "length"],
    [[55, 66, 77, 88, 99, 100, 0], [7, 199, 160, 36, 199, 199, 100, 199, 36, 100, 71, 199], "length"],
  ];
  const answers = wanted.map(async ([prompt, ids, reason]) => {
    const { token_ids: found, finish_reason } = only(await complete(service.url, { prompt, return_token_ids: true }));
    assert.deepEqual([found, finish_reason], [ids, reason]);
    const asked = { prompt, max_tokens: 8, return_token_ids: true };
    assert.deepEqual(only(await complete(service.url, asked)).token_ids, ids.slice(0, 7), "and an end by force");
    const free = only(await complete(service.url, { ...asked, ignore_eos: true }));
    assert.deepEqual([free.token_ids, free.finish_reason], [ids.slice(0, 8), "length"]);
  });
  await Promise.all(answers);
  const spelled = await post(service.url, "/generate", {
    inputs: first,
    parameters: { details: true, max_new_tokens: 4 },
  });
  const { details } = JSON.parse(await spelled.text());
  assert.deepEqual(details.tokens.at(-1), { id: 0, text: "</s>", logprob: 0, special: true });
  assert.deepEqual([details.generated_tokens, details.finish_reason], [4, "length"]);
  await service.assertIdle();
  writeFileSync(
    join(folder, "generation_config.json"),
    JSON.stringify({ num_beams: 2, stop_strings: ["."], encoder_no_repeat_ngram_size: 3, max_time: 2 }),
  );
  const { ignored } = await readGenerationRules(folder);
  assert.deepEqual(ignored, ["num_beams 2", "encoder_no_repeat_ngram_size 3", "max_time 2", "stop_strings"]);
  writeFileSync(join(folder, "generation_config.json"), JSON.stringify({ min_length: 9, min_new_tokens: 3 }));
  // As in transformers, whose length counts the decoder's first input.
  assert.equal((await readGenerationRules(folder)).leastLength, 4);
});

test("a source has its language's token, and an answer begins with that of its own", async () => {
  const folder = join(temporary, "languages");
  cpSync(translationModel, folder, { recursive: true });
  const tokenizer = JSON.parse(readFileSync(join(folder, "tokenizer.json"), "utf8"));
  const names = ["eng_Latn", "deu_Latn", "fra_Latn"];
  const [plain] = tokenizer.added_tokens;
  for (const [i, content] of names.entries()) tokenizer.added_tokens.push({ ...plain, id: 150 + i, content });
  const { post_processor: template } = tokenizer;
  template.special_tokens.eng_Latn = { id: "eng_Latn", ids: [150], tokens: ["eng_Latn"] };
  template.single.unshift({ SpecialToken: { id: "eng_Latn", type_id: 0 } });
  writeFileSync(join(folder, "tokenizer.json"), JSON.stringify(tokenizer));
  await using service = await openService({ model: folder, servedModelName: "marian" });
  const text = async (parameters: object, path = "") =>
    (
      await translate(service, `/models/marian${path}`, {
        inputs: first,
        parameters: { ...parameters, max_new_tokens: 6 },
      })
    )[0]?.translation_text;
  const french = await text({ src_lang: "deu_Latn", tgt_lang: "fra_Latn" });
  assert.equal(await text({}, "/pipeline/translation_deu_Latn_to_fra_Latn"), french);
  assert.notEqual(await text({ src_lang: "deu_Latn", tgt_lang: "deu_Latn" }), french);
  const fromEnglish = await text({ tgt_lang: "fra_Latn" });
  assert.notEqual(fromEnglish, french);
  assert.equal(await text({ src_lang: "eng_Latn", tgt_lang: "fra_Latn" }), fromEnglish);
  const completed = async (body: object) => only(await complete(service.url, { max_tokens: 6, ...body })).text;
  assert.equal(await completed({ prompt: first, src_lang: "deu_Latn", tgt_lang: "fra_Latn" }), french);
  assert.equal(await completed({ prompt: first, tgt_lang: "fra_Latn" }), fromEnglish);
  for (const [body, message] of [
    [{ prompt: first, tgt_lang: "french" }, /`tgt_lang` is not a language of the model, which has 3/],
    [
      { prompt: [3, 12], src_lang: "deu_Latn", tgt_lang: "fra_Latn" },
      /`src_lang` is for texts; a `prompt` of token ids/,
    ],
  ] as const) {
    const response = await post(service.url, "/v1/completions", body);
    assert.equal(response.status, 400);
    assert.match(await response.text(), message);
  }
  for (const [parameters, message] of [
    [{ tgt_lang: "french" }, /`tgt_lang` is not a language of the model, which has 3: eng_Latn, deu_Latn, fra_Latn/],
    [{ src_lang: "eng_Latn" }, /`tgt_lang` is missing; the model translates into one of 3 languages/],
    [{}, /`tgt_lang` is missing/],
  ] as const) {
    const response = await post(service.url, "/models/marian", { inputs: first, parameters });
    assert.equal(response.status, 400);
    assert.match(await response.text(), message);
  }
  await service.assertIdle();
});

test("KServe's infer gives the tokens of greedy answers, row by row, by an adapter too", async () => {
  const service = shared;
  const rows = [
    [3, 12, 109, 50, 0],
    [10, 92, 11, 0],
  ];
  const data = rows.flatMap((row) => [...row, ...Array<number>(5 - row.length).fill(2)]);
  const mask = rows.flatMap((row) => Array.from({ length: 5 }, (_, i) => (i < row.length ? 1 : 0)));
  const tensor = (name: string, values: readonly number[]) => ({
    ...{ name, shape: [2, 5], datatype: "INT64", data: values },
  });
  for (const model of ["marian", "formal"]) {
    const inputs = [tensor("input_ids", data), tensor("attention_mask", mask)];
    const response = await post(service.url, `/v2/models/${model}/infer`, { inputs });
    const [sequences] = ((await response.json()) as { outputs: { name: string; shape: number[]; data: number[] }[] })
      .outputs;
    assert.deepEqual([sequences?.name, sequences?.shape], ["sequences", [2, 48]]);
    for (const [i, prompt] of rows.entries()) {
      const answer = only(await complete(service.url, { model, prompt, max_tokens: 48, return_token_ids: true }));
      const ids = (answer.token_ids ?? []).filter((id) => id !== 0);
      const found = sequences?.data.slice(i * 48, (i + 1) * 48) ?? [];
      assert.deepEqual(found, [...ids, ...Array<number>(48 - ids.length).fill(2)], `${model}, row ${i}`);
    }
  }
  const described = await fetch(`${service.url}/v2/models/marian`);
  assert.equal(((await described.json()) as { platform: string }).platform, "onnx_onnxv1");
  const refused = await post(service.url, "/classify", { input: first });
  assert.equal(refused.status, 404);
  await service.assertIdle();
});
