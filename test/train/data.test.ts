/** What reading training data promises: every form, labels by position, faults by line, lengths, splits and digests. */
import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { gzipSync } from "node:zlib";
import { LorikeetError } from "../../src/base/errors.js";
import { loadTokenizer } from "../../src/text/tokenizer/tokenizer.js";
import type { ChatMessage, LoadedTokenizer, RenderOptions } from "../../src/text/types.js";
import { CsvFault, parseCsv } from "../../src/train/data/csv.js";
import { type DataOptions, type DataSet, loadData } from "../../src/train/data/dataset.js";
import { encodeExample, parseLabelTemplate, type TokenRow } from "../../src/train/data/encode.js";
import { forms, readExample } from "../../src/train/data/rows.js";
import { countLabels } from "../../src/train/data/shorten.js";
import { textPieces } from "../../src/train/data/text-pieces.js";
import { families, load as loadFamily } from "../text/families.js";

const folder = mkdtempSync(join(tmpdir(), "lorikeet-data-"));
let tokenizer: LoadedTokenizer;
before(async () => {
  tokenizer = (await loadTokenizer("models/bookworm-7m")) as LoadedTokenizer;
});
after(async () => {
  await tokenizer.close();
  rmSync(folder, { recursive: true });
});

let files = 0;
function put(name: string, text: string | Uint8Array): string {
  const path = join(folder, `${++files}-${name}`);
  writeFileSync(path, text);
  return path;
}

const jsonl = (...rows: unknown[]): string => rows.map((row) => `${JSON.stringify(row)}\n`).join("");

function load(path: string, options: Partial<DataOptions> = {}): Promise<DataSet> {
  return loadData({
    path,
    tokenizer,
    endId: 0,
    bosId: 0,
    labelTemplate: parseLabelTemplate("{text}\nlabel: {label}"),
    vocabSize: tokenizer.vocabSize,
    maxLength: 256,
    seed: 1,
    validationSplit: 0,
    maxEvalSamples: 500,
    wants: "rows",
    ...options,
  });
}

/** The learned parts of a row, and the rest, as text. */
function parts({ ids, trained }: TokenRow): { learned: string; given: string } {
  const take = (flag: number): string =>
    tokenizer.decode(
      [...ids].filter((_, i) => trained[i] === flag),
      { keepSpecialTokens: true },
    );
  return { learned: take(1), given: take(0) };
}

const only = ({ train }: DataSet): TokenRow => {
  assert.equal(train.length, 1);
  return train[0]?.[0] as TokenRow;
};

async function faultsOf(work: Promise<unknown>): Promise<LorikeetError> {
  const error = await work.then(
    () => assert.fail("it was accepted"),
    (cause: unknown) => cause,
  );
  assert.ok(error instanceof LorikeetError && error.code === "data_invalid", String(error));
  return error;
}

test("each row format is recognized by its fields, and the loss is on the answer", async () => {
  const cases: [unknown, string, string][] = [
    [{ prompt: "one two", completion: " three" }, " three<|endoftext|>", "one two"],
    [{ text: "fine film", label: "positive" }, " positive<|endoftext|>", "fine film\nlabel:"],
    [{ text: "fine film", label: 4, id: "x" }, " 4<|endoftext|>", "fine film\nlabel:"],
    [
      { instruction: "Say", input: "it", output: "now" },
      "now<|im_end|>",
      "<|im_start|>user\nSay\n\nit<|im_end|>\n<|im_start|>assistant\n",
    ],
    [
      {
        messages: [
          { role: "user", content: "hi" },
          { role: "assistant", content: "ho" },
        ],
      },
      "ho<|im_end|>",
      "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n",
    ],
  ];
  for (const [row, learned, given] of cases) {
    assert.deepEqual(parts(only(await load(put("a.jsonl", jsonl(row))))), { learned, given }, JSON.stringify(row));
  }
  const whole = only(await load(put("a.jsonl", jsonl({ text: "one two" }))));
  assert.equal(tokenizer.decode([...whole.ids], { keepSpecialTokens: true }), "one two<|endoftext|>");
  assert.equal(countLabels(whole), whole.ids.length - 1, "all but the first, which nothing predicts");
});

test("a chat trains every assistant turn except those of weight 0, in one row if the template only appends", async () => {
  const messages = [
    { role: "system", content: "be kind" },
    { role: "user", content: "a" },
    { role: "assistant", content: "first" },
    { role: "user", content: "b" },
    { role: "assistant", content: "second", weight: 0 },
    { role: "user", content: [{ type: "text", text: "c" }] },
    { role: "assistant", content: "third", weight: 1 },
    { role: "user", content: "unanswered" },
  ];
  const row = only(await load(put("a.jsonl", jsonl({ messages }))));
  assert.equal(parts(row).learned, "first<|im_end|>third<|im_end|>");
  assert.ok(parts(row).given.includes("second") && !parts(row).given.includes("unanswered"));
  const prompt = tokenizer.renderChat(messages.slice(0, 2) as never, { addGenerationPrompt: true });
  const ids = await tokenizer.encode(prompt, { addSpecialTokens: false });
  assert.deepEqual([...row.ids.subarray(0, row.promptLength)], ids, "the ids that the server computes");
});

