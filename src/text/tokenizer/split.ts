/**
 * Rewrites pre-tokenizers so that the tokenizers package for JavaScript splits as the Rust library does. The package's Digits
 * matches ASCII digits only, its ByteLevel uses JavaScript's white space, its Metaspace does not split words, and its Split
 * ignores the merging behaviors. Each has an equivalent in patterns that the package handles.
 */

import { LorikeetError } from "../../base/errors.js";
import type { Json } from "../../base/json.js";
import { asList, asRecord, asString } from "../json.js";

/** GPT-2's words, as in the Rust library's ByteLevel. */
const gpt2Words = "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+";

/** Every match is a piece, and so is the text between matches. */
const isolate = (regex: string): Json => ({
  type: "Split",
  pattern: { Regex: regex },
  behavior: "Isolated",
  invert: false,
});

/** Only the matches are pieces: for patterns that cover the whole text. */
const matches = (regex: string): Json => ({
  type: "Split",
  pattern: { Regex: regex },
  behavior: "Removed",
  invert: true,
});

const inOrder = (...pretokenizers: readonly Json[]): Json => ({ type: "Sequence", pretokenizers });

/** \w of the Rust regular expressions. */
const wordCharacters = "\\p{Alphabetic}\\p{M}\\p{Nd}\\p{Pc}\\p{Join_Control}";
const word = `[${wordCharacters}]`;
const punctuation = "\\p{P}\\u0021-\\u002F\\u003A-\\u0040\\u005B-\\u0060\\u007B-\\u007E";

const escaped = (text: string): string => text.replace(/[\\^$.*+?()[\]{}|/]/g, "\\$&");

/** A pre-tokenizer that the package splits as the Rust library splits `config`; null if there is none. */
export function repairSplit(config: Json | null): Json | null {
  if (config === null) return null;
  switch (config.type) {
    case "Sequence":
      return inOrder(
        ...asList(config.pretokenizers)
          .map((part) => repairSplit(asRecord(part)))
          .filter((part) => part !== null),
      );
    case "Digits":
      return isolate(config.individual_digits === true ? "\\p{N}" : "\\p{N}+");
    case "ByteLevel":
      return byteLevel(config);
    case "Metaspace":
      return metaspace(config);
    case "Split":
      return split(config);
    case "Whitespace":
      return matches(`${word}+|[^${wordCharacters}\\p{White_Space}]+`);
    case "WhitespaceSplit":
      return matches("\\P{White_Space}+");
    case "Punctuation":
      return split({ ...config, type: "Split", pattern: { Regex: `[${punctuation}]` }, invert: false });
    case "BertPreTokenizer":
      return matches(`[^\\p{White_Space}${punctuation}]+|[${punctuation}]`);
    case "CharDelimiterSplit":
      return matches(`(?:(?!${escaped(asString(config.delimiter) ?? " ")})[\\s\\S])+`);
    case "FixedLength":
      return matches(`[\\s\\S]{1,${typeof config.length === "number" ? config.length : 5}}`);
    default:
      return config;
  }
}

/**
 * The runs of steps that may run on a whole text. The package marks every piece of the first section, so a step that marks only the
 * first piece begins a run.
 */
export function runsOf(config: Json | null): Json[] {
  if (config?.type !== "Sequence") return config === null ? [] : [config];
  const runs: Json[][] = [];
  for (const step of stepsOf(config)) {
    const run = runs.at(-1);
    const marksFirst = step.type === "Metaspace" && step.prepend_scheme === "first";
    if (run && !marksFirst) run.push(step);
    else runs.push([step]);
  }
  return runs.map((steps) => inOrder(...steps));
}

/** The steps of a pre-tokenizer, in order, without sequences. */
export function stepsOf(config: Json | null): Json[] {
  if (config === null) return [];
  if (config.type !== "Sequence") return [config];
  return asList(config.pretokenizers).flatMap((part) => stepsOf(asRecord(part)));
}

function byteLevel(config: Json): Json {
  if (config.use_regex === false) return config;
  const bytes = { ...config, use_regex: false, add_prefix_space: false };
  if (config.add_prefix_space !== true) return inOrder(isolate(gpt2Words), bytes);
  // A Metaspace that replaces spaces with spaces only adds one in front.
  const prefix = { type: "Metaspace", replacement: " ", prepend_scheme: "always" };
  return inOrder(prefix, isolate(gpt2Words), bytes);
}

function metaspace(config: Json): Json {
  const mark = asString(config.replacement) ?? "▁";
  const scheme = asString(config.prepend_scheme) ?? (config.add_prefix_space === false ? "never" : "always");
  const spelled = { ...config, prepend_scheme: scheme };
  if (config.split === false) return spelled;
  return inOrder(spelled, matches(joinedToNext(escaped(mark))));
}

function split(config: Json): Json {
  const pattern = asRecord(config.pattern);
  const regex = asString(pattern?.Regex);
  const text = asString(pattern?.String);
  const one = regex ?? (text === null ? null : escaped(text));
  const behavior = asString(config.behavior)?.toLowerCase();
  if (one === null) return config;
  if (config.invert === true) return inverted(config, one, behavior);
  switch (behavior) {
    case "mergedwithprevious":
      return matches(`(?:(?!${one})[\\s\\S])*(?:${one})|(?:(?!${one})[\\s\\S])+`);
    case "mergedwithnext":
      return matches(joinedToNext(one));
    case "contiguous":
      return matches(`(?:${one})+|(?:(?!${one})[\\s\\S])+`);
    default:
      return config;
  }
}

/** The text between matches takes the role of the matches: `removed` drops it, `isolated` keeps both. */
function inverted(config: Json, one: string, behavior: string | undefined): Json {
  if (behavior === "removed") return matches(one);
  if (behavior === "isolated") return isolate(one);
  throw new LorikeetError(
    "model_unsupported",
    `The pre-tokenizer "Split" in tokenizer.json is inverted with the behavior ${JSON.stringify(config.behavior)}, which is not supported.`,
    { param: "tokenizer.json", found: config.behavior, allowed: ["Removed", "Isolated"] },
  );
}

/** The same pre-tokenizer for a text that continues another: it puts nothing in front. */
export function withoutPrefixSpace(config: Json | null): Json | null {
  switch (config?.type) {
    case "Sequence":
      return {
        ...config,
        pretokenizers: asList(config.pretokenizers).map((part) => withoutPrefixSpace(asRecord(part))),
      };
    case "ByteLevel":
      return { ...config, add_prefix_space: false };
    case "Metaspace":
      return { ...config, prepend_scheme: "never" };
    default:
      return config;
  }
}

const joinedToNext = (one: string): string => `(?:${one})(?:(?!${one})[\\s\\S])*|(?:(?!${one})[\\s\\S])+`;
