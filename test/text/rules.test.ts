import assert from "node:assert/strict";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, describe, test } from "node:test";
import { languagesOf, withLanguage } from "../../src/text/languages.js";
import { sourceFormOf } from "../../src/text/source-forms.js";
import { Bpe } from "../../src/text/tokenizer/bpe.js";
import { createCharsMap } from "../../src/text/tokenizer/chars-map.js";
import { loadTokenizer } from "../../src/text/tokenizer/tokenizer.js";
import { WordCache } from "../../src/text/tokenizer/word-cache.js";
import { load } from "./families.js";

interface RulesFixture {
  readonly model: { readonly vocab: Record<string, number>; readonly merges: readonly [string, string][] };
  readonly cases: readonly {
    readonly parts: Record<string, unknown>;
    readonly flags: Record<string, unknown>;
    readonly config: Record<string, unknown>;
    readonly rows: readonly { readonly text: string; readonly ids: number[]; readonly full: number[] }[];
  }[];
}

const fixture: RulesFixture = JSON.parse(readFileSync("test/fixtures/text/rules.json", "utf8"));
const top = mkdtempSync(join(tmpdir(), "lorikeet-rules-"));
after(() => rmSync(top, { recursive: true, force: true }));

const post = {
  type: "TemplateProcessing",
  single: [{ SpecialToken: { id: "<s>" } }, { Sequence: { id: "A" } }],
  special_tokens: { "<s>": { ids: [1] } },
};

async function open(file: object, config: object = {}) {
  writeFileSync(join(top, "tokenizer.json"), JSON.stringify(file));
  writeFileSync(join(top, "tokenizer_config.json"), JSON.stringify(config));
  const tokenizer = await loadTokenizer(top);
  assert.ok(tokenizer);
  return tokenizer;
}

describe("every combination of rules encodes to the ids of the Rust library", () => {
  for (const [i, { parts, flags, config, rows }] of fixture.cases.entries()) {
    const kind = (part: unknown): string => (part as { type?: string } | null)?.type ?? "none";
    test(`${i}: ${kind(parts.normalizer)}, ${kind(parts.pre_tokenizer)}`, async () => {
      const file = {
        ...parts,
        post_processor: post,
        decoder: null,
        model: { ...fixture.model, ...flags, type: "BPE" },
      };
      const tokenizer = await open(file, config);
      for (const { text, ids, full } of rows) {
        const of = `${JSON.stringify(text)} ${JSON.stringify({ ...parts, ...flags, ...config })}`;
        assert.deepEqual(await tokenizer.encode(text, { addSpecialTokens: false }), ids, of);
        assert.deepEqual(await tokenizer.encode(text, { addSpecialTokens: true }), full, of);
      }
    });
  }
});

describe("a text that continues another", () => {
  for (const family of ["llama2", "mistral", "phi3", "prefixed", "metaspace"] as const) {
    test(`${family}: no word-start mark is put in front of it, and it survives a round trip`, async () => {
      const tokenizer = await load(family);
      const before = await tokenizer.encode("Answer:", { addSpecialTokens: true });
      for (const text of ["yes", " yes", "def ghi", "  x", ".", "and so on"]) {
        const ids = await tokenizer.encode(text, { addSpecialTokens: false, continues: true });
        assert.equal(tokenizer.decode(ids, { after: before }), text);
      }
    });
  }

  test("after an added token a word start is marked as usual", async () => {
    const tokenizer = await load("llama2");
    const alone = await tokenizer.encode("</s>yes", { addSpecialTokens: false });
    assert.deepEqual(await tokenizer.encode("</s>yes", { addSpecialTokens: false, continues: true }), alone);
  });

  test("a tokenizer without such marks encodes it as any text", async () => {
    const tokenizer = await load("qwen2");
    const ids = await tokenizer.encode("yes we can", { addSpecialTokens: false });
    assert.deepEqual(await tokenizer.encode("yes we can", { addSpecialTokens: false, continues: true }), ids);
  });
});

