/** Rows of one and two texts, held to what the Rust library gives: test/fixtures/text/make-rows.py wrote it. */

import assert from "node:assert/strict";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, describe, test } from "node:test";
import fc from "fast-check";
import type { Json } from "../../src/base/json.js";
import { beginningOf, marginOf, splitsLocally, sureTokens } from "../../src/text/tokenizer/beginning.js";
import { define } from "../../src/text/tokenizer/definition.js";
import { graphemeStarts } from "../../src/text/tokenizer/graphemes.js";
import { loadRowTokenizer, type RowTokenizer } from "../../src/text/tokenizer/row-tokenizer.js";
import { padRows } from "../../src/text/tokenizer/rows.js";
import { createSpanEncoder } from "../../src/text/tokenizer/span-encoder.js";
import { loadTokenizer } from "../../src/text/tokenizer/tokenizer.js";
import { isLong } from "../support/long.js";

interface Row {
  readonly text: string;
  readonly pair: string | null;
  readonly add: boolean;
  readonly limit: number | null;
  readonly ids: readonly number[];
  readonly types: readonly number[];
  readonly sources: readonly (number | null)[];
  readonly spans: readonly (readonly number[])[];
  readonly words: readonly (number | null)[];
  readonly decoded: string;
}

interface Fixture {
  readonly models: Readonly<Record<string, Json>>;
  readonly added: readonly Json[];
  readonly cases: readonly {
    readonly model: string;
    readonly flags: Json;
    readonly parts: Json;
    readonly rows: readonly Row[];
  }[];
}

/** ROWS_FIXTURE: a larger file of the same script. */
const fixture: Fixture = JSON.parse(readFileSync(process.env.ROWS_FIXTURE ?? "test/fixtures/text/rows.json", "utf8"));
const top = mkdtempSync(join(tmpdir(), "lorikeet-rows-"));
after(() => rmSync(top, { recursive: true, force: true }));

async function open(file: Json, settings: Json = {}, model: Json = {}): Promise<RowTokenizer> {
  const folder = mkdtempSync(join(top, "model-"));
  writeFileSync(join(folder, "tokenizer.json"), JSON.stringify(file));
  writeFileSync(join(folder, "tokenizer_config.json"), JSON.stringify(settings));
  writeFileSync(join(folder, "config.json"), JSON.stringify(model));
  const tokenizer = await loadRowTokenizer(folder);
  assert.ok(tokenizer);
  after(() => tokenizer.close());
  return tokenizer;
}

const fileOf = ({ model, flags, parts }: Fixture["cases"][number]): Json => ({
  ...parts,
  added_tokens: fixture.added,
  model: { ...fixture.models[model], ...flags },
});

/** The encoder of decoders, which knows no places. */
async function openPlain(file: Json): Promise<(text: string, addSpecialTokens: boolean) => Promise<number[]>> {
  const folder = mkdtempSync(join(top, "plain-"));
  writeFileSync(join(folder, "tokenizer.json"), JSON.stringify(file));
  const tokenizer = await loadTokenizer(folder);
  assert.ok(tokenizer);
  after(() => tokenizer.close());
  return (text, addSpecialTokens) => tokenizer.encode(text, { addSpecialTokens });
}

const typeOf = (part: unknown): string => (part as { type?: string } | null)?.type ?? "none";

describe("rows have the tokens, types, places and words that the Rust library gives", () => {
  for (const [index, entry] of fixture.cases.entries()) {
    const { model, parts, rows } = entry;
    const names = ["normalizer", "pre_tokenizer", "post_processor"].map((name) => typeOf(parts[name]));
    test(`${index}: ${model}, ${names.join(", ")}`, async () => {
      const file = fileOf(entry);
      const plain = await openPlain(file);
      const tokenizer = await open(file);
      for (const { text, pair, add, limit, ids, types, sources, spans, words, decoded } of rows) {
        const row = { text, ...(pair !== null && { pair }) };
        const limited = limit === null ? tokenizer : await open(file, { model_max_length: limit });
        const found = await limited.encodeRow(row, { truncate: true, addSpecialTokens: add });
        const of = JSON.stringify({ text, pair, add, limit, parts, flags: entry.flags });
        assert.deepEqual(found.ids, ids, of);
        assert.deepEqual([found.typeIds, found.sources], [types, sources], of);
        assert.deepEqual(found.words, words, of);
        assert.deepEqual(found.spans, spans, of);
        assert.equal(tokenizer.decode(ids), decoded, of);
        if (pair === null && limit === null) assert.deepEqual(await plain(text, add), ids, of);
      }
    });
  }
});

