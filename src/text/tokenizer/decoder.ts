/**
 * Reads the decoder of tokenizer.json: creates the stages of a stream, and the bytes of single tokens. Refuses decoders that
 * cannot run on a stream.
 */

import { LorikeetError } from "../../base/errors.js";
import type { Json } from "../../base/json.js";
import { asList, asRecord, asString } from "../json.js";
import { byteLevelBytes, fallbackByte, textBytes } from "./bytes.js";
import {
  byteFallbackStage,
  byteLevelStage,
  fuseStage,
  joinStage,
  metaspaceStage,
  replaceStage,
  type Stage,
  suffixStage,
  textStripStage,
  tokenStripStage,
  wordPieceStage,
} from "./stage.js";

/** One step, also for a single token: the token's bytes if this step determines them, else the changed token. */
interface Step {
  readonly stage: () => Stage;
  readonly spell: (token: string) => string | Uint8Array;
}

export interface Decoder {
  /** The stages of a new stream, in order. */
  stages(): Stage[];
  /** The bytes of a token in the middle of a text. */
  bytes(token: string): Uint8Array;
}

/** @throws LorikeetError `model_unsupported` with the unsupported step and the supported ones. */
export function createDecoder(config: Json | null): Decoder {
  const steps: Step[] = [];
  let fused = false;
  for (const part of flatten(config)) {
    steps.push(step(part, fused));
    fused ||= part.type === "Fuse" || part.type === "ByteLevel";
  }
  if (config === null) steps.push({ stage: joinStage, spell: same });
  return {
    stages: () => steps.map((each) => each.stage()),
    bytes(token) {
      let spelled = token;
      for (const { spell } of steps) {
        const next = spell(spelled);
        if (typeof next !== "string") return next;
        spelled = next;
      }
      return textBytes(spelled);
    },
  };
}

function flatten(config: Json | null): Json[] {
  if (config === null) return [];
  if (config.type !== "Sequence") return [config];
  return asList(config.decoders).flatMap((part) => flatten(asRecord(part) ?? {}));
}

const same = (token: string): string => token;

function step(config: Json, fused: boolean): Step {
  switch (config.type) {
    case "Fuse":
      return { stage: fuseStage, spell: same };
    case "Replace":
      return replace(config, fused);
    case "Strip":
      return strip(config, fused);
    case "ByteLevel":
      if (fused) break;
      return { stage: byteLevelStage, spell: byteLevelBytes };
    case "ByteFallback":
      if (fused) break;
      return {
        stage: byteFallbackStage,
        spell(token) {
          const byte = fallbackByte(token);
          return byte === null ? token : Uint8Array.of(byte);
        },
      };
    case "Metaspace":
      if (fused) break;
      return metaspace(config);
    case "WordPiece":
      if (fused) break;
      return wordPiece(config);
    case "BPEDecoder":
      if (fused) break;
      return suffix(config);
  }
  throw unsupported(`${JSON.stringify(config.type)}${fused ? " after the tokens are fused" : ""}`);
}

function replace(config: Json, fused: boolean): Step {
  const content = asString(config.content) ?? "";
  const pattern = asRecord(config.pattern);
  const text = asString(pattern?.String);
  const regex = asString(pattern?.Regex);
  // In a fused text a longer pattern could span two tokens.
  if (fused && (text === null || Array.from(text).length !== 1))
    throw unsupported('"Replace" of a pattern in fused text');
  const source = text === null ? regex : text.replace(/[\\^$.*+?()[\]{}|/]/g, "\\$&");
  if (source === null) throw unsupported('"Replace" without a pattern');
  let expression: RegExp;
  try {
    expression = new RegExp(source, "gu");
  } catch {
    throw unsupported(`"Replace" with the pattern ${JSON.stringify(regex)}`);
  }
  const stage = replaceStage(expression, content);
  return { stage: () => stage, spell: stage.push };
}

function strip(config: Json, fused: boolean): Step {
  const character = asString(config.content) ?? " ";
  const count = (value: unknown): number => (typeof value === "number" && value > 0 ? Math.floor(value) : 0);
  const make = fused ? textStripStage : tokenStripStage;
  return { stage: () => make(character, count(config.start), count(config.stop)), spell: same };
}

function metaspace(config: Json): Step {
  const mark = asString(config.replacement) ?? "▁";
  const prepended = asString(config.prepend_scheme) !== "never" && config.add_prefix_space !== false;
  return { stage: () => metaspaceStage(mark, prepended), spell: (token) => token.replaceAll(mark, " ") };
}

function wordPiece(config: Json): Step {
  const prefix = asString(config.prefix) ?? "##";
  const cleanup = config.cleanup !== false;
  const spell = (token: string): string => (token.startsWith(prefix) ? token.slice(prefix.length) : ` ${token}`);
  return { stage: () => wordPieceStage(prefix, cleanup), spell };
}

function suffix(config: Json): Step {
  const mark = asString(config.suffix) ?? "</w>";
  return { stage: () => suffixStage(mark), spell: (token) => token.replaceAll(mark, " ") };
}

const supported = [
  "BPEDecoder",
  "ByteLevel",
  "ByteFallback",
  "Fuse",
  "Metaspace",
  "Replace",
  "Sequence",
  "Strip",
  "WordPiece",
];

const unsupported = (found: string): LorikeetError =>
  new LorikeetError(
    "model_unsupported",
    `The decoder in tokenizer.json has the step ${found}, which is not supported. Supported are ${supported.join(", ")}.`,
    { param: "tokenizer.json", found, allowed: supported },
  );
