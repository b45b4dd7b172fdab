/**
 * The normalizers of a tokenizer.json, as the Rust library computes them. White space is Unicode's: JavaScript's `trim` and `\s`
 * include U+FEFF and lack U+0085.
 */

import { LorikeetError } from "../../base/errors.js";
import type { Json } from "../../base/json.js";
import { asList, asRecord, asString } from "../json.js";
import type { AlignedText } from "./aligned-text.js";
import { byteLevelText } from "./bytes.js";
import { createCharsMap } from "./chars-map.js";
import { createMatcher } from "./matches.js";
import { openPackage } from "./package.js";

export type Normalize = (text: string) => string;

/** One change of a text, with or without knowing where its characters came from. */
interface NormalizeStep {
  readonly change: Normalize;
  readonly align: (text: AlignedText) => AlignedText;
}

const supported = [
  "BertNormalizer",
  "ByteLevel",
  "Lowercase",
  "NFC",
  "NFD",
  "NFKC",
  "NFKD",
  "Nmt",
  "Precompiled",
  "Prepend",
  "Replace",
  "Sequence",
  "Strip",
  "StripAccents",
];

/** @throws LorikeetError `model_unsupported` for an unknown kind. */
export function createNormalizer(config: Json | null): Normalize {
  const changes = createSteps(config).map(({ change }) => change);
  return (text) => changes.reduce((changed, change) => change(changed), text);
}

/** The same, for a text whose characters keep their places in the original. */
export function createAlignedNormalizer(config: Json | null): (text: AlignedText) => AlignedText {
  const steps = createSteps(config);
  return (text) => steps.reduce((changed, { align }) => align(changed), text);
}

function createSteps(config: Json | null): NormalizeStep[] {
  if (config === null) return [];
  switch (config.type) {
    case "Sequence":
      return asList(config.normalizers).flatMap((part) => createSteps(asRecord(part)));
    case "NFC":
    case "NFD":
    case "NFKC":
    case "NFKD": {
      const form = config.type;
      return [byGrapheme((text) => text.normalize(form))];
    }
    case "Lowercase":
      return [byCharacter(lowercase)];
    case "Strip":
      return [strip(config.strip_left === true, config.strip_right === true)];
    case "StripAccents":
      return [byCharacter((text) => text.replace(/\p{M}/gu, ""))];
    case "Prepend": {
      const prefix = asString(config.prepend) ?? "";
      return [{ change: (text) => (text === "" ? "" : prefix + text), align: (text) => text.prefixed(prefix) }];
    }
    case "Replace":
      return [replace(config)];
    case "Nmt":
      return [byCharacter(nmt)];
    case "Precompiled":
      return [byGrapheme(createCharsMap(asString(config.precompiled_charsmap) ?? ""))];
    case "BertNormalizer":
      return bert(config);
    case "ByteLevel":
      return [byCharacter(byteLevelText)];
  }
  throw new LorikeetError(
    "model_unsupported",
    `The normalizer in tokenizer.json is ${JSON.stringify(config.type)}, which is not supported. Supported are ${supported.join(", ")}.`,
    { param: "tokenizer.json", found: config.type, allowed: supported },
  );
}

const byCharacter = (change: Normalize): NormalizeStep => ({
  change,
  align: (text) => text.changed(change, "character"),
});

const byGrapheme = (change: Normalize): NormalizeStep => ({
  change,
  align: (text) => text.changed(change, "grapheme"),
});

/** The same normalizer for a text that continues another: nothing is put in front of it. */
export function withoutPrepend(config: Json | null): Json | null {
  if (config?.type === "Prepend") return null;
  if (config?.type !== "Sequence") return config;
  const normalizers = asList(config.normalizers).map((part) => withoutPrepend(asRecord(part)));
  return { ...config, normalizers: normalizers.filter((part) => part !== null) };
}

/** Character by character: a final sigma is not a special case, unlike in `toLowerCase` of a whole text. */
function lowercase(text: string): string {
  const lower = text.toLowerCase();
  return text.includes("Σ") ? Array.from(text, (character) => character.toLowerCase()).join("") : lower;
}

function strip(left: boolean, right: boolean): NormalizeStep {
  const begun: Normalize = left ? (text) => text.replace(/^\p{White_Space}+/u, "") : (text) => text;
  const ended: Normalize = right ? withoutLastSpaces : (text) => text;
  return {
    change: (text) => ended(begun(text)),
    align(text) {
      const begin = text.text.length - begun(text.text).length;
      return text.slice(begin, Math.max(begin, ended(text.text).length));
    },
  };
}

const whiteSpace = /\p{White_Space}/u;

/** A pattern for white space at the end takes quadratic time. */
function withoutLastSpaces(text: string): string {
  let end = text.length;
  while (end > 0 && whiteSpace.test(text.charAt(end - 1))) end--;
  return text.slice(0, end);
}

function replace(config: Json): NormalizeStep {
  const content = asString(config.content) ?? "";
  // In JavaScript `$` begins a reference to the match.
  const { normalizer } = openPackage({ normalizer: { ...config, content: content.replaceAll("$", "$$$$") } });
  const matchesOf = createMatcher(asRecord(config.pattern) ?? {});
  return {
    change: normalizer ?? ((text) => text),
    align: (text) => text.replaced(matchesOf(text.text), content),
  };
}

/** SentencePiece's NMT rules: controls are removed; other white space and a few marks become spaces. */
function nmt(text: string): string {
  const kept = Array.from(text).filter((character) => !isDroppedByNmt(character.charCodeAt(0)));
  return kept.join("").replace(/[\t\n\f\r\u1680\u200B-\u200F\u2028\u2029\u2581\uFEFF\uFFFD]/g, " ");
}

function isDroppedByNmt(code: number): boolean {
  if (code === 0x7f || code === 0x8f || code === 0x9f || code === 0x0b) return true;
  return (code >= 0x01 && code <= 0x08) || (code >= 0x0e && code <= 0x1f);
}

const ideographs =
  /[\u4E00-\u9FFF\u3400-\u4DBF\u{20000}-\u{2A6DF}\u{2A700}-\u{2B73F}\u{2B740}-\u{2B81F}\u{2B920}-\u{2CEAF}\uF900-\uFAFF\u{2F800}-\u{2FA1F}]/gu;

function bert(config: Json): NormalizeStep[] {
  const steps: NormalizeStep[] = [];
  const isSet = (key: string): boolean => config[key] !== false && config[key] !== null;
  if (isSet("clean_text")) {
    // Characters that this Unicode does not know yet, such as a new emoji, stay.
    const clean: Normalize = (text) =>
      text.replace(/(?![\t\n\r])[\p{Cc}\p{Cf}\p{Co}\uFFFD]/gu, "").replace(/\p{White_Space}/gu, " ");
    steps.push(byCharacter(clean));
  }
  if (isSet("handle_chinese_chars")) steps.push(byCharacter((text) => text.replace(ideographs, " $& ")));
  const lower = isSet("lowercase");
  if (typeof config.strip_accents === "boolean" ? config.strip_accents : lower) {
    steps.push(byGrapheme((text) => text.normalize("NFD")));
    steps.push(byCharacter((text) => text.replace(/\p{Mn}/gu, "")));
  }
  if (lower) steps.push(byCharacter(lowercase));
  return steps;
}
