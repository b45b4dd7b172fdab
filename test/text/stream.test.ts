import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { describe, test } from "node:test";
import fc from "fast-check";
import { Utf8Stream } from "../../src/text/tokenizer/bytes.js";
import { byteFallbackStage, replaceStage, textStripStage, tokenStripStage } from "../../src/text/tokenizer/stage.js";
import type { LoadedTokenizer } from "../../src/text/types.js";
import { directoryOf, expectedOf, type Family, fallbackFamilies, families, load } from "./families.js";

interface TokenizerJson {
  readonly model: { readonly vocab: Record<string, number> };
  readonly added_tokens: readonly { readonly id: number; readonly content: string; readonly special: boolean }[];
}

const printable = (byte: number) => (byte > 32 && byte < 127) || (byte > 160 && byte !== 173);
const others = Array.from({ length: 256 }, (_, byte) => byte).filter((byte) => !printable(byte));
const byteOf = (character: string) => {
  const code = character.charCodeAt(0);
  return code < 256 ? code : (others[code - 256] ?? 0);
};

/** Decodes all at once, the plain way, from nothing but tokenizer.json. */
function naiveDecoder(family: Family): (ids: readonly number[]) => string {
  const file: TokenizerJson = JSON.parse(readFileSync(`${directoryOf(family)}/tokenizer.json`, "utf8"));
  const tokens = new Map(Object.entries(file.model.vocab).map(([token, id]) => [id, token]));
  for (const { id, content } of file.added_tokens) tokens.set(id, content);
  const special = new Set(file.added_tokens.filter((token) => token.special).map((token) => token.id));
  const spell = (ids: readonly number[]) => ids.filter((id) => !special.has(id)).map((id) => tokens.get(id) ?? "");
  if (family === "metaspace") {
    return (ids) =>
      spell(ids)
        .map((token, i) => token.replaceAll("▁", i === 0 ? "" : " "))
        .join("");
  }
  if (!fallbackFamilies.includes(family)) {
    return (ids) => Buffer.from(Array.from(spell(ids).join(""), byteOf)).toString();
  }
  const strip = family === "gemma" ? /^(?!)/ : /^ /;
  return (ids) => {
    let text = "";
    let run: number[] = [];
    const end = () => {
      text += Buffer.from(run).toString();
      run = [];
    };
    for (const token of spell(ids)) {
      const hex = /^<0x([0-9A-F]{2})>$/.exec(token)?.[1];
      if (hex !== undefined) run.push(Number.parseInt(hex, 16));
      else {
        end();
        text += token.replaceAll("▁", " ");
      }
    }
    end();
    return text.replace(strip, "");
  };
}

function streamed(tokenizer: LoadedTokenizer, ids: readonly number[], after?: readonly number[]): string[] {
  const stream = tokenizer.stream(after);
  return [...ids.map((id) => stream.push(id)), stream.flush()];
}

const isWellFormed = (text: string) => !/\p{Surrogate}/u.test(text);

