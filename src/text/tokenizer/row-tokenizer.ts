/** The tokenizer of a task model's folder: rows of one or two texts with their places, within the model's length. */

import { LorikeetError } from "../../base/errors.js";
import { isObject, type Json } from "../../base/json.js";
import { asList, asRecord, asString, parseRecord, readIfThere } from "../json.js";
import { beginningOf, marginOf, type Surroundings, splitsLocally, sureTokens } from "./beginning.js";
import { createDecoder, type Decoder } from "./decoder.js";
import type { Definition } from "./definition.js";
import { parseFiles } from "./encoder.js";
import { Offload } from "./offload.js";
import { type PostProcessor, readPostProcessor } from "./post-processor.js";
import { type EncodedRow, joinRow, type Padding, partsOf, type TextRow } from "./rows.js";
import { createSpanEncoder, type EncodeSpans, type SpanTokens } from "./span-encoder.js";
import { IdStream, joinTokens } from "./stream.js";

export interface RowOptions {
  /** Shortens a row beyond the model's length, the longer text of a pair first. Default false: such a row is refused. */
  readonly truncate?: boolean | undefined;
  /** A lower limit than the model's own length. */
  readonly maxLength?: number | undefined;
  /** False: the row may be of any length. Default true. */
  readonly isBounded?: boolean | undefined;
  /** Default true. */
  readonly addSpecialTokens?: boolean | undefined;
  /** Cancels the encoding; it rejects with `cancelled`. */
  readonly signal?: AbortSignal | undefined;
  /** The client's connection: long texts of different connections take turns. */
  readonly connection?: object | undefined;
  /** The request's field, for faults. Default "input". */
  readonly param?: string | undefined;
}

export interface RowTokenizer extends Padding {
  readonly vocabSize: number;
  /** The longest row in tokens, with special tokens; null if no file says one. */
  readonly maxLength: number | null;
  /** What tokenizer.json holds, for people: the types of its parts. */
  readonly parts: TokenizerParts;
  /** Throws `context_length_exceeded` with both lengths, `model_unsupported` for a pair that the tokenizer cannot join. */
  encodeRow(row: TextRow, options?: RowOptions): Promise<EncodedRow>;
  /** The text of ids; skips special tokens unless they are kept. */
  decode(ids: readonly number[], keepsSpecialTokens?: boolean): string;
  /** The text of tokens, of which an unknown one may be spelled as its text. */
  joinTokens(tokens: readonly string[]): string;
  /** The id of unknown text; null if the tokenizer has none. */
  readonly unkId: number | null;
  /** Whether the tokens that continue a word are marked, as `##ing` is. */
  readonly marksSubwords: boolean;
  /** The token exactly as the vocabulary spells it, such as `##ing` or `▁of`; "" for an id without a token. */
  vocabularyText(id: number): string;
  /** The text of a special token; null for any other id. */
  specialText(id: number): string | null;
  close(): Promise<void>;
}

export interface TokenizerParts {
  readonly normalizer: string;
  readonly preTokenizer: string;
  readonly model: string;
  readonly postProcessor: string;
}

/** Most texts have fewer characters for each token. */
const charactersOfToken = 8;
/** Longer texts are encoded in a worker thread: this length takes a few milliseconds. */
const offloadCharacters = 2048;

/**
 * Loads tokenizer.json, and what tokenizer_config.json, config.json and sentence_bert_config.json say about lengths, padding and case.
 * A row has at most `longest` tokens, whatever they say. Returns null without a tokenizer.json. @throws LorikeetError `model_invalid` or
 * `model_unsupported` with what was found.
 */
