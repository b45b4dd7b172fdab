/** Two sample answers from the serving engine, before and after training. */

import type { Tokenizer } from "../../text/types.js";
import type { TokenRow } from "../../train/data/encode.js";
import type { Served } from "../../train/served.js";
import type { Sample as ExpectedSample } from "../../train/trainable.js";

export interface Sample {
  readonly prompt: string;
  readonly before: string;
  readonly after: string;
}

export interface SampleOptions {
  readonly tokenizer: Tokenizer;
  readonly stopIds: readonly number[];
  readonly signal: AbortSignal;
}

const count = 2;
const answerTokens = 48;
/** Maximum tokens of all answers, before and after. */
export const mostAnswerTokens = 2 * count * answerTokens;
/** Tokens of a row without a prompt that serve as its prompt. */
const beginning = 24;

/** Greedy answers to the prompts of the first rows; `adapter: false` asks the base model. */
export async function takeAnswers(
  served: Served,
  rows: readonly TokenRow[],
  { tokenizer, stopIds, signal }: SampleOptions,
  adapter = true,
): Promise<string[]> {
  const answers: string[] = [];
  for (const prompt of promptsOf(rows)) {
    const ids = await served.generate(prompt, answerTokens, stopIds, { adapter, signal });
    answers.push(tokenizer.decode(ids, { after: prompt }));
  }
  return answers;
}

function promptsOf(rows: readonly TokenRow[]): number[][] {
  return rows
    .slice(0, count)
    .map((row) => [...row.ids.subarray(0, row.promptLength || Math.min(beginning, row.ids.length))]);
}

/** The prompts of the first rows with their answers before and after training. */
export function pairSamples(
  rows: readonly TokenRow[],
  tokenizer: Tokenizer,
  { before, after }: { readonly before: readonly string[]; readonly after: readonly string[] },
): Sample[] {
  return promptsOf(rows).map((prompt, i) => ({
    prompt: tokenizer.decode(prompt),
    before: before[i] ?? "",
    after: after[i] ?? "",
  }));
}

/** The prompts as texts, where a completion of that text is asked with the same tokens. */
export async function examplePrompts(rows: readonly TokenRow[], tokenizer: Tokenizer): Promise<string[]> {
  const texts: string[] = [];
  for (const prompt of promptsOf(rows)) {
    for (const keepSpecialTokens of [false, true]) {
      const text = tokenizer.decode(prompt, { keepSpecialTokens });
      const ids = await tokenizer.encode(text, { addSpecialTokens: true });
      if (ids.length !== prompt.length || ids.some((id, i) => id !== prompt[i])) continue;
      texts.push(text);
      break;
    }
  }
  return texts;
}

/** Shows the end of a long prompt, which the answer continues. */
export const short = (text: string): string => (text.length > 300 ? `...${text.slice(-297)}` : text);

/** The answers at a step. */
export function formatAnswers(step: number, samples: readonly Sample[]): string {
  return samples
    .map(({ prompt, after }) => `step ${step}  ${JSON.stringify(short(prompt))} -> ${JSON.stringify(after)}`)
    .join("\n");
}

/** Answers to validation rows. */
export function formatExpected(samples: readonly ExpectedSample[]): string {
  return samples
    .map(({ prompt, expected, answer }) => {
      const wanted = answer === expected ? "" : `, expected ${JSON.stringify(short(expected))}`;
      return `  ${JSON.stringify(short(prompt))} -> ${JSON.stringify(short(answer))}${wanted}`;
    })
    .join("\n");
}

export function formatSamples(samples: readonly Sample[]): string {
  return samples
    .map(({ prompt, before, after }, i) =>
      [
        `sample ${i + 1}`,
        `  prompt  ${JSON.stringify(short(prompt))}`,
        `  before  ${JSON.stringify(before)}`,
        `  after   ${JSON.stringify(after)}`,
      ].join("\n"),
    )
    .join("\n");
}
