/** The text of an answer: stop strings that are special tokens, offsets in characters of what is returned, text that is no text. */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import fc from "fast-check";
import { Assembler, type AssemblerOptions } from "../../src/gateway/assembler.js";
import { promptPieces } from "../../src/gateway/prompt-pieces.js";
import { bosId, byteTokenizer, eosId } from "../support/byte-tokenizer.js";
import { openRig, type Rig } from "../support/rig.js";
import { load } from "../text/families.js";

const never = new AbortController().signal;
const bytes = (text: string): number[] => [...Buffer.from(text)];
const tokenizer = byteTokenizer();
const bare: AssemblerOptions = {
  stops: [],
  includesStop: false,
  minTokens: 0,
  keepsSpecialTokens: false,
  markers: new Set(),
  before: [],
  offset: 0,
};

/** What ids become: text, ids of the tokens that came out with it, the stop string that was met. */
function assembled(ids: readonly number[], options: Partial<AssemblerOptions>) {
  const assembler = new Assembler(tokenizer, { ...bare, ...options });
  const parts = [...ids.map((id) => assembler.push(id, null)), assembler.finish()];
  return {
    text: parts.map(({ text }) => text).join(""),
    ids: parts.flatMap(({ tokens }) => tokens.map(({ id }) => id)),
    stop: assembler.stop,
  };
}

async function complete(rig: Rig, body: object) {
  const data = await (await rig.complete({ model: "base", prompt: "x", ...body }, never)).whole();
  const [choice] = data.choices;
  assert.ok(choice && "text" in choice);
  return choice;
}

const saying = (...ids: number[]) => openRig({ script: { answer: () => ids } });

describe("stop strings and special tokens", () => {
  const answer = [...bytes("ab"), bosId, ...bytes("cd")];
  const cases: [string, string[], string][] = [
    ["is one", ["<s>"], "ab"],
    ["contains one", ["b<s>c"], "a"],
    ["begins in the text before one", ["b<"], "a"],
    ["ends in the text after one", ["s>cd"], "ab"],
    ["is not there", ["<s>d", "bc", "</s>"], "abcd"],
  ];
  for (const [name, stops, text] of cases) {
    test(`a stop string that ${name}`, () => {
      const found = assembled(answer, { stops });
      assert.equal(found.text, text);
      assert.equal(found.stop, text === "abcd" ? null : stops[0]);
    });
  }

  test("a special token that is a marker is text, and may be part of a stop string", () => {
    const markers = new Set(["<s>"]);
    assert.equal(assembled(answer, { markers }).text, "ab<s>cd");
    assert.equal(assembled(answer, { markers, stops: ["s>c"] }).text, "ab<");
    assert.equal(assembled([...answer, eosId], { markers: new Set(["</s>"]) }).text, "abcd</s>");
  });

  test("a stop string that ends before min_tokens is ignored, one that ends later is not", () => {
    const ids = bytes("a.b.c.");
    assert.deepEqual(assembled(ids, { stops: ["."], minTokens: 1 }).text, "a");
    assert.deepEqual(assembled(ids, { stops: ["."], minTokens: 2 }).text, "a.b");
    assert.deepEqual(assembled(ids, { stops: [".b."], minTokens: 3 }).text, "a");
    assert.deepEqual(assembled(ids, { stops: ["."], minTokens: 6 }), { text: "a.b.c.", ids, stop: null });
  });

  test("a stop string that is kept ends the text, and its tokens come with it", () => {
    const found = assembled(answer, { stops: ["b<s>c"], includesStop: true });
    assert.deepEqual(found, { text: "ab<s>c", ids: answer.slice(0, 4), stop: "b<s>c" });
  });

  test("the engine is told, the reason is stop, and no part of the token comes out, whole or streamed", async () => {
    for (const stop of ["<s>", "<s", "b<s>"]) {
      await using rig = await saying(...answer, ...bytes("x".repeat(20)));
      const choice = await complete(rig, { stop, max_tokens: 20 });
      assert.deepEqual([choice.text, choice.finish_reason], [stop.startsWith("b") ? "a" : "ab", "stop"]);
      assert.equal(rig.engine.sequences[0]?.endings[0], "stop");
      const messages = [{ role: "user", content: "x" }];
      const streamed = await rig.chat({ model: "base", messages, stop, max_tokens: 20, stream: true }, never);
      let text = "";
      for await (const part of streamed.frames()) {
        if (part.type !== "chunk") continue;
        for (const each of part.data.choices) text += "delta" in each ? (each.delta.content ?? "") : "";
      }
      assert.equal(text, choice.text);
    }
  });

  test("an incremental stop string search ends the text where a search of the full text would", () => {
    const id = fc.constantFrom(97, 98, 60, 115, 62, 0xc3, 0xa9, bosId);
    const stop = fc.stringMatching(/^[ab<s>é]{1,4}$/);
    fc.assert(
      fc.property(fc.array(id, { maxLength: 24 }), fc.array(stop, { maxLength: 3 }), (ids, stops) => {
        const visible = assembled(ids, {}).text;
        const { text, stop: met, ids: out } = assembled(ids, { stops });
        assert.ok(visible.startsWith(text));
        if (met === null) assert.deepEqual([text, out], [visible, ids]);
        else assert.deepEqual(out, ids.slice(0, out.length));
        const whole = assembled(ids, { keepsSpecialTokens: true }).text;
        // A character that a special token cuts in two is spelled otherwise with and without it.
        if (!whole.includes("\ufffd"))
          assert.equal(
            met !== null,
            stops.some((each) => whole.includes(each)),
          );
      }),
      { numRuns: 2000 },
    );
  });

  test("real tokenizers spell their special tokens for it", async () => {
    for (const [family, text] of [
      ["bookworm", "<|im_end|>"],
      ["llama3", "<|eot_id|>"],
      ["phi3", "<|end|>"],
    ] as const) {
      const real = await load(family);
      const ids = await real.encode(`one${text}two`, { addSpecialTokens: false });
      const assembler = new Assembler(real, { ...bare, stops: [text] });
      const parts = [...ids.map((id) => assembler.push(id, null)), assembler.finish()];
      assert.deepEqual([parts.map((part) => part.text).join(""), assembler.stop], ["one", text], family);
    }
  });
});

