/** The formats of calls: by the names that `--tool-call-parser` takes, and by what a chat template says. */
import type { CallFormat } from "../format.js";
import { functionGemma } from "./function-gemma.js";
import { granite } from "./granite.js";
import { hermes, smolLm3 } from "./hermes.js";
import { llama3Json } from "./llama.js";
import { mistral } from "./mistral.js";
import { phi4MiniJson } from "./phi.js";
import { qwen3Coder } from "./qwen3-coder.js";

const formats: readonly CallFormat[] = [
  hermes,
  qwen3Coder,
  llama3Json,
  mistral,
  granite,
  phi4MiniJson,
  functionGemma,
  smolLm3,
];

export const callFormatNames: readonly string[] = formats.map(({ name }) => name);

export const callFormatNamed = (name: string): CallFormat | null => formats.find((each) => each.name === name) ?? null;

/** What only templates of a format hold; the first that is found counts. */
const signs: readonly (readonly [RegExp, CallFormat])[] = [
  [/\[TOOL_CALLS\]/, mistral],
  [/<start_function_call>/, functionGemma],
  [/<function=/, qwen3Coder],
  [/<\|\/tool_call\|>|<\|\/tool\|>|functools/, phi4MiniJson],
  [/<\|tool_call\|>/, granite],
  [/xml_tools/, smolLm3],
  [/<tool_call>/, hermes],
  [/<\|python_tag\|>|"parameters": dictionary/, llama3Json],
];

/** The format that a template asks a model for; null if it is none of these. */
export function detectCallFormat(template: string): CallFormat | null {
  return signs.find(([sign]) => sign.test(template))?.[1] ?? null;
}
