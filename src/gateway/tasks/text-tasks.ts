/** Text tasks of a task model: texts to tokens, tokens to tensors, outputs to labels and vectors. */

import { LorikeetError } from "../../base/errors.js";
import type { Json } from "../../base/json.js";
import type { PoolingMode } from "../../engine/pooler.js";
import type { TaskSignature, TaskTensor } from "../../engine/task/types.js";
import type { RowTokenizer } from "../../text/tokenizer/row-tokenizer.js";
import { type EncodedRow, padRows, type TextRow } from "../../text/tokenizer/rows.js";
import type { EncodeBudget } from "../encode-budget.js";
import { answersTexts, scoresPairs, type TextAnswer } from "./answers.js";
import { type Aggregation, entitiesOf } from "./entities.js";
import type { InferAnswer, InferRequest } from "./inference.js";
import { activated, labelNames } from "./label-scores.js";
import { pool, unpadded } from "./pooling.js";
import { scoredTokens } from "./scored-tokens.js";
import { notSparse, type SparseValue, sparseVector } from "./sparse.js";
import { checkedLogits, checkedVector, valuesOf } from "./values.js";

/** What a model's configuration says about its outputs. */
export interface TextHead {
  readonly labels: readonly string[] | null;
  readonly isExclusive: boolean;
  readonly pooling: readonly PoolingMode[] | { readonly refusal: string };
  readonly normalizes: boolean;
}

export interface TextTaskParts {
  /** null: the folder has none. */
  readonly tokenizer: RowTokenizer | null;
  readonly head: TextHead;
  readonly signature: TaskSignature;
  /** Characters that wait to be tokenized. */
  readonly encoding: EncodeBudget;
  /** Characters of one text. */
  readonly maxCharacters: number;
  /** Characters of one text that is truncated: no fewer. */
  readonly maxTruncatedCharacters: number;
  /** The signature of a model by its name, an adapter's own head included; null is the base. */
  signatureOf(model: string | null, signal: AbortSignal): Promise<TaskSignature>;
}

/** A text, or its tokens. */
export type TextInput = string | readonly number[];

/** A text, or two that the model reads together. */
export type TextToRead = TextInput | TextRow;

export interface TextPair {
  readonly text: string;
  readonly pair: string;
}

export interface TextRequest {
  readonly model: string | null;
  readonly texts: readonly TextToRead[];
  readonly truncate: boolean;
  /** What a client sets to have texts truncated, for faults. Absent where nothing does. */
  readonly truncatedBy?: string;
  /** False: texts may be longer than the model takes. Default true. */
  readonly isBounded?: boolean;
  /** Default true. */
  readonly addsSpecialTokens?: boolean;
  /** Whether the texts are in the order of the client's list. Default true. */
  readonly isInOrder?: boolean;
  readonly connection: object;
}

/** Pairs of texts to compare. */
export interface ComparedRequest extends Omit<TextRequest, "texts"> {
  readonly pairs: readonly TextPair[];
}

/** A row of a text knows the places of its tokens; a row of token ids does not. */
export type TokenRow = EncodedRow | { readonly ids: readonly number[]; readonly typeIds: readonly number[] };

export interface TokenizedRequest extends InferRequest {
  readonly texts: readonly TextToRead[];
  readonly rows: readonly TokenRow[];
}

export interface TaggedRequest extends TokenizedRequest {
  readonly texts: readonly string[];
  readonly aggregation: Aggregation;
  /** Labels that are left out. */
  readonly ignored: readonly string[];
}

export interface Classified {
  /** The likeliest. */
  readonly label: string;
  readonly labels: readonly string[];
  /** One for each label. */
  readonly scores: Float64Array;
}

export interface EmbedRules {
  /** The first values of each vector; null, the default: all. */
  readonly dimensions?: number | null;
  /** Whether vectors are scaled to the length 1. Default: as the model says, and always for some of their values. */
  readonly normalizes?: boolean;
}

/** Lengths that rows are padded to, so that texts of similar lengths run together whatever else is asked. */
const leastLength = 16;

export class TextTasks {
  readonly #parts: TextTaskParts;