/** The same tokenizer, with a template that leaves out what was answered before. */
function forgetful(): LoadedTokenizer {
  return new Proxy(tokenizer, {
    get(target, key) {
      if (key !== "renderChat") {
        const value = Reflect.get(target, key, target);
        return typeof value === "function" ? value.bind(target) : value;
      }
      return (
        messages: { role: string; content: string }[],
        { addGenerationPrompt }: { addGenerationPrompt: boolean },
      ) =>
        messages
          .map(
            ({ role, content }, i) =>
              `${role}: ${role === "assistant" && i < messages.length - 1 ? "..." : content}<|im_end|>`,
          )
          .join("") + (addGenerationPrompt ? "assistant: " : "");
    },
  });
}

test("a turn for which the template rewrites earlier ones gets its own row", async () => {
  const messages = ["q", "a", "r", "b"].map((content, i) => ({ role: i % 2 ? "assistant" : "user", content }));
  const { train } = await load(put("a.jsonl", jsonl({ messages })), { tokenizer: forgetful() });
  assert.deepEqual(
    train.map(([row]) => parts(row).learned),
    ["a<|im_end|>", "b<|im_end|>"],
  );
});

/** The same tokenizer, with a template that trims contents. */
function trimming(inner: LoadedTokenizer): LoadedTokenizer {
  return Object.create(inner, {
    renderChat: {
      value: (messages: ChatMessage[], options: RenderOptions) =>
        inner.renderChat(
          messages.map((message) => ({ ...message, content: message.content.trim() })),
          options,
        ),
    },
  });
}

test("if a template does not end turns, the model's end token follows each answer, with a warning", async () => {
  const endless = Object.create(tokenizer, {
    renderChat: {
      value: (messages: ChatMessage[], { addGenerationPrompt }: RenderOptions) =>
        messages.map(({ role, content }) => `${role}: ${content}\n`).join("") +
        (addGenerationPrompt ? "assistant:" : ""),
    },
    encode: { value: tokenizer.encode.bind(tokenizer) },
    decode: { value: tokenizer.decode.bind(tokenizer) },
    tokenText: { value: tokenizer.tokenText.bind(tokenizer) },
  });
  const messages = ["q", "a", "r", "b"].map((content, i) => ({ role: i % 2 ? "assistant" : "user", content }));
  const path = put("a.jsonl", jsonl({ messages }, { messages: messages.slice(0, 2) }));
  const { train, warnings } = await load(path, { tokenizer: endless });
  assert.deepEqual(
    train.map(([row]) => parts(row).learned),
    [" a<|endoftext|>", " b<|endoftext|>", " a<|endoftext|>"],
  );
  assert.deepEqual(warnings, [
    `The chat template writes no token that ends an answer: the model's end token "<|endoftext|>" is appended to each.`,
  ]);
  const mute = await load(path, { tokenizer: endless, endId: null });
  assert.match(mute.warnings[0] ?? "", /the adapter will not learn to stop/);
});

test("a row that contradicts itself is refused", async () => {
  const rows = [
    '{"prompt":"a","completion":" b","completion":" c"}',
    '{"messages":[{"role":"user","content":"a","content":"b"},{"role":"assistant","content":"c"}]}',
    '{"prompt":"a","completion":" b<|endoftext|> c"}',
    '{"text":"a","label":null}',
    '{"prompt":null,"completion":"a"}',
    '{"text":"a \\ud800 b"}',
    '{"messages":[{"role":"user","content":"\\udc00"},{"role":"assistant","content":"c"}]}',
    '{"instruction":"a","output":"b","functions":[{}]}',
    '{"messages":[{"role":"system","content":"a"},{"role":"assistant","content":"b"}],"system":"c"}',
    '{"instruction":"a","output":"b","history":["c"]}',
  ];
  const { faults } = await faultsOf(load(put("a.jsonl", rows.join("\n"))));
  assert.deepEqual(
    faults.map((fault) => fault.replace(/^.*?:(?=\d+: )/, "")),
    [
      '1: has the key "completion" twice',
      '2: has the key "content" twice',
      '3: has text after the end token "<|endoftext|>" in the completion',
      "4: has null as `label`",
      "5: has null as `prompt`",
      "6: has half of a surrogate pair in `text`",
      "7: has half of a surrogate pair in `messages.content`",
      "8: has `functions`, which cannot be trained on yet",
      "9: has both `system` and a system message",
      '10: must have a list of [question, answer] pairs as `history`, not "c"',
    ],
  );
  const llama = await loadFamily("llama2");
  const doubled = await faultsOf(
    load(put("b.jsonl", jsonl({ text: "<s>a" }, { prompt: "<s> a", completion: "b" })), { tokenizer: llama, bosId: 1 }),
  );
  assert.equal(doubled.faults.length, 2);
  assert.match(doubled.faults[0] ?? "", /begins with "<s>", which the tokenizer prepends to every text/);
  await llama.close();
});

test("a token that the model has no embedding for is refused with file and line", async () => {
  const path = put("a.jsonl", jsonl({ text: "plain" }, { prompt: "x", completion: " <|im_end|>" }));
  const { faults } = await faultsOf(load(path, { vocabSize: 2 }));
  assert.match(faults[1] ?? "", /:2: has the token .*, but the model has embeddings for only 2 tokens/);
});