describe("byte-pair encoding", () => {
  const vocab = { a: 0, b: 1, c: 2, ab: 3, abc: 4, bc: 5, "▁": 6, "▁a": 7 };
  const model = (merges: unknown, more: object = {}) => ({ vocab, merges, ...more });

  test("the merge of lowest rank goes first, the leftmost in a tie", () => {
    assert.deepEqual(new Bpe(model(["b c", "a b", "ab c"])).encode("abc"), [0, 5]);
    assert.deepEqual(new Bpe(model(["a b", "b c", "ab c"])).encode("abc"), [4]);
  });

  test("a long word is cut only where no merge crosses", () => {
    const bpe = new Bpe(model(["a b", "ab c", "▁ a"]));
    assert.deepEqual(bpe.encode("abc▁a".repeat(40)), Array(40).fill([4, 7]).flat());
    assert.deepEqual(bpe.encode("▁".repeat(300)), Array(300).fill(6));
  });

  test("an added token of the same spelling is not merged inside a word", async () => {
    const file = {
      added_tokens: [{ id: 8, content: "cab", special: false, normalized: false, single_word: true }],
      normalizer: null,
      pre_tokenizer: null,
      model: { type: "BPE", ...model(["a b"], { ignore_merges: true }) },
    };
    const tokenizer = await open(file);
    assert.deepEqual(await tokenizer.encode("cabcab", { addSpecialTokens: false }), [2, 3, 2, 3]);
    assert.deepEqual(await tokenizer.encode("cab", { addSpecialTokens: false }), [8]);
  });

  for (const [title, broken, message] of [
    ["a merge of a token that is not there", model(["a z"]), /merge 0 needs the token "z", which the vocabulary lacks/],
    ["a merge into a token that is not there", model(["c a"]), /merge 0 needs the token "ca"/],
    ["a merge of three", model([["a", "b", "c"]]), /merge 0 must be two tokens/],
    ["no merges", model(undefined), /lacks a list of merges/],
    ["dropout", model([], { dropout: 0.1 }), /dropout of 0.1/],
  ] as const) {
    test(`${title} is refused`, () => {
      assert.throws(() => new Bpe(broken), message);
    });
  }
});

describe("the cache of words", () => {
  test("holds at most two generations, and keeps used words", () => {
    const cache = new WordCache();
    cache.set("kept", [1]);
    for (let i = 0; i < 100_000; i++) {
      cache.set(`word ${i}`, [i]);
      if (i % 1000 === 0) assert.deepEqual(cache.get("kept"), [1]);
    }
    assert.ok(cache.size <= 2 * 16_384 + 2, `${cache.size} words`);
    assert.equal(cache.get("word 0"), undefined);
    assert.deepEqual(cache.get("word 99999"), [99_999]);
  });
});

test("a precompiled map of characters replaces what the Rust library replaces", () => {
  const { map, rows }: { map: string; rows: [string, string][] } = JSON.parse(
    readFileSync("test/fixtures/text/chars-map.json", "utf8"),
  );
  const change = createCharsMap(map);
  for (const [text, changed] of rows) assert.equal(change(text), changed, JSON.stringify(text));
});

test("an empty piece of a Unigram vocabulary does not represent unknown characters", async () => {
  const vocab = [
    ["<unk>", 0],
    ["", -1],
    ["a", -2],
  ];
  const tokenizer = await open({
    added_tokens: [],
    normalizer: null,
    pre_tokenizer: null,
    model: { type: "Unigram", unk_id: 0, vocab },
  });
  assert.deepEqual([...(await tokenizer.encode("ab", { addSpecialTokens: false }))], [2, 0]);
});

test("a precompiled map of characters whose values lie outside of it is refused", () => {
  const units = new Uint32Array(98);
  units[0x61] = 0x161 | (200 << 10); // "a": has a value, at 200 ^ 97
  const bytes = Buffer.concat([Uint32Array.of(4 * units.length), units].map((part) => new Uint8Array(part.buffer)));
  const change = createCharsMap(bytes.toString("base64"));
  assert.throws(() => change("a"), /has 98 units and a value at/);
});

