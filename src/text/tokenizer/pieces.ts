/**
 * Splits a text into words as a pre-tokenizer does, without losing where they are: the same rules as the package's, over the matches
 * of their patterns.
 */

import type { Json } from "../../base/json.js";
import { asRecord, asString } from "../json.js";
import type { AlignedText } from "./aligned-text.js";
import { byteLevelText } from "./bytes.js";
import { createMatcher } from "./matches.js";
import { openPackage } from "./package.js";
import { repairSplit, stepsOf } from "./split.js";

/** `isFirst`: whether the text starts at the start of the whole text. */
type Split = (text: AlignedText, isFirst: boolean) => AlignedText[];

/** @throws LorikeetError `model_unsupported` as the package does. */
export function createAlignedSplitter(preTokenizer: Json | null): Split {
  const config = repairSplit(preTokenizer);
  openPackage({ pre_tokenizer: config });
  const steps = stepsOf(config).map(createStep);
  return (text, isFirst) => {
    const whole = text.text === "" ? [] : [text];
    return steps.reduce<AlignedText[]>(
      (pieces, step) => pieces.flatMap((piece) => step(piece, isFirst && (pieces.length === 1 || startsText(piece)))),
      whole,
    );
  };
}

/** A normalizer can leave several pieces that came from the first character. */
const startsText = (piece: AlignedText): boolean => piece.originOf(0, 1)[0] === 0;

function createStep(config: Json): Split {
  switch (config.type) {
    case "ByteLevel":
      return (text) => {
        const isPrefixed = config.add_prefix_space === true && !text.text.startsWith(" ");
        return [(isPrefixed ? text.prefixed(" ") : text).changed(byteLevelText, "character")];
      };
    case "Metaspace":
      return metaspace(config);
    default:
      return split(config);
  }
}

/** Without splitting, which `repairSplit` has made a step of its own. */
function metaspace({ replacement, prepend_scheme: scheme }: Json): Split {
  const mark = asString(replacement) ?? "▁";
  const spaces = createMatcher({ String: " " });
  return (text, isFirst) => {
    const marked = text.replaced(spaces(text.text), mark);
    const isPrefixed = (scheme === "always" || (scheme === "first" && isFirst)) && !marked.text.startsWith(mark);
    return [isPrefixed ? marked.prefixed(mark) : marked];
  };
}

/** Matches are the pieces if `invert` is set; otherwise so is the text between them. */
function split(config: Json): Split {
  const matchesOf = createMatcher(asRecord(config.pattern) ?? {});
  const behavior = asString(config.behavior)?.toLowerCase();
  const keepsMatches = behavior !== "removed" || config.invert === true;
  const keepsOthers = behavior !== "removed" || config.invert !== true;
  return (text) => {
    const pieces: AlignedText[] = [];
    const add = (begin: number, end: number): void => {
      if (begin < end) pieces.push(text.slice(begin, end));
    };
    let covered = 0;
    for (const [begin, end] of matchesOf(text.text)) {
      if (keepsOthers) add(covered, begin);
      if (keepsMatches) add(begin, end);
      covered = end;
    }
    if (keepsOthers) add(covered, text.text.length);
    return pieces;
  };
}