test("other trainers' formats: ShareGPT, TRL's conversations, a system message and a history", async () => {
  const turn = (role: string, content: string) => ({ role, content });
  const chat = [turn("system", "be kind"), turn("user", "hi"), turn("assistant", "ho")];
  const [expected] = (await load(put("a.jsonl", jsonl({ messages: chat })))).train;
  const same = [
    { system: "be kind", messages: chat.slice(1) },
    {
      conversations: [
        { from: "system", value: "be kind" },
        { from: "human", value: "hi" },
        { from: "gpt", value: "ho" },
      ],
    },
    { system: "be kind", conversations: chat.slice(1) },
    { prompt: chat.slice(0, 2), completion: chat.slice(2) },
    { instruction: "hi", output: "ho", system: "be kind", input: null, history: [] },
  ];
  for (const row of same) {
    const [item] = (await load(put("b.jsonl", jsonl(row)))).train;
    assert.deepEqual([...(item?.[0].ids ?? [])], [...(expected?.[0].ids ?? [])], JSON.stringify(row));
    assert.deepEqual([...(item?.[0].trained ?? [])], [...(expected?.[0].trained ?? [])], JSON.stringify(row));
  }
  const earlier = { instruction: "c", output: "d", history: [["a", "b"]] };
  assert.equal(
    parts(only(await load(put("c.jsonl", jsonl(earlier))))).learned,
    "d<|im_end|>",
    "history is not learned",
  );
  const prompted = {
    prompt: [turn("user", "a"), turn("assistant", "b"), turn("user", "c")],
    completion: [turn("assistant", "d")],
  };
  assert.equal(parts(only(await load(put("c.jsonl", jsonl(prompted))))).learned, "d<|im_end|>");
  const pair = {
    chosen: [turn("user", "q"), turn("assistant", "good")],
    rejected: [turn("user", "q"), turn("assistant", "bad")],
  };
  const { train } = await load(put("d.jsonl", jsonl(pair)), { wants: "pairs" });
  assert.deepEqual(
    train[0]?.map((row) => parts(row).learned),
    ["good<|im_end|>", "bad<|im_end|>"],
  );
  const unknown = await faultsOf(load(put("e.jsonl", jsonl({ conversations: [{ from: "narrator", value: "x" }] }))));
  assert.match(unknown.faults[0] ?? "", /message 1 that must have a `role` out of .*, not "narrator"/);
});

test("calls are learned, and tools and results are given, as the server renders them", async () => {
  const tool = (name: string, property: string) => ({
    type: "function",
    function: { name, parameters: { type: "object", properties: { [property]: { type: "string" } } } },
  });
  const call = (name: string, args: unknown) => ({ id: "c1", type: "function", function: { name, arguments: args } });
  const messages = [
    { role: "user", content: "Ring for Mary." },
    { role: "assistant", content: null, tool_calls: [call("ring", '{"who":"Mary"}')] },
    { role: "tool", tool_call_id: "c1", content: "She comes." },
    { role: "assistant", content: "Mary comes." },
  ];
  const row = { messages, tools: [tool("ring", "who"), tool("light", "room")] };
  const { learned, given } = parts(only(await load(put("a.jsonl", jsonl(row)))));
  const spelled = '<tool_call>\n{"name": "ring", "arguments": {"who": "Mary"}}\n</tool_call><|im_end|>';
  assert.equal(learned, `${spelled}Mary comes.<|im_end|>`);
  assert.match(given, /^<\|im_start\|>tools\nring\(who\)\nlight\(room\)\n<\|im_end\|>\n<\|im_start\|>user/);
  assert.match(given, /<\|im_start\|>tool\nShe comes\.<\|im_end\|>/);
  const text = { messages: messages.slice(0, 2), tools: JSON.stringify([tool("ring", "who")]) };
  assert.equal(parts(only(await load(put("b.jsonl", jsonl(text))))).learned, spelled);
  const objects = {
    ...text,
    messages: [messages[0], { role: "assistant", tool_calls: [call("ring", { who: "Mary" })] }],
  };
  assert.equal(parts(only(await load(put("c.jsonl", jsonl(objects))))).learned, spelled);
  const untrained = { ...row, messages: messages.map((each, i) => (i === 1 ? { ...each, weight: 0 } : each)) };
  assert.equal(parts(only(await load(put("d.jsonl", jsonl(untrained))))).learned, "Mary comes.<|im_end|>");

  for (const [fields, found] of [
    [{ tools: [{ name: "" }] }, /`tools` has an item 1 that is not/],
    [{ tools: "none" }, /`tools` must be a list/],
    [{ messages: [{ role: "assistant", tool_calls: [call("ring", "{")] }] }, /a call 1 that is not/],
    [{ messages: [{ role: "user", content: "x", tool_calls: [call("ring", "{}")] }] }, /`tool_calls`, which cannot/],
    [{ messages: [messages[0], { role: "assistant", content: "a", reasoning_content: "b" }] }, /`reasoning_content`/],
    [
      { messages: [messages[0], { role: "assistant", content: "a", reasoning_content: 1 }] },
      /a text as `reasoning_content`/,
    ],
  ] as const) {
    assert.match((await faultsOf(load(put("e.jsonl", jsonl({ ...row, ...fields }))))).faults[0] ?? "", found);
  }
});

