/**
 * Encodes examples into token rows, with the positions that count in the loss. A prompt has the ids that the server computes for the
 * same request. Labels depend on positions, never on ids.
 */
import { assert } from "../../base/errors.js";
import type { Tokenizer } from "../../text/types.js";
import { encodeChat } from "./chat.js";
import type { Place } from "./faults.js";
import type { ChatTurn } from "./messages.js";
import {
  type Example,
  type ExampleKind,
  type InstructionExample,
  type PreferenceAnswer,
  type PreferenceExample,
  RowFault,
} from "./rows.js";

export interface TokenRow {
  readonly ids: Int32Array;
  /** 1 for tokens that count in the loss. The first never does: nothing predicts it. */
  readonly trained: Uint8Array;
  /** Tokens before the first trained one. */
  readonly promptLength: number;
  readonly kind: ExampleKind;
  readonly place: Place;
  /** Source of a row with a label, to score other labels in its place. */
  readonly source?: LabelSource;
}

export interface LabelSource {
  readonly text: string;
  readonly label: string;
}

/** Rows of a pair, in this order: chosen, rejected. */
export type TokenPair = readonly [TokenRow, TokenRow];

export interface Encoding {
  readonly tokenizer: Tokenizer;
  /** The token that ends a text or completion; null if the model has none. */
  readonly endId: number | null;
  /** Replaces an empty prompt, and stays at the start of a shortened one. */
  readonly bosId: number | null;
  readonly labelTemplate: LabelTemplate;
  /** Called with warnings; the same one may repeat. */
  readonly warn?: ((message: string) => void) | undefined;
}

/** A template in two parts. Whitespace before {label} belongs to the label, as tokenizers attach it to the next word. */
export interface LabelTemplate {
  readonly source: string;
  prompt(text: string): string;
  completion(label: string): string;
}

/** Throws RowFault unless {text} and {label} each occur once, in this order. */
export function parseLabelTemplate(source: string): LabelTemplate {
  const texts = source.split("{text}");
  const [before = "", between = ""] = texts;
  const [middle = "", after] = between.split("{label}");
  if (texts.length !== 2 || after === undefined || source.split("{label}").length !== 2) {
    throw new RowFault("must hold {text} once and then {label} once");
  }
  const cut = middle.trimEnd().length === 0 ? 0 : middle.replace(/[ \t]+$/, "").length;
  return {
    source,
    prompt: (text) => before + text + middle.slice(0, cut),
    completion: (label) => middle.slice(cut) + label + after,
  };
}

/** The rows of an example: one, or one per answer for a chat whose template does not extend turn by turn. Throws RowFault. */
export async function encodeExample(example: Example, place: Place, encoding: Encoding): Promise<TokenRow[]> {
  const { labelTemplate } = encoding;
  switch (example.kind) {
    case "text":
      return [wholeRow(await encodeText(example.text, encoding), place)];
    case "completion":
      return [await completionRow(example.prompt, example.completion, "completion", place, encoding)];
    case "label": {
      const completion = labelTemplate.completion(example.label);
      const row = await completionRow(labelTemplate.prompt(example.text), completion, "label", place, encoding);
      return [{ ...row, source: { text: example.text, label: example.label } }];
    }
    case "instruction":
      return [await instructionRow(example, place, encoding)];
    case "chat":
      return (await encodeChat(example.messages, encoding.tokenizer, encoding, example.tools)).map((row) => ({
        ...row,
        kind: "chat",
        place,
      }));
    case "preference":
      throw new RowFault("is a preference pair, which only train --method dpo learns from");
  }
}

/** The two answers of a pair after the same prompt. */
export async function encodePair(example: PreferenceExample, place: Place, encoding: Encoding): Promise<TokenPair> {
  const { prompt, tools } = example;
  const row = async (answer: PreferenceAnswer): Promise<TokenRow> => {
    const said: ChatTurn =
      typeof answer === "string" ? { role: "assistant", content: answer, trained: true } : { ...answer, trained: true };
    if (typeof prompt === "string") return completionRow(prompt, said.content, "preference", place, encoding);
    const turns: ChatTurn[] = prompt.map((turn) => ({ ...turn, trained: false }));
    const [encoded] = await encodeChat([...turns, said], encoding.tokenizer, encoding, tools);
    assert(encoded, "a chat with a trained turn has a row");
    return { ...encoded, kind: "preference", place };
  };
  return [await row(example.chosen), await row(example.rejected)];
}