describe("a stream of ids", () => {
  for (const family of families) {
    test(`${family}: the pieces of any ids add up to decoding all at once`, async () => {
      const tokenizer = await load(family);
      const naive = naiveDecoder(family);
      const size = tokenizer.vocabSize;
      const id = fc.oneof(fc.integer({ min: 0, max: size - 1 }), fc.integer({ min: 0, max: Math.min(size - 1, 300) }));
      fc.assert(
        fc.property(fc.array(id, { maxLength: 40 }), (ids) => {
          const pieces = streamed(tokenizer, ids);
          assert.equal(pieces.join(""), naive(ids));
          assert.equal(tokenizer.decode(ids), naive(ids));
          assert.ok(pieces.every(isWellFormed));
        }),
        { numRuns: 300 },
      );
    });

    test(`${family}: no character is split, and none waits longer than its last byte`, async () => {
      const tokenizer = await load(family);
      for (const { ids, text } of expectedOf(family).encode) {
        if (text.includes("\uFFFD")) continue;
        const pieces = streamed(tokenizer, ids);
        assert.ok(!pieces.join("").includes("\uFFFD"), `a character of ${JSON.stringify(text)} was split`);
        assert.equal(pieces.at(-1), "", `text was left for the flush of ${JSON.stringify(text)}`);
      }
    });

    test(`${family}: after a prompt, the text continues as if decoded with it`, async () => {
      const tokenizer = await load(family);
      const text = "Once upon a time, naïve 日本 😀 things  happened here.";
      const ids = await tokenizer.encode(text, { addSpecialTokens: true });
      for (let cut = 0; cut <= ids.length; cut++) {
        const [prompt, rest] = [ids.slice(0, cut), ids.slice(cut)];
        const before = tokenizer.stream();
        const head = prompt.map((id) => before.push(id)).join("");
        assert.equal(head + streamed(tokenizer, rest, prompt).join(""), tokenizer.decode(ids), `cut at ${cut}`);
      }
    });
  }

  test("an incomplete character becomes U+FFFD at the flush, and the stream is ready for a new text", async () => {
    const tokenizer = await load("qwen2");
    const ids = await tokenizer.encode("日", { addSpecialTokens: false });
    const stream = tokenizer.stream();
    assert.equal(stream.push(ids[0] ?? -1), "");
    assert.equal(stream.flush(), "\uFFFD");
    assert.equal(ids.map((id) => stream.push(id)).join("") + stream.flush(), "日");
  });

  test("a stream takes constant time per token", async () => {
    const tokenizer = await load("llama2");
    const ids = await tokenizer.encode("word 日本 ", { addSpecialTokens: false });
    const stream = tokenizer.stream();
    const begun = performance.now();
    for (let i = 0; i < 100_000; i++) stream.push(ids[i % ids.length] ?? 0);
    // Decoding the whole again for each token would take hours.
    assert.ok(performance.now() - begun < 10_000);
  });
});

describe("the stages of decoders", () => {
  test("UTF-8 in pieces decodes like the full text", () => {
    const bytes = fc.array(
      fc.oneof(
        fc.integer({ min: 0, max: 255 }),
        fc.constantFrom(0xe2, 0x82, 0xac, 0xf0, 0x9f, 0x98, 0x80, 0xef, 0xbb, 0xbf, 0xed, 0xa0),
      ),
      { maxLength: 24 },
    );
    fc.assert(
      fc.property(fc.array(bytes, { maxLength: 8 }), (chunks) => {
        const stream = new Utf8Stream();
        const text = chunks.map((chunk) => stream.push(Uint8Array.from(chunk))).join("") + stream.flush();
        assert.equal(text, Buffer.from(chunks.flat()).toString());
      }),
      { numRuns: 1000 },
    );
  });

  test("stripping the ends of a text in pieces strips the ends of the whole", () => {
    fc.assert(
      fc.property(
        fc.array(fc.string({ unit: fc.constantFrom(" ", "a") }), { maxLength: 8 }),
        fc.nat(3),
        fc.nat(3),
        (pieces, start, stop) => {
          const stage = textStripStage(" ", start, stop);
          const text = pieces.map((piece) => stage.push(piece)).join("") + stage.flush();
          const whole = pieces.join("").replace(new RegExp(`^ {0,${start}}`), "");
          let end = whole.length;
          while (end > 0 && whole.length - end < stop && whole[end - 1] === " ") end--;
          assert.equal(text, whole.slice(0, end));
        },
      ),
      { numRuns: 1000 },
    );
  });

  test("stripping tokens removes no more than configured from either end", () => {
    assert.equal(tokenStripStage("_", 1, 2).push("__a___"), "_a_");
    assert.equal(tokenStripStage("_", 3, 3).push("__"), "");
  });

  test("a replacement is literal", () => {
    assert.equal(replaceStage(/x/gu, "$&$1").push("axb"), "a$&$1b");
  });

  test("a token between two byte tokens separates their bytes", () => {
    const stage = byteFallbackStage();
    const pieces = ["<0xE2>", "<0x82>", "x", "<0xAC>", "<0xZZ>"].map((token) => stage.push(token));
    assert.equal(pieces.join("") + stage.flush(), "\uFFFDx\uFFFD<0xZZ>");
  });
});
