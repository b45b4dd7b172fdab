/**
 * Languages of a translator, which are special tokens of its tokenizer: `eng_Latn` of NLLB, `en_XX` of mBART, `__en__` of M2M-100. One among
 * a source's tokens says what it is written in, and the first token of the answer what it is to be written in.
 */

import { LorikeetError } from "../base/errors.js";
import type { Tokenizer } from "./types.js";

export interface Languages {
  /** By every name that a request may use. */
  readonly idByName: ReadonlyMap<string, number>;
  /** As the tokenizer names them. */
  readonly names: readonly string[];
}

/** NLLB, then mBART and mBART-50, then M2M-100, whose tokens wrap a name. */
const forms = [/^([a-z]{3}_[A-Z][a-z]{3})$/, /^([a-z]{2}_[A-Z]{2})$/, /^__([a-z]{2,3})__$/];

/** null for a tokenizer that has no languages. A single token of that form is a word like any other. */
export function languagesOf(tokenizer: Pick<Tokenizer, "vocabSize" | "specialText">): Languages | null {
  const found = forms.map(() => new Map<string, number>());
  const named = forms.map((): string[] => []);
  for (let id = 0; id < tokenizer.vocabSize; id++) {
    const text = tokenizer.specialText(id);
    if (text === null) continue;
    for (const [index, form] of forms.entries()) {
      const name = form.exec(text)?.[1];
      if (name === undefined) continue;
      found[index]?.set(text, id).set(name, id);
      named[index]?.push(name);
    }
  }
  const most = named.reduce((best, names, index) => (names.length > (named[best]?.length ?? 0) ? index : best), 0);
  const [idByName, names] = [found[most], named[most]];
  return idByName && names && names.length > 1 ? { idByName, names } : null;
}

/**
 * A source's tokens with its language in the place where the tokenizer put one: first, or last as mBART's. Throws
 * `unsupported_parameter` where it puts none. Text cannot be mistaken for it, as the tokenizer's own tokens enclose the text.
 */
export function withLanguage(ids: readonly number[], language: number, { idByName }: Languages): number[] {
  const known = new Set(idByName.values());
  const place = [0, ids.length - 1].find((at) => known.has(ids[at] ?? -1));
  if (place !== undefined) return ids.map((id, at) => (at === place ? language : id));
  const message =
    "`src_lang` is not supported: the model's tokenizer.json puts no language in front of a text or after it.";
  throw new LorikeetError("unsupported_parameter", message, { param: "src_lang" });
}
