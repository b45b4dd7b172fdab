/**
 * The parts of a tokenizer.json that are lists of steps: what each step must have, whatever its type. The Rust library refuses such
 * files too; an ignored step would give other ids.
 */

import { LorikeetError } from "../../base/errors.js";
import type { Json } from "../../base/json.js";
import { asRecord, asString, describe } from "../json.js";

/** The names of the parts, and of the list in which a "Sequence" has its steps. */
const stepsOf = {
  normalizer: "normalizers",
  pre_tokenizer: "pretokenizers",
  post_processor: "processors",
  decoder: "decoders",
} as const;

const maxDepth = 16;
const behaviors = ["removed", "isolated", "mergedwithprevious", "mergedwithnext", "contiguous"];

/** null if the file lacks the part. @throws LorikeetError `model_invalid` with the place of what is wrong. */
export function readPart(file: Json, name: keyof typeof stepsOf): Json | null {
  const part = file[name] ?? null;
  if (part === null) return null;
  checkStep(part, name, stepsOf[name], 0);
  return asRecord(part);
}

function checkStep(step: unknown, place: string, list: string, depth: number): void {
  const record = asRecord(step);
  if (!record) throw invalid(`${place} must be an object, but is ${describe(step)}`);
  if (record.type === "Sequence") {
    const steps = record[list];
    if (!Array.isArray(steps)) throw invalid(`${place}.${list} must be a list, but is ${describe(steps)}`);
    if (depth === maxDepth) throw invalid(`${place} is nested more than ${maxDepth} levels deep`);
    for (const [index, each] of steps.entries()) checkStep(each, `${place}.${list}[${index}]`, list, depth + 1);
  }
  if (record.type === "Split" || record.type === "Replace") checkPattern(record.pattern, `${place}.pattern`);
  if (record.type === "Split" || record.type === "Punctuation") checkBehavior(record.behavior, `${place}.behavior`);
}

function checkPattern(value: unknown, place: string): void {
  const pattern = asRecord(value);
  if (asString(pattern?.String) !== null || asString(pattern?.Regex) !== null) return;
  throw invalid(`${place} must be an object with a string named "String" or "Regex", but is ${describe(value)}`);
}

function checkBehavior(value: unknown, place: string): void {
  if (value === undefined || behaviors.includes(asString(value)?.toLowerCase() ?? "")) return;
  const found = JSON.stringify(value);
  throw invalid(
    `${place} must be Removed, Isolated, MergedWithPrevious, MergedWithNext or Contiguous, but is ${found.slice(0, 100)}`,
  );
}

const invalid = (fault: string): LorikeetError =>
  new LorikeetError("model_invalid", `The tokenizer cannot be used: ${fault}.`, { param: "tokenizer.json" });