test("a text's beginning gives the first tokens of the whole, wherever it is cut", () => {
  const texts = fixture.cases.flatMap(({ rows }) => rows.flatMap(({ text, pair }) => [text, pair ?? ""]));
  const spaces = " ".repeat(900);
  const joined = texts.join(" ").slice(0, 8000);
  const text = `${joined}${texts.join("").replaceAll(/\s/g, "").slice(0, 1000)}${spaces}[MASK]${spaces}${"1".repeat(900)} a`;
  const cases = fixture.cases.filter((_, index) => isLong || index % 8 === 0);
  let cut = 0;
  for (const entry of cases) {
    const definition = define(fileOf(entry), {});
    const encode = createSpanEncoder(definition);
    const whole = encode(text);
    const isLocal = splitsLocally(definition.preTokenizer);
    for (const size of isLong ? [1500, 4000 + cut, 9500, 10_100, 11_400] : [4000, 10_100]) {
      const beginning = beginningOf(text, size);
      const surroundings = { margin: marginOf(definition.added), splitsLocally: isLocal };
      const sure = sureTokens(encode(beginning), beginning, surroundings, 0);
      if (!sure) continue;
      cut++;
      for (const name of ["ids", "begins", "ends", "words"] as const)
        assert.deepEqual(sure[name], whole[name].slice(0, sure.ids.length), JSON.stringify([entry.parts, size]));
      assert.notEqual(whole.words[sure.ids.length], sure.words.at(-1));
    }
  }
  assert.ok(cut > 3, String(cut));
});

test("a text without white space is cut between the words of a pre-tokenizer that looks at single characters", () => {
  const vocab = { u: 0, 漢: 1, ".": 2, a: 3 };
  const file = { added_tokens: [], model: { type: "WordPiece", unk_token: "u", vocab } };
  const tokensOf = (pre_tokenizer: Json, text: string): number | undefined => {
    const definition = define({ ...file, normalizer: { type: "BertNormalizer" }, pre_tokenizer }, {});
    const surroundings = { margin: marginOf([]), splitsLocally: splitsLocally(definition.preTokenizer) };
    return sureTokens(createSpanEncoder(definition)(text), text, surroundings, 10)?.ids.length;
  };
  const bert = { type: "BertPreTokenizer" };
  assert.equal(tokensOf(bert, "漢".repeat(4000)), 4000 - 2 * marginOf([]));
  assert.equal(tokensOf(bert, ".".repeat(4000)), 4000 - 2 * marginOf([]));
  assert.equal(tokensOf(bert, "a".repeat(4000)), undefined, "one word");
  assert.equal(tokensOf({ type: "Sequence", pretokenizers: [] }, ".".repeat(4000)), undefined);
});

test("BERT's cleaning drops control and private characters, and keeps those that Unicode does not know yet", () => {
  const parts = { added_tokens: [], model: { type: "WordPiece", unk_token: "u", vocab: { u: 0, a: 1, "##a": 2 } } };
  const encode = createSpanEncoder(define({ ...parts, normalizer: { type: "BertNormalizer" } }, {}));
  const idsOf = (text: string): number[] => [...encode(text).ids];
  for (const dropped of ["\0", "\u0007", "\u200d", "\ue000", "\ufffd"]) assert.deepEqual(idsOf(`a${dropped}a`), [1, 2]);
  for (const kept of ["\u0378", "\u{10ffff}"]) assert.deepEqual(idsOf(`a${kept}a`), [0]);
});

describe("graphemes", () => {
  test("are those of Unicode, wherever a text is taken apart", () => {
    const segmenter = new Intl.Segmenter("und", { granularity: "grapheme" });
    const joining = "e\u0301漢か\u3099가각🇩🇪👩\u200d❤\ufe0f🏽\r\n\u0e33\u0600\u0915\u094d©\u00ad\u0482\u0483";
    const texts = fc.array(fc.constantFrom(...joining), { maxLength: 40 });
    const many = fc.integer({ min: 1, max: 300 });
    fc.assert(
      fc.property(texts, texts, many, (once, repeated, count) => {
        const text = once.join("") + repeated.join("").repeat(Math.ceil(count / 10)) + once.join("").repeat(2);
        const wanted = Array.from(segmenter.segment(text), ({ index }) => index);
        assert.deepEqual(graphemeStarts(text), wanted);
      }),
      { numRuns: 200, seed: 12 },
    );
  });

  test("of a huge word, and spaces before its end, take linear time", () => {
    const parts = { added_tokens: [], model: { type: "WordPiece", unk_token: "u", vocab: { u: 0 } } };
    const normalizer = (kind: string) => ({ type: kind, strip_right: true });
    const count = (kind: string, text: string): number => {
      const file = { ...parts, normalizer: normalizer(kind), pre_tokenizer: { type: "WhitespaceSplit" } };
      return createSpanEncoder(define(file, {}))(text).ids.length;
    };
    const startedAt = performance.now();
    assert.equal(count("NFD", "각".repeat(100_000)), 1);
    assert.equal(count("Strip", `${" ".repeat(200_000)}x`), 1);
    // Quadratic time is a minute.
    assert.ok(performance.now() - startedAt < 10_000);
  });
});