describe("unsupported parts of a tokenizer.json are refused by name", () => {
  const base = {
    added_tokens: [],
    normalizer: null,
    pre_tokenizer: null,
    model: { type: "BPE", vocab: {}, merges: [] },
  };
  for (const [part, config, message] of [
    ["normalizer", { type: "Sponge" }, /normalizer in tokenizer.json is "Sponge"/],
    ["normalizer", { type: "Precompiled", precompiled_charsmap: "/////w==" }, /precompiled map of characters/],
    ["normalizer", { type: "Precompiled", precompiled_charsmap: "AAAAAA==" }, /says 0 bytes and has 0/],
    ["pre_tokenizer", { type: "UnicodeScripts" }, /UnicodeScripts/],
    [
      "decoder",
      { type: "Replace", pattern: {}, content: "" },
      /decoder\.pattern must be an object with a string named "String" or "Regex"/,
    ],
    [
      "pre_tokenizer",
      { type: "Split", pattern: { String: "x" }, behavior: "MergedWithNext", invert: true },
      /inverted/,
    ],
    ["post_processor", { type: "Sponge" }, /post-processor in tokenizer.json is "Sponge"/],
    ["post_processor", { type: "TemplateProcessing", single: [{ SpecialToken: { id: "<s>" } }] }, /names "<s>"/],
  ] as const) {
    test(`${part} ${config.type}`, async () => {
      await assert.rejects(open({ ...base, [part]: config }), message);
    });
  }
});

test("a language's token replaces the tokenizer's own, where NLLB, mBART and M2M-100 put it", () => {
  const tokenizerOf = (...special: string[]) => ({
    vocabSize: special.length + 2,
    specialText: (id: number) => special[id] ?? null,
  });
  const nllb = languagesOf(tokenizerOf("</s>", "eng_Latn", "deu_Latn", "zho_Hans"));
  assert.ok(nllb);
  assert.deepEqual(nllb.names, ["eng_Latn", "deu_Latn", "zho_Hans"]);
  assert.deepEqual(withLanguage([1, 9, 1, 8, 0], 2, nllb), [2, 9, 1, 8, 0]);
  assert.deepEqual(withLanguage([9, 8, 0, 1], 2, nllb), [9, 8, 0, 2], "behind the end, as of older files");
  assert.throws(() => withLanguage([9, 1, 0], 2, nllb), { code: "unsupported_parameter", param: "src_lang" });
  const mbart = languagesOf(tokenizerOf("</s>", "en_XX", "ro_RO"));
  assert.deepEqual(
    [...(mbart?.idByName ?? [])],
    [
      ["en_XX", 1],
      ["ro_RO", 2],
    ],
  );
  const m2m = languagesOf(tokenizerOf("</s>", "__en__", "__ast__"));
  assert.deepEqual([m2m?.idByName.get("en"), m2m?.idByName.get("__en__"), m2m?.names], [1, 1, ["en", "ast"]]);
  assert.equal(languagesOf(tokenizerOf("</s>", "eng_Latn")), null);
  assert.equal(languagesOf(tokenizerOf("<2de>", "<2en>")), null);

  const tasks = new Map([
    ["translation", { prefix: "t ", maxTokens: 9 }],
    ["summarization", { prefix: "s ", maxTokens: 5 }],
  ]);
  const forms = { prefix: "", tasks, languages: nllb, startIds: [0] };
  const ask = (task: string, sourceLanguage: string | null, targetLanguage: string | null) =>
    sourceFormOf(forms, { task, sourceLanguage, targetLanguage });
  const ids = { languageId: nllb.idByName.get("deu_Latn"), firstId: nllb.idByName.get("zho_Hans") };
  assert.deepEqual(ask("translation_deu_Latn_to_zho_Hans", null, null), { prefix: "t ", maxTokens: 9, ...ids });
  assert.deepEqual(ask("summarization", "deu_Latn", "zho_Hans"), { prefix: "s ", maxTokens: 5, ...ids });
  assert.deepEqual(ask("summarization", null, null), { prefix: "s ", maxTokens: 5 });
  assert.throws(() => ask("text2text-generation", null, null), { code: "invalid_value", param: "tgt_lang" });
});

test("a pair of languages in a task's name is one of those that the model's tasks name", () => {
  const ask = (names: readonly string[], task: string) => {
    const tasks = new Map(names.map((name) => [name, { prefix: `${name}: `, maxTokens: null }]));
    const asked = { task, sourceLanguage: null, targetLanguage: null };
    return sourceFormOf({ prefix: "", tasks, languages: null, startIds: [0] }, asked).prefix;
  };
  const t5 = ["summarization", "translation_en_to_de"];
  assert.equal(ask(t5, "translation_en_to_de"), "translation_en_to_de: ");
  assert.equal(ask(t5, "translation"), "");
  assert.throws(() => ask(t5, "translation_en_to_it"), {
    code: "unsupported_parameter",
    message: /translates en to de/,
  });
  assert.equal(ask(["summarization"], "translation_en_to_it"), "", "a model of one pair need not name it");
});
