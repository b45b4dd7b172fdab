/** The options of `generate`: the engine's, without what only a crowd needs, and those of one text. */

import {
  engineOptions,
  flagName,
  given,
  type OptionTable,
  open,
  type Settings,
  serveOptions,
} from "../options/options.js";
import { decimal, flag, integer, text } from "../options/units.js";

const { maxBatch, maxQueue, maxAdapterQueue, maxStallMs, ...single } = engineOptions;

export const generateOptions = {
  ...single,
  adapter: open("Text", "none, the bare base", {
    placeholder: "name",
    parse: text,
    help: "the adapter to answer through",
  }),
  adapters: open("Text", "adapters", { placeholder: "folder", parse: text, help: "folder of adapters" }),
  chat: given("Text", false, { parse: flag, help: "send the prompt as a user's message through the chat template" }),
  maxTokens: given("Text", 128, { placeholder: "n", parse: integer(1), help: "tokens to generate at most" }),
  temperature: open("Text", "1, or the model's", {
    placeholder: "number",
    parse: decimal(0, 2),
    help: "randomness; 0 takes the likeliest token",
  }),
  topP: open("Text", "1, or the model's", { placeholder: "number", parse: decimal(0, 1), help: "nucleus sampling" }),
  topK: open("Text", "off, or the model's", {
    placeholder: "n",
    parse: integer(0),
    help: "likeliest tokens to choose from",
  }),
  minP: open("Text", "off, or the model's", {
    placeholder: "number",
    parse: decimal(0, 1),
    help: "least probability, as a part of the likeliest token's",
  }),
  seed: open("Text", "a new one each time", {
    placeholder: "n",
    parse: integer(0),
    help: "makes the answer repeatable",
  }),
  stop: open("Text", "none", { placeholder: "text", parse: text, help: "a text that ends the answer" }),
} as const satisfies OptionTable;

export type GenerateSettings = Settings<typeof generateOptions>;

/** What the one configuration file of all commands may hold. */
export const configKeys = [...new Set([...Object.keys(serveOptions), ...Object.keys(generateOptions)])].map(flagName);

/** One sequence, alone. */
export const singleSequence = {
  maxBatch: 1,
  maxQueue: 1,
  maxAdapterQueue: null,
  maxStallMs: maxStallMs.fallback,
} as const;