describe("the length of a row", () => {
  const entry = fixture.cases.find(
    ({ model, parts }) => model === "WordPiece" && typeOf(parts.post_processor) === "RobertaProcessing",
  );
  assert.ok(entry);
  const file = fileOf(entry);
  const text = "she sings ".repeat(4);

  test("a longer row is refused with both lengths, and fits where the limit is its own", async () => {
    const long = await open(file);
    const { ids } = await long.encodeRow({ text, pair: text });
    assert.equal(long.maxLength, null);
    const exact = await open(file, { model_max_length: ids.length });
    assert.deepEqual((await exact.encodeRow({ text, pair: text })).ids, ids);
    const short = await open(file, { model_max_length: ids.length - 1 });
    await assert.rejects(short.encodeRow({ text, pair: text }, { param: "inputs" }), {
      code: "context_length_exceeded",
      param: "inputs",
      found: ids.length,
      allowed: ids.length - 1,
    });
  });

  test("is the least that a file states; RoBERTa's positions begin behind the padding token's", async () => {
    const config = { max_position_embeddings: 514, pad_token_id: 1 };
    const lengths = [
      await open(file, { model_max_length: 48 }, config),
      await open(file, { model_max_length: 1e30 }, { ...config, model_type: "roberta" }),
      await open(file, {}, { ...config, model_type: "bert" }),
    ].map(({ maxLength }) => maxLength);
    assert.deepEqual(lengths, [48, 512, 514]);
  });

  test("a long text has the same tokens in the thread as on the event loop, in parts", async () => {
    const tokenizer = await open(file);
    const part = "she sings, with 😀 an honest voice. ";
    const alone = await tokenizer.encodeRow({ text: part }, { addSpecialTokens: false });
    const times = Math.ceil(2100 / part.length);
    const all = await tokenizer.encodeRow({ text: part.repeat(times) }, { addSpecialTokens: false });
    assert.deepEqual(all.ids, Array.from({ length: times }, () => alone.ids).flat());
    const shift = (times - 1) * Array.from(part).length;
    assert.deepEqual(
      all.spans.slice(-alone.ids.length),
      alone.spans.map(([begin, end]) => [begin + shift, end + shift]),
    );
  });
});

describe("a batch", () => {
  const rows = [
    { ids: [2, 7, 3], typeIds: [0, 0, 0] },
    { ids: [2, 8, 9, 3, 5], typeIds: [0, 0, 0, 0, 1] },
  ];

  test("is padded to its longest row, or to a given length", () => {
    const padded = padRows(rows, { padId: 4, padTypeId: 3, padLeft: false });
    assert.deepEqual([...padded.inputIds].map(Number), [2, 7, 3, 4, 4, 2, 8, 9, 3, 5]);
    assert.deepEqual([...padded.attentionMask].map(Number), [1, 1, 1, 0, 0, 1, 1, 1, 1, 1]);
    assert.deepEqual([...padded.tokenTypeIds].map(Number), [0, 0, 0, 3, 3, 0, 0, 0, 0, 1]);
    assert.equal(padRows(rows, { padId: 4, padTypeId: 3, padLeft: false }, 8).inputIds.length, 16);
  });

  test("is padded on the left where the tokenizer does so", () => {
    const padded = padRows(rows, { padId: 4, padTypeId: 0, padLeft: true });
    assert.deepEqual([...padded.inputIds.slice(0, 5)].map(Number), [4, 4, 2, 7, 3]);
    assert.deepEqual([...padded.attentionMask.slice(0, 5)].map(Number), [0, 0, 1, 1, 1]);
  });
});

test("texts are in lower case where sentence_bert_config.json says so, in the worker thread too", async () => {
  const folder = mkdtempSync(join(top, "cased-"));
  const model = { type: "WordLevel", vocab: { "?": 0, hello: 1, world: 2 }, unk_token: "?" };
  const file = { model, normalizer: { type: "NFC" }, pre_tokenizer: { type: "Whitespace" }, added_tokens: [] };
  writeFileSync(join(folder, "tokenizer.json"), JSON.stringify(file));
  const idsOf = async (text: string): Promise<readonly number[]> => {
    const tokenizer = await loadRowTokenizer(folder);
    assert.ok(tokenizer);
    after(() => tokenizer.close());
    return (await tokenizer.encodeRow({ text })).ids;
  };
  assert.deepEqual(await idsOf("Hello WORLD"), [0, 0]);
  writeFileSync(join(folder, "sentence_bert_config.json"), JSON.stringify({ do_lower_case: true }));
  assert.deepEqual(await idsOf("Hello WORLD"), [1, 2]);
  const long = await idsOf("Hello ".repeat(1000));
  assert.ok(long.length === 1000 && long.every((id) => id === 1));
});

for (const name of ["bert-sequence-classification", "marian"]) {
  test(`the texts of the ${name} fixture have the ids that transformers gave`, async () => {
    const tokenizer = await loadRowTokenizer(`test/fixtures/tasks/${name}`);
    assert.ok(tokenizer);
    const texts: { text: string; ids: number[] }[] = JSON.parse(
      readFileSync(`test/fixtures/tasks/${name}/texts.json`, "utf8"),
    );
    for (const { text, ids } of texts) assert.deepEqual((await tokenizer.encodeRow({ text })).ids, ids);
    await tokenizer.close();
  });
}
