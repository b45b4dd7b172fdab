/** Converts prompts to token ids, with a limit on characters before any work. Knows no engine. */
import { assert, LorikeetError } from "../base/errors.js";
import { type Languages, withLanguage } from "../text/languages.js";
import type { ChatMessage, Tokenizer } from "../text/types.js";
import { type ChatFormats, renderOptionsOf, requireToolSupport } from "./chat-formats.js";
import { type ChatInput, type GenerationRequest, type Prompt, paramsOf, type Truncation } from "./requests.js";

export interface EncodedPrompt {
  readonly ids: readonly number[];
  /** The prompt's text; null for token ids. */
  readonly text: string | null;
}

export interface PromptContext {
  readonly tokenizer: Tokenizer | null;
  readonly formats: ChatFormats;
  readonly maxPromptCharacters: number;
  /** The same for a prompt that is truncated: no fewer. Default: as many. */
  readonly maxTruncatedCharacters?: number;
  readonly maxSequences: number;
  /** Tokens of prompt and answer together, or of the prompt alone where an encoder reads it. */
  readonly maxContext: number;
  /** An encoder reads the prompts, and answers are texts of their own. Default: answers continue the prompts. */
  readonly encodesPrompts?: boolean;
  /** What prompts and answers may be written in; null or absent where the tokenizer has no tokens for it. */
  readonly languages?: Languages | null;
  /** Replaces an empty prompt; null if the model has no such token. */
  readonly bosId: number | null;
}

/** A request's prompts, checked and rendered but not tokenized. */
export interface RenderedPrompts {
  readonly prompts: readonly Prompt[];
  readonly addSpecialTokens: boolean;
  /** Which tokens of each are kept; null: all. */
  readonly truncation: Truncation | null;
}

/**
 * Renders a chat, and checks what can be checked before tokenizing.
 * Throws LorikeetError `chat_template_missing`, `tokenizer_missing`, `prompt_too_long` or `invalid_value`.
 */
export function renderPrompts(request: GenerationRequest, of: PromptContext): RenderedPrompts {
  const { maxTruncatedCharacters = of.maxPromptCharacters } = of;
  const context = request.truncation === null ? of : { ...of, maxPromptCharacters: maxTruncatedCharacters };
  const param = paramsOf(request).prompt;
  const prompts = request.kind === "chat" ? [renderChat(request, context, param)] : request.prompts;
  const sequences = prompts.length * request.choices;
  if (sequences > context.maxSequences) {
    throw new LorikeetError(
      "invalid_value",
      `The request asks for ${sequences} sequences (prompts times \`n\`); at most ${context.maxSequences} are allowed.`,
      { param: "n", found: sequences, allowed: context.maxSequences },
    );
  }
  for (const prompt of prompts) if (prompt.kind === "text") checkText(prompt.text, context, param);
  return { prompts, addSpecialTokens: request.addsSpecialTokens, truncation: truncationOf(request, context) };
}

/** Throws LorikeetError `tokenizer_missing` or `prompt_too_long`. */
export function checkText(text: string, { tokenizer, maxPromptCharacters }: PromptContext, param = "prompt"): void {
  if (!tokenizer) {
    throw new LorikeetError("tokenizer_missing", `The model has no tokenizer: \`${param}\` must be token ids.`, {
      param,
    });
  }
  boundCharacters(text.length, maxPromptCharacters, param);
}

/** -1 keeps as much as leaves room for the answer. */
function truncationOf(
  { truncation, maxTokens }: GenerationRequest,
  { maxContext, encodesPrompts = false }: PromptContext,
): Truncation | null {
  if (truncation?.tokens !== -1) return truncation;
  if (encodesPrompts) return { ...truncation, tokens: maxContext };
  return { ...truncation, tokens: Math.max(1, maxContext - (maxTokens ?? 1)) };
}

/** Characters to encode per turn of the event loop. */
const charactersPerTurn = 2048;

export interface EncodeTurn {
  /** Aborted when the request ends, with the LorikeetError that ended it. */
  readonly signal: AbortSignal;
  readonly connection: object;
  /** Throws if a prompt of this length cannot be served, so that the others are not encoded. */
  readonly accept: (tokens: number) => void;
  /** The prompt's name in faults. Default: prompt. */
  readonly param?: string;
  /** Whether a text may have no tokens, if nothing is generated from it. Default: false. */
  readonly allowsEmpty?: boolean;
}

