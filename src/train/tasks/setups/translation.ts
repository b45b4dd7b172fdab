/** Translations, summaries and other texts from texts. */

import { assert, LorikeetError } from "../../../base/errors.js";
import { languagesOf, withLanguage } from "../../../text/languages.js";
import { type SourceForm, type SourceForms, sourceFormOf } from "../../../text/source-forms.js";
import type { EncodedRow } from "../../../text/tokenizer/rows.js";
import { type Fields, RowFault, textOf } from "../../data/rows.js";
import { type RequestLanguages, type TranslationSource, translationInputs } from "../inputs/translation-inputs.js";
import { generatedText } from "../objectives/generation.js";
import { translation } from "../objectives/translation.js";
import type { RowReader } from "../task-data.js";
import type { TaskExample } from "../types.js";
import { requireTokenizer, type SetupParts, type TaskSetup } from "./setup.js";

/** `task`: by Hugging Face's name. Sources and targets begin as a server's do that is asked for it. */
export function textToText(parts: SetupParts, task: string): TaskSetup {
  const tokenizer = requireTokenizer(parts);
  const { generation } = parts;
  assert(generation, "an encoder-decoder says how it generates");
  const { startId, endIds } = generation;
  const forms: SourceForms = {
    ...generation,
    languages: languagesOf(tokenizer),
    startIds: generation.firstId === null ? [startId] : [startId, generation.firstId],
  };
  const limits = {
    source: least(parts.maxLength, generation.maxSource, tokenizer.maxLength),
    target: least(parts.maxLength, generation.maxTarget, tokenizer.maxLength),
  };
  const reader: RowReader = {
    kind: "translation",
    forms: [
      {
        required: ["source", "target"],
        optional: ["src_lang", "tgt_lang"],
        example: { source: "Where is it?", target: "Wo ist es?" },
      },
    ],
    async read(fields, place) {
      const form = formOf(fields, task, forms);
      const sourceText = textOf(fields, "source");
      const encoded = await tokenizer.encodeRow(
        { text: `${form.prefix}${sourceText}` },
        { truncate: true, maxLength: limits.source ?? undefined },
      );
      const source = inLanguage(encoded, form, forms);
      const firstId = form.firstId ?? generation.firstId;
      const reference = textOf(fields, "target");
      const text = await tokenizer.encodeRow({ text: reference }, { truncate: true, addSpecialTokens: false });
      const [endId] = endIds;
      const whole = [...(firstId === null ? [] : [firstId]), ...text.ids, ...(endId === undefined ? [] : [endId])];
      const target = limits.target === null ? whole : whole.slice(0, limits.target);
      const size = source.ids.length + target.length;
      const decoderIds = [startId, ...target.slice(0, -1)];
      return {
        source: { source, text: sourceText, languages: languagesIn(fields), decoderIds, firstId, reference },
        target,
        size,
        place,
        isEmpty: sourceText.trim() === "" || reference.trim() === "",
        isShortened: target.length < whole.length,
      };
    },
  };
  return {
    reader,
    inputs: translationInputs(tokenizer, limits),
    savesHeads: false,
    objective({ valid, train }) {
      const first = [...valid.slice(0, 1), ...train.slice(0, 1)][0] as TaskExample<TranslationSource> | undefined;
      const text = {
        rules: generation,
        maxTarget: limits.target,
        decode: (ids: readonly number[]) => tokenizer.decode(ids),
      };
      return {
        ...{ objective: translation(), labels: null, freshHead: null },
        ...{ assessment: generatedText(text), generation: text, languages: first?.source.languages ?? {} },
      };
    },
  };
}

/** Throws RowFault for languages that the server would refuse. */
function formOf(fields: Fields, task: string, forms: SourceForms): SourceForm {
  const { src_lang: sourceLanguage = null, tgt_lang: targetLanguage = null } = languagesIn(fields);
  return asked(() => sourceFormOf(forms, { task, sourceLanguage, targetLanguage }));
}

function languagesIn(fields: Fields): RequestLanguages {
  const [source, target] = [languageIn(fields, "src_lang"), languageIn(fields, "tgt_lang")];
  return { ...(source !== null && { src_lang: source }), ...(target !== null && { tgt_lang: target }) };
}

function languageIn(fields: Fields, name: string): string | null {
  const value = fields[name] ?? null;
  return value === null ? null : textOf(fields, name);
}

function inLanguage(row: EncodedRow, { languageId }: SourceForm, { languages }: SourceForms): EncodedRow {
  if (languageId === undefined || languages === null) return row;
  return asked(() => ({ ...row, ids: withLanguage(row.ids, languageId, languages) }));
}

function asked<T>(read: () => T): T {
  try {
    return read();
  } catch (error) {
    throw error instanceof LorikeetError ? new RowFault(error.message) : error;
  }
}

function least(...limits: readonly (number | null)[]): number | null {
  const known = limits.filter((limit) => limit !== null);
  return known.length === 0 ? null : Math.min(...known);
}
