/** vLLM's two calls about tokens, `/tokenize` and `/detokenize`: their bodies and their answers. */

import * as v from "valibot";
import { assert } from "../../base/errors.js";
import { isObject } from "../../base/json.js";
import { flag, modelField, tokenIds } from "../body/field-kinds.js";
import { type BodyFormat, parse } from "../body/parse.js";
import type { Gateway } from "../gateway.js";
import { chatInputOf, templateCross, templateEntries } from "../openai/chat-input.js";
import type { RequestBounds } from "../options.js";
import type { DetokenizeRequest, TokenizeRequest } from "../requests.js";

export interface TokenizeAnswer {
  readonly count: number;
  readonly max_model_len: number;
  readonly tokens: readonly number[];
  /** As the vocabulary spells them; null unless they were asked for. */
  readonly token_strs: readonly string[] | null;
}

export interface DetokenizeAnswer {
  readonly prompt: string;
}

/** A tokenize request with what only its answer needs. */
interface SpelledRequest extends TokenizeRequest {
  readonly returnsTexts: boolean;
}

export class TokenCalls {
  readonly #gateway: Gateway;
  readonly #text: ReturnType<typeof textFormat>;
  readonly #chat: ReturnType<typeof chatFormat>;
  readonly #ids: ReturnType<typeof idsFormat>;

  constructor(gateway: Gateway) {
    const { bounds, maxPromptCharacters } = gateway;
    this.#gateway = gateway;
    this.#text = textFormat();
    this.#chat = chatFormat(bounds);
    this.#ids = idsFormat(bounds, maxPromptCharacters);
  }

  /** Takes a body with `prompt` or with `messages`. */
  async tokenize(body: unknown, signal: AbortSignal, connection: object): Promise<TokenizeAnswer> {
    const { tokenization, tokenizer, bounds } = this.#gateway;
    const reading = { route: "tokenize", read: () => this.#read(body) } as const;
    const { request, ids } = await tokenization.tokenize(reading, signal, connection);
    assert(tokenizer, "a text is refused where there is no tokenizer");
    const token_strs = request.returnsTexts ? ids.map((id) => tokenizer.vocabularyText(id)) : null;
    return { count: ids.length, max_model_len: bounds.maxContext, tokens: ids, token_strs };
  }

  async detokenize(body: unknown, signal: AbortSignal): Promise<DetokenizeAnswer> {
    return { prompt: await this.#gateway.tokenization.detokenize(() => this.#readIds(body), signal) };
  }

  #read(body: unknown): SpelledRequest {
    const isChat = isObject(body) && body.messages !== undefined && body.messages !== null;
    const fields = isChat ? parse(this.#chat, body) : parse(this.#text, body);
    return {
      model: fields.model ?? null,
      input: "messages" in fields ? chatInputOf(fields) : { kind: "text", text: fields.prompt },
      addsSpecialTokens: fields.add_special_tokens,
      returnsTexts: fields.return_token_strs,
    };
  }

  #readIds(body: unknown): DetokenizeRequest {
    const { model, tokens } = parse(this.#ids, body);
    return { model: model ?? null, ids: tokens };
  }
}

function textFormat() {
  const entries = {
    model: modelField,
    prompt: v.string("must be a string"),
    add_special_tokens: v.optional(flag, true),
    return_token_strs: v.optional(flag, false),
  };
  const schema = v.object(entries, "is required");
  return { schema, known: Object.keys(entries), ignored: {} } satisfies BodyFormat<typeof schema>;
}

function chatFormat(bounds: RequestBounds) {
  const entries = {
    model: modelField,
    ...templateEntries(bounds),
    add_special_tokens: v.optional(flag, false),
    return_token_strs: v.optional(flag, false),
  };
  const schema = v.object(entries, "is required");
  const cross: BodyFormat<typeof schema>["cross"] = (body) => [...templateCross(body)];
  return { schema, known: Object.keys(entries), ignored: {}, cross } satisfies BodyFormat<typeof schema>;
}

function idsFormat(bounds: RequestBounds, maxIds: number) {
  const entries = { model: modelField, tokens: tokenIds(bounds, 0, maxIds) };
  const schema = v.object(entries, "is required");
  return { schema, known: Object.keys(entries), ignored: {} } satisfies BodyFormat<typeof schema>;
}

/** Every parameter of each call. */
export function tokenizeParameters(bounds: RequestBounds): Readonly<Record<string, readonly string[]>> {
  const known = [...new Set([...textFormat().known, ...chatFormat(bounds).known])];
  return { tokenize: known, detokenize: idsFormat(bounds, 1).known };
}