  constructor(parts: TextTaskParts) {
    this.#parts = parts;
  }

  /** Without one, the base takes tensors or pictures only. */
  get hasTokenizer(): boolean {
    return this.#parts.tokenizer !== null;
  }

  /** Whether the base gives what a route answers. */
  answers(answer: TextAnswer): boolean {
    return answersTexts(this.#parts, answer);
  }

  /** Each pair as one row for a model with one label, which says how well two texts fit; else each text by itself, equal ones once. */
  async compare({ pairs, ...asked }: ComparedRequest, signal: AbortSignal): Promise<TokenizedRequest> {
    const { signatureOf, signature, head } = this.#parts;
    const { outputs } = await signatureOf(asked.model, signal);
    const isTogether = scoresPairs(outputs, outputs === signature.outputs ? head.labels : null);
    const texts = isTogether ? pairs : [...new Set(pairs.flatMap(({ text, pair }) => [text, pair]))];
    return await this.request({ ...asked, texts, isInOrder: isTogether }, signal);
  }

  /** Tokens, padded, as inputs of the model. Throws `tokenizer_missing`, `context_length_exceeded` or `model_unsupported`. */
  async request(asked: TextRequest, signal: AbortSignal): Promise<TokenizedRequest> {
    const rows = await this.rows(asked, signal);
    const inputs = rows.map((row) => this.#inputsOf(row));
    const { model, texts } = asked;
    return { model, texts, rows, inputs, tokens: rows.reduce((sum, { ids }) => sum + ids.length, 0) };
  }

  /** Tokens of each text, in turn with those of other connections. Throws `tokenizer_missing` or `context_length_exceeded`. */
  async rows(asked: TextRequest, signal: AbortSignal): Promise<TokenRow[]> {
    for (const [position, text] of asked.texts.entries()) this.#boundCharacters(text, asked, position);
    const evicted = new AbortController();
    const characters = asked.texts.reduce((sum, text) => sum + sizeOf(text), 0);
    const release = this.#parts.encoding.reserve(asked.connection, characters, (fault) => evicted.abort(fault));
    const either = AbortSignal.any([signal, evicted.signal]);
    try {
      return await Promise.all(
        asked.texts.map(async (text, position) => {
          return await this.#encode(text, asked, either).catch((error: unknown): never => {
            throw withAdvice(error, asked, position);
          });
        }),
      );
    } catch (error) {
      throw evicted.signal.aborted ? evicted.signal.reason : error;
    } finally {
      release();
    }
  }