test("every format holds the same rows: JSON arrays, tabs, gzip and Parquet", async () => {
  const rows = [
    { prompt: "one\ttwo", completion: ' say "three"' },
    { prompt: "naïve ", completion: "日本" },
  ];
  const ids = async (path: string): Promise<unknown> =>
    (await load(path)).train.map(([row]) => [...row.ids, row.place.line]);
  const expected = await ids(put("a.jsonl", jsonl(...rows)));
  const lines = (first: number, second: number) =>
    (expected as number[][]).map((row, i) => [...row.slice(0, -1), i === 0 ? first : second]);
  assert.deepEqual(await ids(put("a.json", JSON.stringify(rows))), lines(1, 1));
  assert.deepEqual(await ids(put("a.json", JSON.stringify(rows, null, 2))), lines(2, 6));
  assert.deepEqual(await ids(put("lines.json", jsonl(...rows))), expected);
  assert.deepEqual(await ids(put("a.jsonl.gz", gzipSync(jsonl(...rows)))), expected);
  const csv = 'prompt,completion\n"one\ttwo"," say ""three"""\nnaïve ,日本\n';
  assert.deepEqual(await ids(put("a.csv.gz", gzipSync(csv))), lines(2, 3));
  assert.deepEqual(await ids("test/fixtures/train/rows.parquet"), lines(1, 2));
  const tsv = put("a.tsv", 'text\tlabel\n"a ""quoted"" one"\tgood\nraw "quotes" inside\tbad\n"open\tbad\n');
  assert.deepEqual(
    (await load(tsv)).train.map(([row]) => row.source?.text),
    ['a "quoted" one', 'raw "quotes" inside', '"open'],
  );
  for (const [name, text, reason] of [
    ["a.json", '[{"text":"a"},\n5]', /:2: is not a JSON object, but a number/],
    [
      "a.jsonl",
      '[{"text":"a"}]',
      /:1: is not a JSON object, but an array; a file that is an array of rows must be named \.json/,
    ],
    [
      "a.json",
      '{\n "data": [\n  {"text":"a"}\n ]\n}',
      /:1: has the field data; expected for example \{"prompt":"Where is it\?","completion":" On its way\."\}$/,
    ],
    ["a.json", '\n{\n "text": "a",\n "text": "b"\n}', /:2: has the key "text" twice/],
    [
      "a.jsonl",
      '{"messages":[{"role":"user","content":null}]}',
      /message 1 that must have a `content` .* parts, not null$/,
    ],
    ["a.json", '[{"text":"a"},\n{"text":"b"', /:2: ends before the array does/],
    ["a.json", '[{"text":"a"}]\n[]', /:2: follows the end of the array/],
    ["a.json", '[\n{"text":"a","text":"b"}]', /:2: has the key "text" twice/],
    ["a.json", '[{"text":"a"} {"text":"b"}]', /:1: is not JSON/],
    ["a.jsonl.gz", "plain", /:1: is not a complete gzip file/],
    ["a.parquet", "PAR1 and nothing", /:1: is not a readable Parquet file/],
  ] as const) {
    assert.match((await faultsOf(load(put(name, text)))).faults[0] ?? "", reason, text);
  }
});

test("one object over several lines is a row, and empty fields are ignored", async () => {
  const row = { prompt: "one", completion: " two", tools: "", functions: [], images: null };
  assert.equal((await load(put("a.json", JSON.stringify(row, null, 2)))).train.length, 1);
  assert.equal((await load(put("a.jsonl", jsonl({ ...row, tools: "[]" })))).train.length, 1);
  const { faults } = await faultsOf(load(put("a.jsonl", jsonl({ ...row, tools: '[{"name":"x"}]' }))));
  assert.match(faults[0] ?? "", /has `tools`, which only a chat in `messages` or a pair can be trained with/);
});

test("an incomplete set of shards is refused", async () => {
  const data = mkdtempSync(join(folder, "shards-"));
  const write = (name: string) => writeFileSync(join(data, name), jsonl({ text: name }));
  write("train-00000-of-00003.jsonl");
  assert.match((await faultsOf(load(data))).message, /has 1 of the 3 shards for train: the others are missing/);
  write("train-00002-of-00003.jsonl");
  assert.match((await faultsOf(load(data))).message, /has 2 of the 3 shards for train/);
  write("train-00001-of-00003-0a1b2c.jsonl");
  assert.equal((await load(data)).train.length, 3);
});

test("a folder: dev is validation, shards are one split, and ignored files are named", async () => {
  const data = mkdtempSync(join(folder, "split-"));
  const write = (name: string, ...texts: string[]) =>
    writeFileSync(join(data, name), jsonl(...texts.map((text) => ({ text }))));
  write("train-00001-of-00002.jsonl", "b");
  write("train-00000-of-00002.jsonl", "a");
  write("dev.jsonl", "c");
  write("extra.jsonl", "d");
  writeFileSync(join(data, "README.md"), "x");
  const { train, valid, warnings } = await load(data);
  assert.deepEqual(
    train.map(([row]) => tokenizer.decode([...row.ids])),
    ["a", "b"],
  );
  assert.equal(valid.length, 1);
  assert.deepEqual(warnings, ["Ignored, because not named train, valid, dev or test: extra.jsonl."]);
  write("train.jsonl", "e");
  const { message } = await faultsOf(load(data));
  assert.match(message, /has 3 files for train, which are not the shards of one set: train-00000/);
});

test("a folder in the hub's layout is read from its data folder, and files in other folders are named", async () => {
  const hub = mkdtempSync(join(folder, "hub-"));
  const write = (name: string) => writeFileSync(join(hub, name), jsonl({ text: name }));
  for (const name of ["data", "de", "fr"]) mkdirSync(join(hub, name));
  write("de/train.jsonl");
  write("fr/test.jsonl");
  assert.match((await faultsOf(load(hub))).message, /; such files are in de, fr: give that folder\.$/);
  write("data/train-00000-of-00001.jsonl");
  write("data/notes.jsonl");
  const below = await load(hub);
  assert.equal(below.train.length, 1);
  assert.deepEqual(below.warnings, ["Ignored, because not named train, valid, dev or test: notes.jsonl."]);
  write("data/train.csv");
  assert.match((await faultsOf(load(hub))).message, /data has 2 files for train, which are not the shards of one set/);
  write("train.jsonl");
  assert.deepEqual(
    (await load(hub)).files.map(({ path }) => path),
    [join(hub, "train.jsonl")],
  );
});

