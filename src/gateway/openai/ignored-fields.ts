/** Parameters of completions and chats that change no answer, or change none at the values that are accepted. */

import { isObject } from "../../base/json.js";
import type { IgnoredTable } from "../body/parse.js";

const isString = (value: unknown): boolean => typeof value === "string";
const isBoolean = (value: unknown): boolean => typeof value === "boolean";
const isEmptyList = (value: unknown): boolean => Array.isArray(value) && value.length === 0;

/** One of the listed strings. */
const oneOf = (...words: readonly string[]) => ({
  allowed: words.map((word) => `"${word}"`).join(", "),
  accepts: (value: unknown): boolean => typeof value === "string" && words.includes(value),
});

export const commonIgnored: IgnoredTable = {
  length_penalty: { allowed: "1", accepts: (value) => value === 1 },
  use_beam_search: { allowed: "false", accepts: (value) => value === false },
  spaces_between_special_tokens: { allowed: "true or false", accepts: isBoolean },
  user: { allowed: "a string", accepts: isString },
  safety_identifier: { allowed: "a string", accepts: isString },
  prompt_cache_key: { allowed: "a string", accepts: isString },
  prompt_cache_retention: oneOf("in_memory", "in-memory", "24h"),
  store: { allowed: "true or false", accepts: isBoolean },
  service_tier: { allowed: "a string", accepts: isString },
  metadata: { allowed: "an object", accepts: isObject },
  verbosity: oneOf("low", "medium", "high"),
  functions: { allowed: "an empty list", accepts: isEmptyList },
  function_call: { allowed: '"none"', accepts: (value) => value === "none" },
};

export const completionIgnored: IgnoredTable = {
  ...commonIgnored,
  tools: { allowed: "an empty list", accepts: isEmptyList },
  tool_choice: { allowed: '"none"', accepts: (value) => value === "none" },
  parallel_tool_calls: { allowed: "true or false", accepts: isBoolean },
  reasoning_effort: oneOf("none", "minimal", "low", "medium", "high", "xhigh"),
  best_of: { allowed: "1", accepts: (value) => value === 1 },
  suffix: { allowed: "an empty string", accepts: (value) => value === "" },
};

export const chatIgnored: IgnoredTable = {
  ...commonIgnored,
  echo: { allowed: "false", accepts: (value) => value === false },
  documents: { allowed: "an empty list", accepts: isEmptyList },
  modalities: {
    allowed: '["text"]',
    accepts: (value) => Array.isArray(value) && value.length === 1 && value[0] === "text",
  },
};
