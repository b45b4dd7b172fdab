/** vLLM's two calls about tokens: the ids of a text or a chat as an answer would see them, and the text of ids. Generates nothing. */
import * as v from "valibot";
import { errorTable, LorikeetError } from "../base/errors.js";
import { isObject } from "../base/json.js";
import type { Tokenizer } from "../text/types.js";
import { type FieldBounds, flag, tokenIds } from "./body/field-kinds.js";
import { type BodyFormat, parse } from "./body/parse.js";
import type { Catalog, Target } from "./catalog.js";
import { Deadline } from "./deadline.js";
import type { EncodeBudget } from "./encode-budget.js";
import { asFault } from "./generation.js";
import { type GatewayObserver, outcomeOf, type Route } from "./observer.js";
import { chatInputOf, templateCross, templateEntries } from "./openai/chat-input.js";
import { modelField } from "./openai/fields.js";
import {
  charactersOf,
  checkText,
  encodePrompts,
  type PromptContext,
  type RenderedPrompts,
  renderChat,
} from "./prompts.js";
import type { Prompt } from "./requests.js";

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

export interface TokenizationDeps {
  readonly tokenizer: Tokenizer | null;
  readonly catalog: Pick<Catalog, "resolve">;
  readonly observer: GatewayObserver;
  readonly bounds: FieldBounds;
  readonly prompts: PromptContext;
  readonly encoding: EncodeBudget;
}

/** One call, and what it asks, once that was found. */
interface Call {
  target: Target | null;
}

/** Ids that the event loop turns into text before it is given up to others. */
const idsPerTurn = 2048;

export class Tokenization {
  readonly #deps: TokenizationDeps;
  readonly #text: ReturnType<typeof textFormat>;
  readonly #chat: ReturnType<typeof chatTextFormat>;
  readonly #ids: ReturnType<typeof idsFormat>;

  constructor(deps: TokenizationDeps) {
    this.#deps = deps;
    this.#text = textFormat();
    this.#chat = chatTextFormat(deps.bounds);
    this.#ids = idsFormat(deps.bounds, deps.prompts.maxPromptCharacters);
  }

  /** Takes a body with `prompt` or with `messages`. Throws what an answer to it would throw before it is queued. */
  tokenize(body: unknown, signal: AbortSignal, connection: object = signal): Promise<TokenizeAnswer> {
    return this.#counted("tokenize", (call) => this.#tokenize(body, signal, connection, call));
  }

  /** Special tokens are part of the text. */
  detokenize(body: unknown, signal: AbortSignal): Promise<DetokenizeAnswer> {
    return this.#counted("detokenize", (call) => this.#detokenize(body, signal, call));
  }

  async #tokenize(body: unknown, signal: AbortSignal, connection: object, call: Call): Promise<TokenizeAnswer> {
    const isChat = isObject(body) && body.messages !== undefined && body.messages !== null;
    const fields = isChat ? parse(this.#chat, body) : parse(this.#text, body);
    call.target = this.#find(fields.model);
    const { bounds, tokenizer } = this.#deps;
    const rendered = { prompts: [this.#render(fields)], addSpecialTokens: fields.add_special_tokens, truncation: null };
    const tokens = await this.#encode(rendered, signal, connection);
    const token_strs = fields.return_token_strs ? tokens.map((id) => tokenizer?.vocabularyText(id) ?? "") : null;
    return { count: tokens.length, max_model_len: bounds.maxContext, tokens, token_strs };
  }

  async #detokenize(body: unknown, signal: AbortSignal, call: Call): Promise<DetokenizeAnswer> {
    const { model, tokens } = parse(this.#ids, body);
    call.target = this.#find(model);
    const { tokenizer } = this.#deps;
    if (!tokenizer) throw new LorikeetError("tokenizer_missing", "The model has no tokenizer: ids have no text.");
    const stream = tokenizer.stream([], { keepSpecialTokens: true });
    let prompt = "";
    for (let begin = 0; begin < tokens.length; begin += idsPerTurn) {
      if (signal.aborted) throw new LorikeetError("cancelled", "The client left.");
      for (const id of tokens.slice(begin, begin + idsPerTurn)) prompt += stream.push(id);
      await new Promise((resolve) => setImmediate(resolve));
    }
    return { prompt: prompt + stream.flush() };
  }

  #render(fields: TextFields | ChatTextFields): Prompt {
    const { prompts } = this.#deps;
    if ("messages" in fields) return renderChat(chatInputOf(fields), prompts);
    checkText(fields.prompt, prompts);
    return { kind: "text", text: fields.prompt };
  }

  /** Every adapter has the base's tokenizer, and a name that nobody has is still a mistake. */
  #find(model: string | undefined): Target {
    const target = this.#deps.catalog.resolve(model ?? null);
    target.release();
    return target;
  }

  /** Tells the observer how a call ended. */
  async #counted<T>(route: Route, run: (call: Call) => Promise<T>): Promise<T> {
    const call: Call = { target: null };
    const startedAt = performance.now();
    let fault: LorikeetError | null = null;
    try {
      return await run(call);
    } catch (error) {
      fault = asFault(error);
      throw error;
    } finally {
      this.#deps.observer.ended?.({
        route,
        model: call.target?.model ?? null,
        adapter: call.target?.adapter ?? null,
        digest: call.target?.digest ?? null,
        outcome: fault ? outcomeOf(fault.code, errorTable[fault.code].status) : "completed",
        code: fault?.code ?? null,
        usage: null,
        queueMs: null,
        timeToFirstTokenMs: null,
        durationMs: performance.now() - startedAt,
      });
    }
  }

  async #encode(rendered: RenderedPrompts, signal: AbortSignal, connection: object): Promise<readonly number[]> {
    const { bounds, prompts, encoding } = this.#deps;
    const deadline = new Deadline(bounds, signal);
    const release = encoding.reserve(connection, charactersOf(rendered), (fault) => deadline.end(fault));
    try {
      const turn = { signal: deadline.signal, connection, accept: () => {}, allowsEmpty: true };
      const [encoded] = await encodePrompts(rendered, prompts, turn);
      return encoded?.ids ?? [];
    } finally {
      release();
      deadline.release();
    }
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

function chatTextFormat(bounds: FieldBounds) {
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

function idsFormat(bounds: FieldBounds, maxIds: number) {
  const entries = { model: modelField, tokens: tokenIds(bounds, 0, maxIds) };
  const schema = v.object(entries, "is required");
  return { schema, known: Object.keys(entries), ignored: {} } satisfies BodyFormat<typeof schema>;
}

type TextFields = v.InferOutput<ReturnType<typeof textFormat>["schema"]>;
type ChatTextFields = v.InferOutput<ReturnType<typeof chatTextFormat>["schema"]>;

/** Every parameter of each call. */
export function tokenizeParameters(bounds: FieldBounds): Readonly<Record<string, readonly string[]>> {
  const known = [...new Set([...textFormat().known, ...chatTextFormat(bounds).known])];
  return { tokenize: known, detokenize: idsFormat(bounds, 1).known };
}