test("a chat that became several rows is on one side of the split", async () => {
  const chats = Array.from({ length: 20 }, (_, i) => ({
    messages: [0, 1, 2, 3].map((turn) => ({ role: turn % 2 ? "assistant" : "user", content: `say ${i} ${turn}` })),
  }));
  const { train, valid } = await load(put("a.jsonl", jsonl(...chats)), {
    tokenizer: forgetful(),
    validationSplit: 0.25,
  });
  assert.equal(valid.length, 10);
  const lines = new Set(valid.map(([row]) => row.place.line));
  assert.ok(train.every(([row]) => !lines.has(row.place.line)));
});

test("an over-long chat keeps its last answer, and learns no answer whose start is gone", async () => {
  const messages = Array.from({ length: 12 }, (_, i) => ({
    role: i % 2 ? "assistant" : "user",
    content: `word number ${i} of a long talk`,
  }));
  const row = only(await load(put("a.jsonl", jsonl({ messages })), { maxLength: 40 }));
  assert.equal(row.ids.length, 40);
  assert.ok(parts(row).learned.endsWith("word number 11 of a long talk<|im_end|>"));
  for (const answer of parts(row).learned.split("<|im_end|>").slice(0, -1))
    assert.match(answer, /^word number \d+ of a long talk$/);
});

test("an over-long row that is learned with its prompt stays learned from its first token on", async () => {
  const path = put("a.jsonl", jsonl({ prompt: "word ".repeat(100), completion: " answer" }));
  const row = only(await load(path, { maxLength: 16, trainOn: "all" }));
  assert.deepEqual([row.ids.length, countLabels(row)], [16, 15]);
});

test("both rows of an over-long pair keep the same prompt", async () => {
  const pair = { prompt: "word ".repeat(60), chosen: " short", rejected: ` ${"long ".repeat(8)}answer` };
  const [item] = (await load(put("a.jsonl", jsonl(pair)), { wants: "pairs", maxLength: 24 })).train;
  assert.ok(item?.[1]);
  const [chosen, rejected] = item;
  assert.equal(parts(chosen).given, parts(rejected).given);
  assert.equal(parts(chosen).learned, " short<|endoftext|>");
  assert.ok(parts(rejected).learned.endsWith("answer<|endoftext|>") && rejected.ids.length === 24);
});

test("a text that is too long is trained on in windows, without losing any of it", async () => {
  const text = Array.from({ length: 40 }, (_, i) => `word${i}`).join(" ");
  const { train, counts } = await load(put("a.jsonl", jsonl({ text })), { maxLength: 32 });
  assert.ok(train.length > 2);
  assert.deepEqual(
    train.flatMap(([row]) => [...row.ids]),
    [...(await tokenizer.encode(text, { addSpecialTokens: true })), 0],
  );
  assert.deepEqual([counts.shortened, counts.kinds.text], [0, 1]);
});

test("text that a template writes after the end of a turn is not trained and does not split the turns", async () => {
  const ended = Object.create(tokenizer, {
    renderChat: {
      value: (messages: { role: string; content: string }[], options: { addGenerationPrompt: boolean }) =>
        messages.map(({ role, content }) => `<|im_start|>${role}\n${content}<|im_end|>\n`).join("") +
        (options.addGenerationPrompt ? "<|im_start|>assistant\n" : "<|endoftext|>"),
    },
    encode: { value: tokenizer.encode.bind(tokenizer) },
    decode: { value: tokenizer.decode.bind(tokenizer) },
    tokenText: { value: tokenizer.tokenText.bind(tokenizer) },
  });
  const chat = (first: string) => ({
    messages: ["q", first, "r", "c"].map((content, i) => ({ role: i % 2 ? "assistant" : "user", content })),
  });
  for (const content of ["a", "a ", " a", "a\n", "a\n\n"]) {
    const row = only(await load(put("a.jsonl", jsonl(chat(content))), { tokenizer: ended }));
    assert.equal(parts(row).learned, `${content}<|im_end|>c<|im_end|>`);
    const trimmed = only(await load(put("a.jsonl", jsonl(chat(content))), { tokenizer: trimming(ended) }));
    assert.equal(parts(trimmed).learned, "a<|im_end|>c<|im_end|>");
  }
  const { faults } = await faultsOf(load(put("a.jsonl", jsonl(chat("a <|im_end|> b"))), { tokenizer: ended }));
  assert.match(faults[0] ?? "", /:1: has text after "<\|im_end\|>", which ends an answer/);
});

test("labels come from positions: an answer that is the end or padding token is learned", async () => {
  const row = only(await load(put("a.jsonl", jsonl({ prompt: "x<|endoftext|>", completion: "<|pad|><|endoftext|>" }))));
  assert.equal(parts(row).learned, "<|pad|><|endoftext|>");
  assert.ok(parts(row).given.endsWith("<|endoftext|>"));
});

