/** Translations, summaries and other texts from texts. */

import { assert } from "../../../base/errors.js";
import { textOf } from "../../data/rows.js";
import { translationInputs } from "../inputs/translation-inputs.js";
import { generatedText } from "../objectives/generation.js";
import { translation } from "../objectives/translation.js";
import type { RowReader } from "../task-data.js";
import { requireTokenizer, type SetupParts, type TaskSetup } from "./setup.js";

export function textToText(parts: SetupParts): TaskSetup {
  const tokenizer = requireTokenizer(parts);
  const { generation } = parts;
  assert(generation, "an encoder-decoder says how it generates");
  const { startId, firstId, endIds } = generation;
  const limits = {
    source: least(parts.maxLength, generation.maxSource, tokenizer.maxLength),
    target: least(parts.maxLength, generation.maxTarget, tokenizer.maxLength),
  };
  const reader: RowReader = {
    kind: "translation",
    forms: [{ required: ["source", "target"], example: { source: "Where is it?", target: "Wo ist es?" } }],
    async read(fields, place) {
      const source = await tokenizer.encodeRow(
        { text: textOf(fields, "source") },
        { truncate: true, maxLength: limits.source ?? undefined },
      );
      const reference = textOf(fields, "target");
      const text = await tokenizer.encodeRow({ text: reference }, { truncate: true, addSpecialTokens: false });
      const [endId] = endIds;
      const whole = [...(firstId === null ? [] : [firstId]), ...text.ids, ...(endId === undefined ? [] : [endId])];
      const target = limits.target === null ? whole : whole.slice(0, limits.target);
      const size = source.ids.length + target.length;
      const decoderIds = [startId, ...target.slice(0, -1)];
      return {
        source: { source, decoderIds, reference },
        target,
        size,
        place,
        isShortened: target.length < whole.length,
      };
    },
  };
  return {
    reader,
    inputs: translationInputs(tokenizer, limits),
    savesHeads: false,
    objective() {
      const text = {
        rules: generation,
        maxTarget: limits.target,
        decode: (ids: readonly number[]) => tokenizer.decode(ids),
      };
      return {
        ...{ objective: translation(), labels: null, freshHead: null },
        ...{ assessment: generatedText(text), generation: text },
      };
    },
  };
}

function least(...limits: readonly (number | null)[]): number | null {
  const known = limits.filter((limit) => limit !== null);
  return known.length === 0 ? null : Math.min(...known);
}
