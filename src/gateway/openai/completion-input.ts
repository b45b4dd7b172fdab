/** The body of `completions`: an untrusted object in, a CompletionRequest or every fault out. */
import * as v from "valibot";
import { LorikeetError } from "../../base/errors.js";
import type { Json } from "../../base/json.js";
import { type SourceForm, type SourceForms, sourceFormOf } from "../../text/source-forms.js";
import { firstInvalidId, flag, integer, invalidIdIn, languageEntries } from "../body/field-kinds.js";
import { type BodyFormat, describe, type Fault, Found, invalid, parse } from "../body/parse.js";
import type { RequestBounds } from "../options.js";
import type { CompletionRequest, Prompt } from "../requests.js";
import { type AnswerForm, commonOf } from "./common-request.js";
import { commonCross, commonEntries } from "./fields.js";
import { completionIgnored } from "./ignored-fields.js";

/** OpenAI's default for completions. */
const defaultMaxTokens = 16;

/** `sources`: of an encoder-decoder, whose requests may name languages; others refuse them by name. */
export function completionFormat(bounds: RequestBounds, sources: SourceForms | null = null) {
  const own = {
    ...commonEntries(bounds),
    prompt: promptField(bounds),
    echo: v.optional(flag, false),
    logprobs: v.optional(integer(0, bounds.maxLogprobs)),
  };
  const entries = { ...own, ...languageEntries };
  const schema = v.object(entries, "is required");
  const known = Object.keys(sources === null ? own : entries);
  return { schema, known, ignored: completionIgnored, cross } satisfies BodyFormat<typeof schema>;
}

/** Throws LorikeetError `invalid_value` or `unsupported_parameter` with every fault. */
export function parseCompletion(
  format: ReturnType<typeof completionFormat>,
  body: unknown,
  sources: SourceForms | null = null,
): CompletionRequest & AnswerForm {
  const fields = parse(format, body);
  const { src_lang: sourceLanguage = null, tgt_lang: targetLanguage = null } = fields;
  const isStated = sourceLanguage !== null || targetLanguage !== null;
  const stated = sourceLanguage === null ? "tgt_lang" : "src_lang";
  const form =
    sources && isStated ? sourceFormOf(sources, { task: "translation", sourceLanguage, targetLanguage }) : null;
  return {
    kind: "completions",
    ...commonOf(fields),
    defaultMaxTokens,
    addsSpecialTokens: fields.add_special_tokens ?? true,
    prompts: form === null ? fields.prompt : fields.prompt.map((prompt) => inForm(prompt, form, stated)),
    ...(form?.firstId !== undefined && { firstId: form.firstId }),
    echo: fields.echo,
    logprobs: fields.logprobs ?? null,
  };
}

/** Throws `invalid_value` on the `stated` field for token ids that would need a prefix or a language, as they may have one already. */
function inForm(prompt: Prompt, { prefix, languageId }: SourceForm, stated: string): Prompt {
  if (prompt.kind === "text") {
    return { ...prompt, text: `${prefix}${prompt.text}`, ...(languageId !== undefined && { languageId }) };
  }
  if (prefix === "" && languageId === undefined) return prompt;
  throw new LorikeetError("invalid_value", `\`${stated}\` is for texts; a \`prompt\` of token ids is read as it is.`, {
    param: stated,
  });
}

function* crossFaults(body: Json): Iterable<Fault> {
  yield* commonCross(body);
  const bound = body.max_tokens ?? body.max_completion_tokens;
  if (bound === 0 && body.echo !== true) yield invalid("max_tokens", "may be 0 only with `echo` true");
}

const cross = (body: Json): readonly Fault[] => [...crossFaults(body)];

/** A schema for `prompt`: a string, strings, token ids, or lists of token ids. */
function promptField(bounds: RequestBounds) {
  const rule =
    `must be a string, a list of up to ${bounds.maxSequences} strings, a list of token ids (0 to ${bounds.vocabSize - 1}), ` +
    `or up to ${bounds.maxSequences} such lists`;
  const isIds = (value: unknown): value is number[] =>
    Array.isArray(value) && value.length > 0 && firstInvalidId(value, bounds.vocabSize) < 0;
  const read = (value: unknown): readonly Prompt[] | null => {
    if (typeof value === "string") return [{ kind: "text", text: value }];
    if (isIds(value)) return [{ kind: "ids", ids: value }];
    if (!Array.isArray(value) || value.length === 0 || value.length > bounds.maxSequences) return null;
    if (value.every((item) => typeof item === "string")) return value.map((text) => ({ kind: "text", text }));
    return value.every(isIds) ? value.map((ids) => ({ kind: "ids", ids })) : null;
  };
  return v.pipe(
    v.unknown(),
    v.rawTransform(({ dataset, addIssue, NEVER }) => {
      const prompts = read(dataset.value);
      if (prompts) return prompts;
      addIssue({ message: rule, input: whatIsWrong(dataset.value, bounds) });
      return NEVER;
    }),
  );
}

/** The item that makes a list invalid as a prompt, and its index. */
function whatIsWrong(value: unknown, { maxSequences, vocabSize }: RequestBounds): unknown {
  if (!Array.isArray(value) || value.length === 0) return value;
  const [first] = value;
  if (typeof first === "number") return invalidIdIn(value, vocabSize) ?? value;
  if (value.length > maxSequences) return value;
  const other = value.findIndex((item) => typeof item !== typeof first || Array.isArray(item) !== Array.isArray(first));
  if (other >= 0) return new Found(`${describe(value[other])} at position ${other}, after ${describe(first)}`);
  for (const [index, ids] of value.entries()) {
    if (!Array.isArray(ids)) return new Found(`${describe(ids)} at position ${index}`);
    const found = invalidIdIn(ids, vocabSize, ` of prompt ${index}`);
    if (found) return found;
    if (ids.length === 0) return new Found(`an empty list at position ${index}`);
  }
  return value;
}