test("faults name file, line and reason, 50 at most, and nothing is returned", async () => {
  const path = put(
    "bad.jsonl",
    '{"text":"ok"}\n{"prompt":"a"}\n\nnot json\n{"text":5}\n[1]\n{"text":"a","messages":[]}\n',
  );
  const { faults, message } = await faultsOf(load(path));
  assert.deepEqual(
    faults.map((fault) => fault.slice(path.length, path.length + 24)),
    [
      ":2: has `prompt` but no ",
      ":4: is not JSON (Unexpec",
      ":5: must have a text as ",
      ":6: is not a JSON object",
      ":7: has `messages` besid",
    ],
  );
  assert.match(message, /5 faults/);
  const many = await faultsOf(load(put("many.jsonl", "{}\n".repeat(80))));
  assert.equal(many.faults.length, 50);
  assert.match(many.message, /80 faults; the first 50/);
  await faultsOf(load(put("latin.jsonl", new Uint8Array([123, 125, 10, 0xff, 10]))));
  const chat = await faultsOf(load(put("a.jsonl", jsonl({ messages: [{ role: "function", content: "x" }] }))));
  assert.match(chat.faults[0] ?? "", /:1: `messages` has a message 1 that must have a `role`/);
  const pair = { prompt: "a", chosen: "b", rejected: "c" };
  assert.match((await faultsOf(load(put("p.jsonl", jsonl(pair))))).faults[0] ?? "", /--method dpo/);
  const deep = `{"text":${"[".repeat(100_000)}${"]".repeat(100_000)}}\n{"text":null}\n{}\n`;
  const odd = await faultsOf(load(put("odd.jsonl", deep)));
  assert.deepEqual(
    odd.faults.map((fault) => fault.replace(/^.*?:(?=\d)/, "").slice(0, 40)),
    [
      "1: must have a text as `text`, not a list",
      "2: has null as `text`",
      '3: has no field; expected for example {"',
    ].map((text) => text.slice(0, 40)),
  );
  await faultsOf(load(join(folder, "missing.jsonl")));
  await faultsOf(load(folder));
});

test("a row without a form is told what it lacks, and shown one row of the form that it resembles", async () => {
  const { faults } = await faultsOf(
    load(
      put(
        "forms.jsonl",
        jsonl(
          { prompt: "a" },
          { prompt: "a", completon: "b" },
          { prompt: "a", chosen: "b" },
          { instruction: "a", input: "b" },
          { question: "a", answer: "b" },
          { massages: [] },
          { text: "a", messages: [] },
        ),
      ),
    ),
  );
  assert.deepEqual(
    faults.map((fault) => fault.replace(/^.*?:(?=\d)/, "")),
    [
      '1: has `prompt` but no `completion`; expected {"prompt":"Where is it?","completion":" On its way."}',
      '2: has `completon` for `completion`; expected {"prompt":"Where is it?","completion":" On its way."}',
      '3: has `prompt`, `chosen` but no `rejected`; expected {"prompt":"Where is it?","chosen":" On its way.","rejected":" No idea."}',
      '4: has `instruction` but no `output`; expected {"instruction":"Add.","input":"1 and 2","output":"3"}',
      '5: has the fields question, answer; expected for example {"prompt":"Where is it?","completion":" On its way."}',
      '6: has `massages` for `messages`; expected {"messages":[{"role":"user","content":"Where is it?"},{"role":"assistant","content":"On its way."}]}',
      '7: has `messages` beside `text`, which no form has; expected {"text":"It was a dark night."}',
    ],
  );
});

test("every example that a message shows is a row that can be read", () => {
  for (const { example, required } of forms) {
    assert.ok(required.every((name) => name in example));
    readExample(example);
  }
});

