/** What a generation yields, in neutral form: parts of choices, and token counts. */
import { last } from "../base/list.js";
import type { TokenLogprob } from "../engine/types.js";
import type { CallDelta } from "../text/tools/types.js";
import type { Assembled } from "./assembler.js";

/**
 * What one event adds to a choice, or a whole choice when its parts are joined. A single part has either text, or reasoning, or deltas of
 * calls, so the order of parts is the order in which the model wrote them.
 */
export interface ChoicePart extends Assembled {
  readonly index: number;
  readonly reasoning: string;
  /** Deltas of calls; `joinCalls` makes whole ones of them. */
  readonly calls: readonly CallDelta[];
  /** The first part of this choice. */
  readonly isFirst: boolean;
  /** In the first part, if requested. */
  readonly promptIds: readonly number[] | null;
  /** How many of the first `tokens` belong to the echoed prompt. */
  readonly echoedTokens: number;
  /** In one part, if requested: one entry per token of the prompt. */
  readonly promptLogprobs: readonly (TokenLogprob | null)[] | null;
  /** Tokens of this choice so far. */
  readonly usage: Usage;
  readonly finish: "stop" | "length" | "tool_calls" | null;
  /** The stop string that ended it, with `finish`. */
  readonly stopString: string | null;
}

export interface Usage {
  readonly promptTokens: number;
  readonly completionTokens: number;
  /** Those of the completion's tokens that are reasoning. */
  readonly reasoningTokens: number;
  readonly cachedTokens: number;
}

/** Joins parts into choices, ordered by index. */
export async function collectChoices(parts: AsyncIterable<ChoicePart>): Promise<ChoicePart[]> {
  const all = new Map<number, [ChoicePart, ...ChoicePart[]]>();
  for await (const part of parts) {
    const choice = all.get(part.index);
    if (choice) choice.push(part);
    else all.set(part.index, [part]);
  }
  return [...all.values()].map(join).sort((a, b) => a.index - b.index);
}

function join(parts: readonly [ChoicePart, ...ChoicePart[]]): ChoicePart {
  const { usage, finish, stopString } = last(parts);
  return {
    ...parts[0],
    promptLogprobs: parts.find((part) => part.promptLogprobs !== null)?.promptLogprobs ?? null,
    text: parts.map((part) => part.text).join(""),
    reasoning: parts.map((part) => part.reasoning).join(""),
    calls: parts.flatMap((part) => part.calls),
    tokens: parts.flatMap((part) => part.tokens),
    usage,
    finish,
    stopString,
  };
}