  /** Before any work. Throws `prompt_too_long`. */
  #boundCharacters(text: TextInput | TextRow, asked: TextRequest, position: number): void {
    if (typeof text !== "string" && !("text" in text)) return;
    const { maxCharacters, maxTruncatedCharacters, tokenizer } = this.#parts;
    const isCut = asked.truncate && tokenizer?.maxLength !== null;
    const allowed = isCut ? maxTruncatedCharacters : maxCharacters;
    const found = typeof text === "string" ? text.length : Math.max(text.text.length, text.pair?.length ?? 0);
    if (found <= allowed) return;
    const message = `A text has ${found} characters; at most ${allowed} are allowed.`;
    const fault = new LorikeetError("prompt_too_long", message, { param: "input", found, allowed });
    throw tokenizer?.maxLength == null ? fault : withAdvice(fault, asked, position);
  }

  async #encode(
    text: TextInput | TextRow,
    { truncate, isBounded, addsSpecialTokens = true, connection }: TextRequest,
    signal: AbortSignal,
  ): Promise<TokenRow> {
    const { tokenizer, signature } = this.#parts;
    if (typeof text === "string" || "text" in text) {
      const row = typeof text === "string" ? { text } : text;
      const options = { truncate, isBounded, addSpecialTokens: addsSpecialTokens, signal, connection };
      if (tokenizer) return await tokenizer.encodeRow(row, options);
      const message = "The model has no tokenizer.json, so it takes no texts.";
      throw new LorikeetError("tokenizer_missing", message, { param: "input" });
    }
    const limit = signature.inputs.find(({ name }) => name === "input_ids")?.limit ?? null;
    const unknown = limit === null ? undefined : text.find((id) => id >= limit);
    if (limit !== null && unknown !== undefined) {
      const message = `\`input\` has the token id ${unknown}; 0 to ${limit - 1} are allowed.`;
      throw new LorikeetError("invalid_value", message, { param: "input", found: unknown, allowed: limit - 1 });
    }
    const maxLength = tokenizer?.maxLength ?? null;
    const found = text.length;
    if (maxLength !== null && found > maxLength && !truncate) {
      const message = `The input has ${found} tokens; the model takes at most ${maxLength}.`;
      throw new LorikeetError("context_length_exceeded", message, { param: "input", found, allowed: maxLength });
    }
    const ids = maxLength === null ? text : text.slice(0, maxLength);
    return { ids, typeIds: ids.map(() => 0) };
  }

  #inputsOf(row: TokenRow): Map<string, TaskTensor> {
    const { tokenizer, signature } = this.#parts;
    const padded = padRows([row], tokenizer ?? noPadding, paddedLength(row.ids.length, tokenizer?.maxLength ?? null));
    const tensors: Readonly<Record<string, BigInt64Array>> = {
      input_ids: padded.inputIds,
      attention_mask: padded.attentionMask,
      token_type_ids: padded.tokenTypeIds,
    };
    return new Map(
      signature.inputs.map(({ name, type }): [string, TaskTensor] => {
        const data = tensors[name];
        if (data && type === "int64") return [name, { type, shape: [1, padded.length], data }];
        if (data && type === "int32")
          return [name, { type, shape: [1, padded.length], data: Int32Array.from(data, Number) }];
        throw notForTexts(`has an input ${JSON.stringify(name)} of type ${type}`);
      }),
    );
  }

  /** The entities of each text that was asked for. Throws `model_unsupported` unless the model has logits [1, length, labels]. */
  tag({ rows: outputs, labels }: InferAnswer, asked: TaggedRequest): Json[][] {
    const { tokenizer, head } = this.#parts;
    return asked.rows.map((row, index) => {
      const logits = outputs[index]?.get("logits");
      if (logits?.shape.length !== 3) throw notForTexts("has no output logits [batch, length, labels]");
      if (!tokenizer || !("spans" in row)) return [];
      return entitiesOf(scoredTokens(row, logits, asked.texts[index] ?? "", tokenizer), {
        ...asked,
        labels: labelNames(logits.shape[2] ?? 0, labels, head.labels),
        join: (words) => tokenizer.joinTokens(words),
      });
    });
  }

  /** The scores of each text's labels. `activates`: false leaves them as the model computes them. */
  classify({ rows, labels }: InferAnswer, activates: boolean): Classified[] {
    const { head } = this.#parts;
    return rows.map((outputs) => {
      const logits = outputs.get("logits");
      if (logits?.shape.length !== 2) throw notForTexts(noLabels);
      const raw = checkedLogits(Float64Array.from(valuesOf(logits), Number));
      const isExclusive = head.isExclusive && raw.length > 1;
      const scores = activates ? Float64Array.from(activated([...raw], isExclusive ? "softmax" : "sigmoid")) : raw;
      const best = scores.indexOf(scores.reduce((most, score) => Math.max(most, score), Number.NEGATIVE_INFINITY));
      const names = labelNames(raw.length, labels, head.labels);
      return { label: names[Math.max(0, best)] ?? "", labels: names, scores };
    });
  }

  /** One vector for each text. `inputs`: of the request that was answered. */
  embed({ rows }: InferAnswer, { inputs }: InferRequest, rules: EmbedRules = {}): Float32Array[] {
    const { pooling, normalizes } = this.#parts.head;
    const { dimensions = null } = rules;
    const isScaled = rules.normalizes ?? (normalizes || dimensions !== null);
    if ("refusal" in pooling) throw notForTexts(pooling.refusal);
    return rows.map((outputs, row) => {
      const whole = outputs.get("sentence_embedding");
      const mask = inputs[row]?.get("attention_mask");
      const vector = whole ? Float32Array.from(valuesOf(whole), Number) : pool(hiddenOf(outputs), mask, pooling);
      if (dimensions !== null && dimensions > vector.length) {
        const message = `\`dimensions\` is ${dimensions}; the model's embeddings have ${vector.length}.`;
        const details = { param: "dimensions", found: dimensions, allowed: vector.length };
        throw new LorikeetError("invalid_value", message, details);
      }
      checkedVector(vector);
      const cut = dimensions === null ? vector : vector.slice(0, dimensions);
      return isScaled ? unit(cut) : cut;
    });
  }

  /** The vectors of each text's tokens. */
  embedTokens({ rows }: InferAnswer, { inputs }: InferRequest): Float32Array[][] {
    return rows.map((outputs, row) =>
      unpadded(hiddenOf(outputs), inputs[row]?.get("attention_mask")).map(checkedVector),
    );
  }

  /** The scores of labels of each text's tokens. */
  classifyTokens({ rows }: InferAnswer, { inputs }: InferRequest, activates: boolean): Float64Array[][] {
    return rows.map((outputs, row) => {
      const logits = outputs.get("logits");
      if (logits?.shape.length !== 3) throw notForTexts("has no output logits [batch, length, labels]");
      const tokens = unpadded(logits, inputs[row]?.get("attention_mask")).map((token) =>
        checkedLogits(Float64Array.from(token)),
      );
      return activates ? tokens.map((token) => Float64Array.from(activated([...token], "softmax"))) : tokens;
    });
  }

  /** A sparse vector over the vocabulary for each text. Throws `model_unsupported` unless the model predicts masked tokens. */
  embedSparse({ rows }: InferAnswer, { inputs }: InferRequest): SparseValue[][] {
    const { tokenizer } = this.#parts;
    return rows.map((outputs, row) => {
      const logits = outputs.get("logits");
      const size = logits?.shape[2] ?? 0;
      if (logits?.shape.length !== 3 || !tokenizer || size < tokenizer.vocabSize) throw notSparse();
      return sparseVector(logits, inputs[row]?.get("attention_mask"));
    });
  }
}

