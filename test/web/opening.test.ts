/** What the page's comparison begins with, whatever adapters are served. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { onceEach, openingOf, type Preset, typedFirst } from "../../web/compare/opening.js";

const preset = (adapter: string, text: string, temperature: number | null = null): Preset => ({
  ...{ adapter, text, title: null },
  parameters: { temperature, top_p: null, max_tokens: null },
});

test("prompts in a chat template's format come last", () => {
  const texts = ["<|im_start|>user\nHello", "<s>[INST] Hello", "<start_of_turn>user", "Is 3 < 4 | 5 > 4?", "ROMEO:"];
  const ordered = typedFirst(texts.map((text) => preset("one", text))).map(({ text }) => text);
  assert.deepEqual(ordered, ["Is 3 < 4 | 5 > 4?", "ROMEO:", ...texts.slice(0, 3)]);
});

test("an example that a copy of an adapter brings too is offered once", () => {
  const presets = [preset("plays", "ROMEO:"), preset("dates", "In May"), preset("plays-2", "ROMEO:")];
  assert.deepEqual(onceEach(presets), presets.slice(0, 2));
});

test("the first example is shown with its adapter and one that writes freely", () => {
  const presets = [preset("calls", "call", 0), preset("dates", "date", 0), preset("plays", "ROMEO:")];
  const adapters = ["calls", "dates", "none", "plays"];
  assert.deepEqual(openingOf(adapters, presets), { example: presets[0], adapters: ["calls", "plays"] });
  assert.deepEqual(openingOf(["dates", "none"], presets), { example: presets[1], adapters: ["dates", "none"] });
  assert.deepEqual(openingOf(["none"], presets), { example: null, adapters: ["none"] });
});
