/** What a generation yields, before it is given a form: parts of choices, the count of tokens, how it ended. */
import type { TokenLogprob } from "../engine/types.js";
import type { Assembled } from "./assembler.js";

export interface ChoicePart extends Assembled {
  readonly index: number;
  /** The first part of this choice. */
  readonly isFirst: boolean;
  /** In the first part, when they were asked for. */
  readonly promptIds: readonly number[] | null;
  /** How many of `tokens`, counted from the first, are the echoed prompt's. */
  readonly echoedTokens: number;
  /** In one part, when they were asked for: one entry a token of the prompt. */
  readonly promptLogprobs: readonly (TokenLogprob | null)[] | null;
  /** Tokens of this choice so far. */
  readonly usage: Usage;
  readonly finish: "stop" | "length" | null;
}

export interface Usage {
  readonly promptTokens: number;
  readonly completionTokens: number;
  readonly cachedTokens: number;
}

/** What Lorikeet adds to usage. */
export interface Extras {
  readonly adapter: string | null;
  readonly digest: string | null;
  readonly queueMs: number;
  readonly timeToFirstTokenMs: number | null;
}

/** A whole choice, collected from its parts. */
export type Choice = Omit<ChoicePart, "isFirst">;

/** Joins parts into choices, ordered by index. */
export async function collectChoices(parts: AsyncIterable<ChoicePart>): Promise<Choice[]> {
  const all = new Map<number, [ChoicePart, ...ChoicePart[]]>();
  for await (const part of parts) {
    const choice = all.get(part.index);
    if (choice) choice.push(part);
    else all.set(part.index, [part]);
  }
  return [...all.values()].map(join).sort((a, b) => a.index - b.index);
}

function join(parts: readonly [ChoicePart, ...ChoicePart[]]): Choice {
  const { index, promptIds, echoedTokens } = parts[0];
  const last = parts.at(-1) ?? parts[0];
  return {
    index,
    promptIds,
    echoedTokens,
    promptLogprobs: parts.find((part) => part.promptLogprobs !== null)?.promptLogprobs ?? null,
    text: parts.map((part) => part.text).join(""),
    tokens: parts.flatMap((part) => part.tokens),
    usage: last.usage,
    finish: last.finish,
  };
}