/** Encodes one prompt after another, in turns with other requests. Throws what `accept` throws, and the signal's reason. */
export async function encodePrompts(
  rendered: RenderedPrompts,
  context: PromptContext,
  { signal, connection, accept, param = "prompt", allowsEmpty = false }: EncodeTurn,
): Promise<EncodedPrompt[]> {
  const { addSpecialTokens, truncation } = rendered;
  const encoded: EncodedPrompt[] = [];
  const add = (whole: EncodedPrompt): void => {
    const prompt = truncate(whole, truncation, endOf(whole, context));
    accept(prompt.ids.length);
    encoded.push(prompt);
  };
  let characters = 0;
  for (const prompt of rendered.prompts) {
    signal.throwIfAborted();
    if (prompt.kind === "ids") {
      add({ ids: prompt.ids, text: null });
      continue;
    }
    assert(context.tokenizer, "text is refused without a tokenizer");
    const encoding = context.tokenizer.encode(prompt.text, { addSpecialTokens, signal, connection });
    const ids = await encoding.catch((error: unknown) => {
      throw signal.aborted ? signal.reason : error;
    });
    const own = inLanguage(ids, prompt, context);
    add({ ids: own.length > 0 || allowsEmpty ? own : emptyPrompt(context.bosId, param), text: prompt.text });
    characters += prompt.text.length;
    if (characters < charactersPerTurn) continue;
    characters = 0;
    await new Promise((resolve) => setImmediate(resolve));
  }
  signal.throwIfAborted();
  return encoded;
}

/** Throws `unsupported_parameter` for a language where the tokenizer has no place for one. */
function inLanguage(
  ids: readonly number[],
  { languageId }: Extract<Prompt, { kind: "text" }>,
  { languages = null }: PromptContext,
): readonly number[] {
  if (languageId === undefined || languages === null) return ids;
  return withLanguage(ids, languageId, languages);
}

/** Characters to tokenize. */
export function charactersOf({ prompts }: RenderedPrompts): number {
  return sum(prompts.map((prompt) => (prompt.kind === "text" ? prompt.text.length : 0)));
}

/** The special tokens that end the text of an encoder, such as its end and its language, which truncation keeps. */
function endOf({ ids }: EncodedPrompt, { tokenizer, encodesPrompts = false }: PromptContext): readonly number[] {
  if (!encodesPrompts) return [];
  const last = ids.slice(-mostEndTokens);
  return last.slice(last.findLastIndex((id) => (tokenizer?.specialText(id) ?? null) === null) + 1);
}

const mostEndTokens = 2;

/** A truncated prompt no longer has its original text. */
function truncate(prompt: EncodedPrompt, truncation: Truncation | null, end: readonly number[]): EncodedPrompt {
  if (truncation === null || prompt.ids.length <= truncation.tokens) return prompt;
  const { tokens, side } = truncation;
  if (side === "left") return { ids: prompt.ids.slice(-tokens), text: null };
  const kept = Math.max(0, tokens - end.length);
  return { ids: [...prompt.ids.slice(0, kept), ...end].slice(0, tokens), text: null };
}

/**
 * Throws LorikeetError `chat_template_missing`, `tokenizer_missing`, `prompt_too_long`, `unsupported_parameter` for tools that the
 * template drops, and what the template throws.
 */
export function renderChat(input: ChatInput, context: PromptContext, param = "messages"): Prompt {
  const { tokenizer, maxPromptCharacters } = context;
  if (!tokenizer) {
    throw new LorikeetError(
      "tokenizer_missing",
      "The model has no tokenizer: it serves `/v1/completions` with token ids only.",
    );
  }
  if (tokenizer.chatTemplate === null) {
    throw new LorikeetError(
      "chat_template_missing",
      "The model has no chat template; start the server with `--chat-template <file>`, or use `/v1/completions`.",
    );
  }
  const { messages } = input;
  boundCharacters(sum(messages.map(charactersOfMessage)), maxPromptCharacters, param);
  requireToolSupport(input, tokenizer, context.formats);
  const text = tokenizer.renderChat(messages, renderOptionsOf(input));
  boundCharacters(text.length, maxPromptCharacters, param);
  return { kind: "text", text };
}

function charactersOfMessage({ content, reasoning = "", toolCalls = [] }: ChatMessage): number {
  return content.length + reasoning.length + sum(toolCalls.map((call) => call.arguments.length));
}

const sum = (numbers: readonly number[]): number => numbers.reduce((total, each) => total + each, 0);

function boundCharacters(found: number, allowed: number, param: string): void {
  if (found <= allowed) return;
  throw new LorikeetError("prompt_too_long", `\`${param}\` has ${found} characters; at most ${allowed} are allowed.`, {
    param,
    found,
    allowed,
  });
}

function emptyPrompt(bosId: number | null, param: string): readonly number[] {
  if (bosId !== null) return [bosId];
  throw new LorikeetError(
    "invalid_value",
    `\`${param}\` is empty; this model needs at least one token to begin with.`,
    { param },
  );
}
