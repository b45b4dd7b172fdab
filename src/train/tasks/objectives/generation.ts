/** Greedy answers of an encoder-decoder by its training graph, and how close they come to the targets. */

import { at } from "../../../base/list.js";
import { forbidTokens, type NextPlace } from "../../../engine/seq2seq/text-rules.js";
import type { GenerationRules } from "../../../model/task/generation-rules.js";
import { slices } from "../../data/draw-steps.js";
import { type AssessContext, type Assessment, chooseShown, measuredRows, spread } from "../assessment.js";
import type { TranslationSource } from "../inputs/translation-inputs.js";
import { Chrf } from "../metrics/chrf.js";
import { outputOf, type TaskExample } from "../types.js";

export interface GeneratedText {
  readonly rules: GenerationRules;
  decode(ids: readonly number[]): string;
  /** Tokens that a target may have. */
  readonly maxTarget: number | null;
}

type Example = TaskExample<TranslationSource>;

/** Of a few rows, because each token of an answer takes a run of the whole graph. An answer ends at twice its target's length. */
export function generatedText(options: GeneratedText): Assessment {
  return {
    runs: (batchSize) => Math.ceil(measuredRows / batchSize) * Math.min(options.maxTarget ?? mostTokens, mostTokens),
    async assess(examples, context) {
      const rows = spread(examples as readonly Example[], measuredRows);
      const answers: string[] = [];
      for (const batch of slices(rows, context.batchSize)) answers.push(...(await generate(batch, options, context)));
      const chrf = new Chrf();
      const samples = rows.map(({ source }, row) => {
        const answer = at(answers, row);
        chrf.add(answer, source.reference);
        return { prompt: source.text, expected: source.reference, answer };
      });
      return { metrics: { chrf: chrf.score() }, samples: chooseShown(samples) };
    },
  };
}

const mostTokens = 128;

async function generate(
  rows: readonly Example[],
  { rules, decode, maxTarget }: GeneratedText,
  { predict }: AssessContext,
): Promise<string[]> {
  const { startId, endIds } = rules;
  const texts = rows.map(({ source }) => ({
    ids: source.firstId === null ? [startId] : [startId, source.firstId],
    most: Math.min(2 * source.decoderIds.length, mostTokens, maxTarget ?? mostTokens),
    isDone: false,
  }));
  while (texts.some(({ isDone }) => !isDone)) {
    const sources = rows.map(({ source }, row) => ({ ...source, decoderIds: at(texts, row).ids }));
    const { data, shape } = outputOf(await predict(sources), "logits");
    const [, length = 1, width = 1] = shape;
    for (const [row, text] of texts.entries()) {
      if (text.isDone) continue;
      const { source } = at(rows, row);
      const begin = (row * length + text.ids.length - 1) * width;
      const place = { ids: text.ids, hasFirst: source.firstId !== null };
      const id = likeliestAllowed((data as Float32Array).slice(begin, begin + width), rules, place);
      text.isDone = endIds.includes(id) || text.ids.length >= text.most;
      if (!endIds.includes(id)) text.ids.push(id);
    }
  }
  return texts.map(({ ids }) => decode(ids.slice(1)));
}

function likeliestAllowed(logits: Float32Array, rules: GenerationRules, place: NextPlace): number {
  forbidTokens(logits, rules, place);
  return logits.reduce((best, logit, id) => (logit > (logits[best] as number) ? id : best), 0);
}
