/** The options of `generate`: those of the engine that matter to a single sequence, and those of the request. */

import { adapterHelp, adaptersFolder } from "../adapters/source.js";
import { engineOptions } from "../options/engine-options.js";
import { count, given, type OptionTable, open, type Settings } from "../options/option.js";
import { decimal, flag, integer, text } from "../options/units.js";

const { maxBatch, maxQueue, maxAdapterQueue, maxStallMs, ...single } = engineOptions;

export const generateOptions = {
  ...single,
  adapter: open("Text", "none, only the base model", {
    placeholder: "adapter",
    parse: text,
    help: `adapter to use: ${adapterHelp}`,
  }),
  adapters: { ...adaptersFolder, group: "Text" },
  chat: given("Text", false, { parse: flag, help: "send the prompt as a user message, through the chat template" }),
  maxTokens: count("Text", 128, 1, "maximum tokens to generate"),
  temperature: open("Text", "1, or the model's", {
    placeholder: "number",
    parse: decimal(0, 2),
    help: "sampling temperature; 0 is greedy",
  }),
  topP: open("Text", "1, or the model's", {
    placeholder: "number",
    parse: decimal(0, 1),
    help: "nucleus sampling: sample from the likeliest tokens with this total probability",
  }),
  topK: open("Text", "off, or the model's", {
    placeholder: "n",
    parse: integer(0),
    help: "sample from this many of the likeliest tokens",
  }),
  minP: open("Text", "off, or the model's", {
    placeholder: "number",
    parse: decimal(0, 1),
    help: "drop tokens below this fraction of the likeliest token's probability",
  }),
  seed: open("Text", "random", {
    placeholder: "n",
    parse: integer(0),
    help: "random seed",
  }),
  stop: open("Text", "none", { placeholder: "text", parse: text, help: "string that ends the answer" }),
} as const satisfies OptionTable;

export type GenerateSettings = Settings<typeof generateOptions>;

/** Settings for a single sequence. */
export const singleSequence = {
  maxBatch: 1,
  maxQueue: 1,
  maxAdapterQueue: null,
  maxStallMs: maxStallMs.fallback,
} as const;