describe("offsets", () => {
  test("count characters, not halves of them, in answers and in what they echo", async () => {
    await using rig = await saying(...bytes("😀é"), bosId, ...bytes("z"));
    const { text, logprobs } = await complete(rig, { prompt: "😀a", echo: true, logprobs: 0, max_tokens: 8 });
    assert.equal(text, "😀a😀éz");
    assert.ok(logprobs && "text_offset" in logprobs);
    assert.deepEqual(logprobs.text_offset, [0, 0, 0, 0, 1, 2, 2, 2, 2, 3, 3, 4, 4]);
  });

  test("offsets count an echoed prompt's own special tokens, but not added ones", async () => {
    for (const family of ["bookworm", "llama3", "phi3", "qwen2"] as const) {
      const real = await load(family);
      const special = { bookworm: "<|im_start|>", llama3: "<|eot_id|>", phi3: "<|user|>", qwen2: "<|im_start|>" }[
        family
      ];
      const text = `Say 😀 ${special}\nthis${special}naïve`;
      const ids = await real.encode(text, { addSpecialTokens: true });
      const { tokens } = promptPieces(real, { ids, text }, [], false);
      const characters = Array.from(text);
      for (const [index, { id, offset }] of tokens.entries()) {
        const spelled = real.tokenText(id);
        if (spelled === special) assert.equal(characters.slice(offset).join("").indexOf(special), 0, family);
        const isWhole = real.specialText(id) === null && !spelled.includes("\ufffd") && index > 0;
        const begins = characters.slice(offset).join("").trimStart();
        if (isWhole) assert.ok(begins.startsWith(spelled.trimStart()), `${family}: ${spelled} at ${offset}`);
      }
    }
  });

  test("a prompt of token ids is spelled without special tokens, and offsets are of that", () => {
    const { text, tokens } = promptPieces(tokenizer, { ids: [bosId, 97, eosId, 98], text: null }, [], false);
    assert.equal(text, "ab");
    assert.deepEqual(
      tokens.map(({ offset }) => offset),
      [0, 0, 1, 1],
    );
  });
});

test("half of a surrogate pair is computed and echoed as U+FFFD", async () => {
  await using rig = await saying(97);
  const choice = await complete(rig, { prompt: "a\ud800b", echo: true, logprobs: 0, max_tokens: 1 });
  assert.equal(choice.text, "a\ufffdba");
  assert.deepEqual(rig.engine.sequences[0]?.request.promptIds, bytes("a\ufffdb"));
  assert.ok(choice.logprobs && "text_offset" in choice.logprobs);
  assert.deepEqual(choice.logprobs.text_offset, [0, 1, 1, 1, 2, 3]);
});