export async function loadRowTokenizer(folder: string, longest: number | null = null): Promise<RowTokenizer | null> {
  const bytes = await readIfThere(`${folder}/tokenizer.json`);
  if (!bytes) return null;
  const config = await readIfThere(`${folder}/tokenizer_config.json`);
  const rules = await Promise.all(
    ["config.json", "sentence_bert_config.json"].map((name) => readSettings(folder, name)),
  );
  const [model = {}, sentences = {}] = rules;
  const tokenizer = sentences.do_lower_case === true ? lowering(bytes, folder) : bytes;
  const files = { directory: folder, tokenizer, config };
  const { definition, config: settings } = parseFiles(files);
  const file = parseRecord(tokenizer, `${folder}/tokenizer.json`);
  return rowTokenizerOf({
    definition,
    encode: createSpanEncoder(definition),
    offload: new Offload(files),
    padding: paddingOf(definition, settings, model, asRecord(file.padding) ?? {}),
    maxLength: maxLengthOf(settings, model, sentences, longest),
  });
}

/** The file with lower-casing in front of its normalizer, as sentence-transformers adds it. */
function lowering(bytes: Uint8Array, folder: string): Uint8Array {
  const file = parseRecord(bytes, `${folder}/tokenizer.json`);
  const normalizer = asRecord(file.normalizer);
  const rest = normalizer?.type === "Sequence" ? asList(normalizer.normalizers) : normalizer ? [normalizer] : [];
  if (rest.some((each) => asRecord(each)?.type === "Lowercase")) return bytes;
  const normalizers = [{ type: "Lowercase" }, ...rest];
  return new TextEncoder().encode(JSON.stringify({ ...file, normalizer: { type: "Sequence", normalizers } }));
}

/** A tokenizer of rows over a tokenizer that was read before. It closes `offload`. */
export const rowTokenizerOf = (parts: RowParts): RowTokenizer => new FolderRowTokenizer(parts);

async function readSettings(folder: string, name: string): Promise<Json> {
  const bytes = await readIfThere(`${folder}/${name}`);
  return bytes ? parseRecord(bytes, `${folder}/${name}`) : {};
}

/** transformers writes 1e30 where it knows no limit. */
const largestLimit = 1e9;

function maxLengthOf(settings: Json, model: Json, sentences: Json, longest: number | null): number | null {
  const limits = [settings.model_max_length, sentences.max_seq_length, positionsOf(model), longest];
  const known = limits.filter(
    (limit): limit is number => typeof limit === "number" && limit > 0 && limit < largestLimit,
  );
  return known.length === 0 ? null : Math.min(...known);
}

/** Tables of RoBERTa's kind count positions from after the padding token's. */
function positionsOf({ max_position_embeddings: positions, model_type: type, pad_token_id: pad }: Json): number | null {
  if (typeof positions !== "number") return null;
  const isOffset = typeof type === "string" && offsetPositions.test(type);
  return isOffset && typeof pad === "number" ? positions - pad - 1 : positions;
}

const offsetPositions = /roberta|camembert|^(mpnet|longformer|xmod|data2vec-text|luke|esm|ibert)$/;

function paddingOf({ idOf, specialTokens }: Definition, settings: Json, model: Json, padding: Json): Padding {
  const token = specialTokens.get("pad_token");
  const named = token === undefined ? undefined : idOf.get(token);
  const stated = [named, padding.pad_id, model.pad_token_id].find((id) => typeof id === "number");
  return {
    padId: typeof stated === "number" ? stated : 0,
    padTypeId: typeof settings.pad_token_type_id === "number" ? settings.pad_token_type_id : 0,
    padLeft: settings.padding_side === "left",
  };
}

export interface RowParts {
  readonly definition: Definition;
  /** Default: created when the first text is encoded. */
  readonly encode?: EncodeSpans;
  readonly offload: Offload;
  readonly padding: Padding;
  readonly maxLength: number | null;
}

class FolderRowTokenizer implements RowTokenizer {
  readonly maxLength: number | null;
  readonly padId: number;
  readonly padTypeId: number;
  readonly padLeft: boolean;
  readonly unkId: number | null;
  readonly marksSubwords: boolean;
  readonly parts: TokenizerParts;
  readonly #definition: Definition;
  #surroundings: Surroundings | null = null;
  #encode: EncodeSpans | null;
  readonly #decoder: Decoder;
  readonly #postProcessor: PostProcessor;
  readonly #offload: Offload;

