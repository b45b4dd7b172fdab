/** How texts become the sources of an encoder-decoder: a prefix that tells T5 its task, or languages as tokens. */

import { LorikeetError } from "../base/errors.js";
import type { Languages } from "./languages.js";

export interface SourceSettings {
  /** Put in front of every text; "": nothing. */
  readonly prefix: string;
  /** What differs by task, by Hugging Face's name, such as `summarization` and `translation_en_to_de`. null: as without a task. */
  readonly tasks: ReadonlyMap<string, { readonly prefix: string | null; readonly maxTokens: number | null }>;
}

export interface SourceForms extends SourceSettings {
  /** null: the tokenizer has no tokens for languages. */
  readonly languages: Languages | null;
  /** What the decoder starts with: a language among them is the answer's where a request names none. */
  readonly startIds: readonly number[];
}

export interface SourceAsked {
  /** By Hugging Face's name. */
  readonly task: string;
  readonly sourceLanguage: string | null;
  readonly targetLanguage: string | null;
}

/** What a request's texts get. */
export interface SourceForm {
  readonly prefix: string;
  /** Of an answer to a request that gives no number; null: the model's. */
  readonly maxTokens: number | null;
  readonly languageId?: number;
  readonly firstId?: number;
}

/** `translation_en_to_de` names two languages. */
const pair = /^translation_(\w+)_to_(\w+)$/;

/**
 * Throws `unsupported_parameter` for languages that the model has neither tokens nor a prefix for, as parameters or in the task's
 * name, `invalid_value` for an unknown language, and for none where the model needs one.
 */
export function sourceFormOf(forms: SourceForms, asked: SourceAsked): SourceForm {
  const [, first = null, second = null] = pair.exec(asked.task) ?? [];
  const isStated = asked.sourceLanguage !== null || asked.targetLanguage !== null;
  const [source, target] = isStated ? [asked.sourceLanguage, asked.targetLanguage] : [first, second];
  const { languages } = forms;
  if (languages) {
    const isSummary = asked.task === "summarization";
    const settings = settingsFor(forms, isSummary ? asked.task : "translation");
    // A summary may be in the language of its text.
    return { ...settings, ...tokensFor(forms, languages, source, target, !isSummary) };
  }
  if (!isStated) {
    if (first !== null && !forms.tasks.has(asked.task)) requireNoPairs(forms, asked.task);
    return settingsFor(forms, asked.task);
  }
  const task = `translation_${source}_to_${target}`;
  if (source !== null && target !== null && forms.tasks.has(task)) return settingsFor(forms, task);
  throw noLanguages(forms, source === null ? "tgt_lang" : "src_lang");
}

function settingsFor({ prefix, tasks }: SourceSettings, task: string): SourceForm {
  const own = tasks.get(task);
  return { prefix: own?.prefix ?? prefix, maxTokens: own?.maxTokens ?? null };
}

function tokensFor(
  { startIds }: SourceForms,
  languages: Languages,
  source: string | null,
  target: string | null,
  needsTarget: boolean,
): Pick<SourceForm, "languageId" | "firstId"> {
  const known = new Set(languages.idByName.values());
  if (needsTarget && target === null && !startIds.some((id) => known.has(id))) {
    throw new LorikeetError(
      "invalid_value",
      `\`tgt_lang\` is missing; the model translates into one of ${languages.names.length} languages: ${shown(languages)}.`,
      { param: "tgt_lang", allowed: languages.names },
    );
  }
  return {
    ...(source !== null && { languageId: idOf(source, "src_lang", languages) }),
    ...(target !== null && { firstId: idOf(target, "tgt_lang", languages) }),
  };
}

function idOf(name: string, param: string, languages: Languages): number {
  const id = languages.idByName.get(name);
  if (id !== undefined) return id;
  throw new LorikeetError(
    "invalid_value",
    `\`${param}\` is not a language of the model, which has ${languages.names.length}: ${shown(languages)}.`,
    { param, allowed: languages.names },
  );
}

const listed = 8;

function shown({ names }: Languages): string {
  return names.length <= listed ? names.join(", ") : `${names.slice(0, listed).join(", ")} and others`;
}

/** A model that names no pair, such as Marian's, translates one pair alone, whatever the path calls it. */
function requireNoPairs(settings: SourceSettings, task: string): void {
  const allowed = pairsOf(settings);
  if (allowed.length === 0) return;
  throw new LorikeetError(
    "unsupported_parameter",
    `\`${task.slice(0, 64)}\` is not supported: the model translates ${allowed.join(", ")}.`,
    { param: "task", allowed },
  );
}

function pairsOf({ tasks }: SourceSettings): string[] {
  return [...tasks.keys()].flatMap((task) => {
    const [, source, target] = pair.exec(task) ?? [];
    return source && target ? [`${source} to ${target}`] : [];
  });
}

function noLanguages(settings: SourceSettings, param: string): LorikeetError {
  const pairs = pairsOf(settings);
  const what =
    pairs.length === 0
      ? "the model's files name no languages to choose from"
      : `the model translates ${pairs.join(", ")}`;
  return new LorikeetError("unsupported_parameter", `\`src_lang\` and \`tgt_lang\` are not supported: ${what}.`, {
    param,
    ...(pairs.length > 0 && { allowed: pairs }),
  });
}
