/** Two answers of a trained adapter beside the base's, from the serving engine. */

import type { Tokenizer } from "../text/types.js";
import type { TokenRow } from "../train/data/encode.js";
import type { Served } from "../train/served.js";

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
/** How much of a row without a prompt stands for one. */
const beginning = 24;

/** Greedy answers to the prompts of the first rows that have room for one. */
export async function takeSamples(
  served: Served,
  rows: readonly TokenRow[],
  { tokenizer, stopIds, signal }: SampleOptions,
): Promise<Sample[]> {
  const samples: Sample[] = [];
  for (const row of rows.slice(0, count)) {
    const prompt = [...row.ids.subarray(0, row.promptLength || Math.min(beginning, row.ids.length))];
    const answer = async (adapter: boolean): Promise<string> =>
      tokenizer.decode(await served.generate(prompt, answerTokens, stopIds, { adapter, signal }));
    samples.push({ prompt: tokenizer.decode(prompt), before: await answer(false), after: await answer(true) });
  }
  return samples;
}

/** The ends of long prompts are shown: they are what the answers follow. */
export function formatSamples(samples: readonly Sample[]): string {
  const short = (text: string): string => (text.length > 300 ? `...${text.slice(-297)}` : text);
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