  constructor({ definition, encode, offload, padding, maxLength }: RowParts) {
    this.maxLength = maxLength;
    ({ padId: this.padId, padTypeId: this.padTypeId, padLeft: this.padLeft } = padding);
    this.parts = {
      normalizer: typesOf(definition.normalizer),
      preTokenizer: typesOf(definition.preTokenizer),
      model: typesOf(definition.model),
      postProcessor: typesOf(definition.postProcessor),
    };
    const unk = definition.specialTokens.get("unk_token") ?? asString(definition.model.unk_token);
    this.unkId = unk === null ? null : (definition.idOf.get(unk) ?? null);
    this.marksSubwords = marksSubwords(definition.model);
    this.#definition = definition;
    this.#encode = encode ?? null;
    this.#decoder = createDecoder(definition.decoder);
    this.#postProcessor = readPostProcessor(definition.postProcessor);
    this.#offload = offload;
  }

  get vocabSize(): number {
    return this.#definition.tokens.length;
  }

  async encodeRow({ text, pair }: TextRow, options: RowOptions = {}): Promise<EncodedRow> {
    const parts = partsOf(this.#postProcessor, pair !== undefined);
    const maxLength = options.isBounded === false ? null : leastOf(this.maxLength, options.maxLength ?? null);
    const isCut = options.truncate === true && maxLength !== null;
    const texts = await Promise.all(
      [text, pair]
        .filter((each) => each !== undefined)
        .map((each) => (isCut ? this.#firstSpans(each, maxLength, options) : this.#spans(each, options))),
    );
    return joinRow(texts, parts, {
      maxLength,
      truncate: options.truncate ?? false,
      addSpecialTokens: options.addSpecialTokens ?? true,
      param: options.param ?? "input",
    });
  }

  /** The tokens of a text of which no more than `needed` are kept: those of its beginning, if the text has more. */
  async #firstSpans(text: string, needed: number, options: RowOptions): Promise<SpanTokens> {
    const { added, preTokenizer } = this.#definition;
    this.#surroundings ??= { margin: marginOf(added), splitsLocally: splitsLocally(preTokenizer) };
    for (let size = 2 * this.#surroundings.margin + charactersOfToken * needed; size < text.length / 2; size *= 4) {
      const beginning = beginningOf(text, size);
      const sure = sureTokens(await this.#spans(beginning, options), beginning, this.#surroundings, needed);
      if (sure) return sure;
    }
    return await this.#spans(text, options);
  }

  async #spans(text: string, { signal, connection }: RowOptions): Promise<SpanTokens> {
    if (signal?.aborted) throw new LorikeetError("cancelled", "The request was cancelled before its text was encoded.");
    if (text.length > offloadCharacters) return this.#offload.encodeSpans(text, signal, connection);
    this.#encode ??= createSpanEncoder(this.#definition);
    return this.#encode(text);
  }

  decode(ids: readonly number[], keepsSpecialTokens = false): string {
    const stream = new IdStream(this.#definition, this.#decoder, keepsSpecialTokens);
    let text = "";
    for (const id of ids) text += stream.push(id);
    return text + stream.flush();
  }

  joinTokens(tokens: readonly string[]): string {
    return joinTokens(this.#decoder, tokens);
  }

  vocabularyText(id: number): string {
    return this.#definition.tokens[id] ?? "";
  }

  specialText(id: number): string | null {
    return this.#definition.specialIds.has(id) ? this.vocabularyText(id) : null;
  }

  close(): Promise<void> {
    return this.#offload.close();
  }
}

const leastOf = (a: number | null, b: number | null): number | null =>
  a === null || b === null ? (a ?? b) : Math.min(a, b);

function marksSubwords({ type, continuing_subword_prefix: prefix }: Json): boolean {
  return asString(prefix) === null ? type === "WordPiece" : prefix !== "";
}

/** The types of a part's steps; "none" without a part. */
function typesOf(part: Json | null): string {
  if (part === null) return "none";
  const steps = [part.normalizers, part.pretokenizers, part.processors].find(Array.isArray);
  if (part.type === "Sequence" && steps) return steps.map((step) => typesOf(isObject(step) ? step : null)).join(", ");
  return String(part.type ?? "not stated");
}