/** The ids of a text as the server encodes it, followed by the end token. */
async function encodeText(text: string, encoding: Encoding): Promise<number[]> {
  const { tokenizer, endId } = encoding;
  const ids = await tokenizer.encode(text, { addSpecialTokens: true });
  await requireOneBeginning(ids, encoding);
  if (endId !== null && ids.length > 0 && ids.at(-1) !== endId) ids.push(endId);
  return ids;
}

/** Rejects text that starts with the token that the tokenizer prepends anyway. */
async function requireOneBeginning(ids: readonly number[], { tokenizer, bosId }: Encoding): Promise<void> {
  if (bosId === null || ids[0] !== bosId || ids[1] !== bosId) return;
  if ((await tokenizer.encode("", { addSpecialTokens: true }))[0] !== bosId) return;
  const begin = JSON.stringify(tokenizer.tokenText(bosId));
  throw new RowFault(`begins with ${begin}, which the tokenizer prepends to every text`);
}

export function wholeRow(ids: readonly number[] | Int32Array, place: Place): TokenRow {
  const trained = new Uint8Array(ids.length).fill(1);
  trained[0] = 0;
  return { ids: Int32Array.from(ids), trained, promptLength: 0, kind: "text", place };
}

async function completionRow(
  prompt: string,
  completion: string,
  kind: ExampleKind,
  place: Place,
  encoding: Encoding,
): Promise<TokenRow> {
  const { tokenizer, endId, bosId } = encoding;
  const encoded = await tokenizer.encode(prompt, { addSpecialTokens: true });
  await requireOneBeginning(encoded, encoding);
  const promptIds = encoded.length > 0 ? encoded : bosId === null ? [] : [bosId]; // as in the server
  const answer = await continuation(prompt, encoded, completion, tokenizer);
  if (endId !== null && answer.slice(0, -1).includes(endId)) {
    throw new RowFault(`has text after the end token ${JSON.stringify(tokenizer.tokenText(endId))} in the completion`);
  }
  const ids = [...promptIds, ...answer];
  if (endId !== null && ids.at(-1) !== endId) ids.push(endId);
  return rowOf(ids, promptIds.length, kind, place);
}

/**
 * The ids that follow the prompt's: from the encoding of the whole text if that starts with the prompt's ids, as it nearly always
 * does, else from that of the completion alone.
 */
async function continuation(
  prompt: string,
  promptIds: readonly number[],
  completion: string,
  tokenizer: Tokenizer,
): Promise<number[]> {
  const whole = await tokenizer.encode(prompt + completion, { addSpecialTokens: true });
  if (promptIds.every((id, i) => id === whole[i])) return whole.slice(promptIds.length);
  return tokenizer.encode(completion, { addSpecialTokens: false, continues: true });
}

async function instructionRow(
  { instruction, input, output, before }: InstructionExample,
  place: Place,
  encoding: Encoding,
): Promise<TokenRow> {
  const { tokenizer } = encoding;
  if (tokenizer.chatTemplate === null) {
    if (before.length > 0)
      throw new RowFault("has `system` or `history`, which only a model with a chat template reads");
    return completionRow(alpacaPrompt(instruction, input), output, "instruction", place, encoding);
  }
  const content = input === "" ? instruction : `${instruction}\n\n${input}`;
  const messages = [
    ...before,
    { role: "user", content, trained: false },
    { role: "assistant", content: output, trained: true },
  ];
  const [row] = await encodeChat(messages, encoding.tokenizer, encoding);
  assert(row, "a chat with a trained turn has a row");
  return { ...row, kind: "instruction", place };
}

/** Stanford Alpaca's prompt, which is common for models without a chat template. */
function alpacaPrompt(instruction: string, input: string): string {
  const task = `### Instruction:\n${instruction}\n\n`;
  if (input === "") {
    return `Below is an instruction that describes a task. Write a response that appropriately completes the request.\n\n${task}### Response:\n`;
  }
  return `Below is an instruction that describes a task, paired with an input that provides further context. Write a response that appropriately completes the request.\n\n${task}### Input:\n${input}\n\n### Response:\n`;
}

function rowOf(ids: readonly number[], promptLength: number, kind: ExampleKind, place: Place): TokenRow {
  const trained = new Uint8Array(ids.length).fill(1, Math.max(promptLength, 1));
  return { ids: Int32Array.from(ids), trained, promptLength, kind, place };
}
