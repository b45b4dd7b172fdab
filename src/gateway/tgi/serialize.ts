/** Answers in TGI's form: one event a token, of which the last has the text and the details, and whole answers. */
import type { Tokenizer } from "../../text/types.js";
import type { Answer } from "../answer.js";
import type { ChoicePart } from "../parts.js";
import type { GenerateRequest } from "./generate-input.js";
import { finite, type ShownToken, type TokenObject, TokenReader } from "./tokens.js";

type FinishReason = "length" | "eos_token" | "stop_sequence";

/** What both kinds of details have. `prompt_tokens` is LoRAX's name, `input_length` TGI's. */
interface Ending {
  readonly finish_reason: FinishReason;
  readonly generated_tokens: number;
  readonly seed: number | null;
  readonly prompt_tokens: number;
  readonly input_length: number;
  readonly adapter: string | null;
  readonly digest: string | null;
}

interface PrefillToken {
  readonly id: number;
  readonly text: string;
  readonly logprob: number | null;
}

export interface WholeDetails extends Ending {
  readonly prefill: readonly PrefillToken[];
  readonly tokens: readonly TokenObject[];
  readonly top_tokens?: readonly (readonly TokenObject[])[];
}

export interface GeneratedText {
  readonly generated_text: string;
  readonly details?: WholeDetails;
}

export interface TokenEvent {
  /** Counts from 1. */
  readonly index: number;
  /** null only in an answer without any token. */
  readonly token: TokenObject | null;
  readonly top_tokens?: readonly TokenObject[];
  /** In the last event. */
  readonly generated_text: string | null;
  /** In the last event, if requested. */
  readonly details: Ending | null;
}

/** A stream's events. The last token carries the details, so each event waits for the next token or the end. */
export async function* tokenEvents(
  answer: Answer<GenerateRequest>,
  tokenizer: Tokenizer | null,
): AsyncGenerator<TokenEvent, void, undefined> {
  const { request } = answer;
  const reader = new TokenReader(tokenizer);
  let text = "";
  let index = 0;
  let held: ShownToken | null = null;
  let end: ChoicePart | null = null;
  for await (const part of answer.parts()) {
    const { lead, tokens } = reader.read(part);
    text += part.text;
    held = withText(held, lead);
    for (const token of tokens) {
      if (held) yield eventOf(held, ++index, request);
      held = token;
    }
    if (part.finish !== null) end = part;
  }
  yield {
    ...eventOf(held, ++index, request),
    generated_text: request.textBefore + text,
    details: end && request.hasDetails ? endingOf(answer, end) : null,
  };
}

function withText(shown: ShownToken | null, text: string): ShownToken | null {
  if (shown === null || text === "") return shown;
  return { ...shown, token: { ...shown.token, text: shown.token.text + text } };
}

function eventOf(shown: ShownToken | null, index: number, { topTokens }: GenerateRequest): TokenEvent {
  return {
    index,
    token: shown?.token ?? null,
    ...(topTokens > 0 ? { top_tokens: shown?.top ?? [] } : {}),
    generated_text: null,
    details: null,
  };
}

export function wholeOf(
  answer: Answer<GenerateRequest>,
  choice: ChoicePart,
  tokenizer: Tokenizer | null,
): GeneratedText {
  const { request } = answer;
  const generated_text = request.textBefore + choice.text;
  if (!request.hasDetails) return { generated_text };
  const { tokens } = new TokenReader(tokenizer).read(choice);
  return {
    generated_text,
    details: {
      ...endingOf(answer, choice),
      prefill: request.hasPrefill ? prefillOf(choice, tokenizer) : [],
      tokens: tokens.map(({ token }) => token),
      ...(request.topTokens > 0 ? { top_tokens: tokens.map(({ top }) => top) } : {}),
    },
  };
}

function endingOf({ request, adapter, digest }: Answer<GenerateRequest>, { usage, ...choice }: ChoicePart): Ending {
  return {
    finish_reason: reasonOf(choice),
    generated_tokens: usage.completionTokens,
    seed: request.reportedSeed,
    prompt_tokens: usage.promptTokens,
    input_length: usage.promptTokens,
    adapter,
    digest,
  };
}

function reasonOf({ finish, stopString }: Pick<ChoicePart, "finish" | "stopString">): FinishReason {
  if (finish === "length") return "length";
  return stopString === null ? "eos_token" : "stop_sequence";
}

/** Nothing predicts the first token of a prompt. */
function prefillOf({ promptIds, promptLogprobs }: ChoicePart, tokenizer: Tokenizer | null): readonly PrefillToken[] {
  return (promptIds ?? []).map((id, index) => {
    const entry = promptLogprobs?.[index] ?? null;
    return {
      id,
      text: tokenizer?.specialText(id) ?? tokenizer?.tokenText(id) ?? "",
      logprob: entry && finite(entry.logprob),
    };
  });
}