/** A fault of a text that is too long, with its position among several and what shortens it. */
function withAdvice(
  error: unknown,
  { texts, truncate, truncatedBy, isInOrder = true }: TextRequest,
  position: number,
): unknown {
  if (!(error instanceof LorikeetError) || truncate || truncatedBy === undefined) return error;
  if (error.code !== "context_length_exceeded" && error.code !== "prompt_too_long") return error;
  const { code, message, param = "input", found, allowed } = error;
  const place = texts.length > 1 && isInOrder ? ` It is at position ${position}.` : "";
  return new LorikeetError(code, `${message}${place} ${truncatedBy} shortens it.`, { param, found, allowed });
}

function hiddenOf(outputs: ReadonlyMap<string, TaskTensor>): TaskTensor {
  const hidden = outputs.get("last_hidden_state") ?? outputs.get("token_embeddings");
  if (hidden?.shape.length === 3) return hidden;
  throw notForTexts("has no output last_hidden_state [batch, length, size]");
}

function sizeOf(text: TextInput | TextRow): number {
  if (typeof text === "string" || !("text" in text)) return text.length;
  return text.text.length + (text.pair?.length ?? 0);
}

/** Without a stated limit nothing is known to fit after the text. */
function paddedLength(found: number, maxLength: number | null): number {
  if (maxLength === null) return found;
  let length = leastLength;
  while (length < found) length *= 2;
  return Math.max(found, Math.min(length, maxLength));
}

const noLabels = "has no output logits [batch, labels], as a base or an adapter with a classification layer has";

const noPadding = { padId: 0, padTypeId: 0, padLeft: false };

function notForTexts(clause: string): LorikeetError {
  return new LorikeetError(
    "model_unsupported",
    `This route does not fit the model, which ${clause}; /v2/models/{name}/infer takes tensors.`,
  );
}

function unit(vector: Float32Array): Float32Array {
  const length = Math.sqrt(vector.reduce((sum, value) => sum + value * value, 0));
  return length > 0 ? vector.map((value) => value / length) : vector;
}