test("a file without rows is reported as empty, with what it should contain", async () => {
  for (const [name, content, words] of [
    [
      "empty.jsonl",
      "\n",
      /empty\.jsonl holds no row\. Each line is a row, such as \{"prompt":"Where is it\?","completion":" On its way\."\}\.$/,
    ],
    ["empty.json", "[]", /holds no row\. It is a list of rows, such as \[\{"prompt"/],
    [
      "empty.csv",
      "prompt,completion\n",
      /holds no row\. The first line names the columns, such as prompt,completion, and/,
    ],
    ["empty.txt", "", /empty\.txt holds no text\.$/],
  ] as const) {
    assert.match((await faultsOf(load(put(name, content)))).message, words);
  }
});

test("a file that is longer than a text can be is refused with both sizes, before it is read", async () => {
  const path = put("long.jsonl", "{}\n");
  truncateSync(path, 2 ** 32); // a hole: no disk is taken
  await assert.rejects(load(path), /4294967296 bytes; at most 536869888/);
});

test("trains the answers, the prompts too, or only the last answer after everything before it", async () => {
  const turn = (role: string, content: string) => ({ role, content });
  const chat = { messages: [turn("user", "a"), turn("assistant", "b"), turn("user", "c"), turn("assistant", "d")] };
  const path = put("a.jsonl", jsonl({ prompt: "one", completion: " two" }, chat, { text: "three" }));
  const of = async (trainOn: "answers" | "all" | "last") =>
    (await load(path, { trainOn })).train.map(([row]) => parts(row));
  const [answers, all, last] = [await of("answers"), await of("all"), await of("last")];
  assert.equal(answers[0]?.learned, " two<|endoftext|>");
  assert.equal(answers[1]?.learned, "b<|im_end|>d<|im_end|>");
  assert.equal(last[0]?.learned, answers[0]?.learned);
  assert.equal(last[1]?.learned, "d<|im_end|>");
  assert.ok(last[1]?.given.endsWith("c<|im_end|>\n<|im_start|>assistant\n"), last[1]?.given);
  assert.ok(all[0]?.learned.endsWith(" two<|endoftext|>") && all[1]?.learned.includes("user\na<|im_end|>"));
  assert.deepEqual([all[2], last[2]], [answers[2], answers[2]], "a text is learned whole anyway");
});

test("ShareGPT's calls and observations are calls and their results", async () => {
  const tools = [{ type: "function", function: { name: "ring", parameters: { type: "object", properties: {} } } }];
  const call = (id: string, who: string) => ({
    ...{ id, type: "function" },
    function: { name: "ring", arguments: JSON.stringify({ who }) },
  });
  const messages = [
    { role: "user", content: "Ring for both." },
    { role: "assistant", content: null, tool_calls: [call("call_0", "Mary"), call("call_1", "Jane")] },
    { role: "tool", tool_call_id: "call_0", content: "She comes." },
    { role: "tool", tool_call_id: "call_1", content: "She sleeps." },
    { role: "assistant", content: "Mary comes." },
  ];
  const conversations = [
    { from: "human", value: "Ring for both." },
    {
      from: "function_call",
      value: JSON.stringify(["Mary", "Jane"].map((who) => ({ name: "ring", arguments: { who } }))),
    },
    { from: "observation", value: "She comes." },
    { from: "observation", value: "She sleeps." },
    { from: "gpt", value: "Mary comes." },
  ];
  const expected = await load(put("a.jsonl", jsonl({ messages, tools })));
  const found = await load(put("b.jsonl", jsonl({ conversations, tools: JSON.stringify(tools) })));
  assert.deepEqual(
    found.train.map(([row]) => parts(row)),
    expected.train.map(([row]) => parts(row)),
  );
  assert.match(parts(only(found)).learned, /Mary[\s\S]*Jane[\s\S]*Mary comes/);
  const wrong = { conversations: [{ from: "function_call", value: "ring!" }], tools };
  const { faults } = await faultsOf(load(put("c.jsonl", jsonl(wrong))));
  assert.match(faults[0] ?? "", /message 1 that has a call 1 that is not/);
});

test("preference pairs may differ in their calls, which the template renders with the tools", async () => {
  const tools = [{ type: "function", function: { name: "ring", parameters: { type: "object", properties: {} } } }];
  const calling = (who: string) => [
    {
      role: "assistant",
      tool_calls: [{ id: "c", type: "function", function: { name: "ring", arguments: JSON.stringify({ who }) } }],
    },
  ];
  const pair = {
    input: { messages: [{ role: "user", content: "Ring for Mary." }], tools, parallel_tool_calls: true },
    preferred_output: calling("Mary"),
    non_preferred_output: [{ role: "assistant", content: "No." }],
  };
  const { train } = await load(put("a.jsonl", jsonl(pair)), { wants: "pairs" });
  const [[chosen, rejected] = []] = train;
  assert.ok(chosen && rejected);
  assert.equal(
    parts(chosen).learned,
    '<tool_call>\n{"name": "ring", "arguments": {"who": "Mary"}}\n</tool_call><|im_end|>',
  );
  assert.equal(parts(rejected).learned, "No.<|im_end|>");
  assert.equal(parts(chosen).given, parts(rejected).given);
  assert.match(parts(chosen).given, /ring/);
  const plain = { prompt: "q", chosen: calling("Mary"), rejected: "No." };
  const { faults } = await faultsOf(load(put("b.jsonl", jsonl(plain)), { wants: "pairs" }));
  assert.match(faults[0] ?? "", /after a `prompt` that is a text/);
});

test("preference pairs of both spellings share their prompt", async () => {
  const openai = {
    input: { messages: [{ role: "user", content: "q" }] },
    preferred_output: [{ role: "assistant", content: "good" }],
    non_preferred_output: [{ role: "assistant", content: "bad" }],
  };
  const path = put("a.jsonl", jsonl({ prompt: "q", chosen: " good", rejected: " bad" }, openai));
  const { train } = await load(path, { wants: "pairs" });
  assert.deepEqual(
    train.map((item) => item.map((row) => parts(row).learned)),
    [
      [" good<|endoftext|>", " bad<|endoftext|>"],
      ["good<|im_end|>", "bad<|im_end|>"],
    ],
  );
  for (const [chosen, rejected] of train) assert.equal(parts(chosen).given, parts(rejected as TokenRow).given);
});

test("an over-long row keeps its completion and loses the start of its prompt; a row without labels is dropped; both are counted", async () => {
  const rows = [
    { prompt: "word ".repeat(100), completion: " answer" },
    { messages: [{ role: "user", content: "nothing to learn" }] },
    { text: "" },
  ];
  const data = await load(put("a.jsonl", jsonl(...rows)), { maxLength: 16 });
  const row = only(data);
  assert.equal(row.ids.length, 16);
  assert.equal(parts(row).learned, " answer<|endoftext|>");
  assert.deepEqual([data.counts.shortened, data.counts.dropped, data.counts.records], [1, 2, 3]);
  const long = only(await load(put("a.jsonl", jsonl({ prompt: "a", completion: " b".repeat(50) })), { maxLength: 8 }));
  assert.equal(countLabels(long), 7, "the prompt's last token predicts the first of the answer");
});

test("plain text becomes windows whose tokens are the text's own, the last ones for validation", async () => {
  const text = Array.from({ length: 60 }, (_, i) => `Line ${i} of a longer story.`).join("\n\n");
  const data = await load(put("a.txt", text), { maxLength: 32, validationSplit: 0.2 });
  const windows = [...data.train, ...data.valid].map(([row]) => row);
  const ids = windows.flatMap((row) => [...row.ids]);
  assert.deepEqual(ids, [...(await tokenizer.encode(text, { addSpecialTokens: true })), 0]);
  assert.equal(data.valid.length, Math.floor(windows.length * 0.2));
  assert.ok(windows.every((row) => countLabels(row) === row.ids.length - 1));
});

test("long text is split only after words, and nothing is lost", async () => {
  const text = "Some words on a line.\n\n  And more of them, to the end.\r\n".repeat(4000);
  const pieces = await textPieces(text, tokenizer);
  assert.ok(pieces.length > 2);
  assert.equal(pieces.join(""), text);
  assert.ok(pieces.slice(1).every((piece) => /^ \p{L}/u.test(piece)));
  const lines = await textPieces("x = 1\n".repeat(40_000), tokenizer);
  assert.ok(lines.length > 2 && lines.slice(1).every((piece) => piece.startsWith("\n")));
});

for (const family of families) {
  test(`${family}: a completion's row spells prompt and completion, with no space between them that the data has not`, async () => {
    const tokenizer = await loadFamily(family);
    const encoding = { tokenizer, endId: null, bosId: null, labelTemplate: parseLabelTemplate("{text}\n{label}") };
    for (const [prompt, completion] of [
      ["Answer: ", "yes"],
      ["abc", "def"],
      ["a, ", '"b"'],
      ["Answer:", " yes"],
      ["th", "e"],
      ["Once upon a ", "time"],
    ] as const) {
      const [row] = await encodeExample({ kind: "completion", prompt, completion }, { file: "", line: 1 }, encoding);
      assert.ok(row);
      const ids = [...row.ids];
      const [before, behind] = [ids.slice(0, row.promptLength), ids.slice(row.promptLength)];
      assert.deepEqual(before, await tokenizer.encode(prompt, { addSpecialTokens: true }), "the server's prompt");
      assert.equal(tokenizer.decode(behind, { after: before }), completion);
      const start = family === "prefixed" ? " " : "";
      assert.equal(tokenizer.decode(ids), start + prompt + completion);
    }
    await tokenizer.close();
  });

  test(`${family}: the ids of a long text's pieces are those of the whole`, async () => {
    const tokenizer = await loadFamily(family);
    const text = "It ended so... And then,\n\n  naïve she said: “no!”\r\nstop\nx = 12;\n".repeat(2200);
    const pieces = await textPieces(text, tokenizer);
    assert.ok(pieces.length > 1);
    const ids: number[] = [];
    for (const [i, piece] of pieces.entries())
      ids.push(...(await tokenizer.encode(piece, { addSpecialTokens: i === 0, continues: i > 0 })));
    assert.deepEqual(ids, await tokenizer.encode(text, { addSpecialTokens: true }));
    await tokenizer.close();
  });
}

test("csv: quotes, line breaks in fields, either ending, empty cells, and faults by line", async () => {
  const path = put("a.csv", '\ufefftext,label,note\r\n"a ""b"", c\nd",positive,\r\nplain,negative,x\r\n');
  const { train } = await load(path);
  assert.deepEqual(
    train.map(([row]) => row.source),
    [
      { text: 'a "b", c\nd', label: "positive" },
      { text: "plain", label: "negative" },
    ],
  );
  assert.deepEqual(
    train.map(([row]) => row.place.line),
    [2, 4],
  );
  assert.throws(
    () => [...parseCsv('a,"b\nc')],
    (error) => error instanceof CsvFault && error.line === 1,
  );
  assert.throws(
    () => [...parseCsv('x\na"b')],
    (error) => error instanceof CsvFault && error.line === 2,
  );
  const short = await faultsOf(load(put("b.csv", "text,label\nonly one\n")));
  assert.match(short.faults[0] ?? "", /:2: has 1 fields where the first line names 2/);
});

test("the split is seeded and disjoint, the digest is the bytes'", async () => {
  const path = put("a.jsonl", jsonl(...Array.from({ length: 50 }, (_, i) => ({ text: `row number ${i}` }))));
  const places = (data: DataSet): number[] => data.valid.map(([row]) => row.place.line);
  const first = await load(path, { validationSplit: 0.1 });
  assert.deepEqual(places(await load(path, { validationSplit: 0.1 })), places(first));
  assert.notDeepEqual(places(await load(path, { validationSplit: 0.1, seed: 2 })), places(first));
  assert.deepEqual([first.train.length, first.valid.length], [45, 5]);
  assert.equal(new Set([...first.train, ...first.valid].map(([row]) => row.place.line)).size, 50);
  assert.equal((await load(path, { validationSplit: 0.5, maxEvalSamples: 3 })).valid.length, 3);
  assert.equal((await load(path, { seed: 9 })).digest, first.digest);
  assert.notEqual((await load(put("b.jsonl", jsonl({ text: "other" })))).digest, first.digest);
});

test("the label template needs both placeholders, in order", () => {
  for (const bad of ["{text}", "{label}", "{label} {text}", "{text} {label} {label}", "{text}{text}{label}"]) {
    assert.throws(() => parseLabelTemplate(bad), /must hold/);
  }
  const template = parseLabelTemplate("Review: {text} => {label}.");
  assert.equal(template.prompt("$& fine") + template.completion("good"), "Review: $& fine => good.");
  assert.equal(template.completion("good"), " good.");
});
