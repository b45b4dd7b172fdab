/** The tokenizer of a model directory. Owns the worker that encodes long texts. */

import { LorikeetError } from "../../base/errors.js";
import type { Json } from "../../base/json.js";
import { compileTemplate, findTemplate, type RenderChat } from "../chat/template.js";
import type { RenderLimits } from "../jinja/budget.js";
import { readIfThere } from "../json.js";
import type {
  ChatMessage,
  DecodeOptions,
  EncodeOptions,
  LoadedTokenizer,
  RenderOptions,
  TextStream,
} from "../types.js";
import { createDecoder, type Decoder } from "./decoder.js";
import type { Definition } from "./definition.js";
import { createEncoder, type Encode, parseFiles, type TokenizerFiles } from "./encoder.js";
import { Offload } from "./offload.js";
import { type RowTokenizer, rowTokenizerOf } from "./row-tokenizer.js";
import { IdStream } from "./stream.js";

export interface TokenizerOptions {
  /** A chat template file that replaces the model's (`--chat-template`). */
  readonly chatTemplateFile?: string | undefined;
  /** The limits of rendering one chat. */
  readonly renderLimits?: RenderLimits | undefined;
  /**
   * Texts longer than this many UTF-16 code units are encoded in a worker thread. The default keeps the worst text (one long
   * word of one character repeated) near 5 ms on the event loop; ordinary text of this length takes 1 to 2 ms.
   */
  readonly offloadCharacters?: number | undefined;
}

const defaultOffloadCharacters = 2048;

export interface FolderTokenizer extends LoadedTokenizer {
  /** The same tokenizer for rows of one or two texts of at most `maxLength` tokens. It closes with this one. */
  rows(maxLength: number): RowTokenizer;
}

/**
 * Loads tokenizer.json, tokenizer_config.json and the chat template of a Hugging Face directory.
 * Returns null without a tokenizer.json: such a model serves token ids only.
 * @throws LorikeetError `model_invalid` or `model_unsupported` with what was found, `invalid_config` for the template file.
 */
export async function loadTokenizer(
  directory: string,
  options: TokenizerOptions = {},
): Promise<FolderTokenizer | null> {
  const tokenizer = await readIfThere(`${directory}/tokenizer.json`);
  if (!tokenizer) return null;
  const config = await readIfThere(`${directory}/tokenizer_config.json`);
  const files = { directory, tokenizer: shared(tokenizer), config: config && shared(config) };
  const parsed = parseFiles(files);
  const chats = await openTemplate(directory, parsed, options);
  return new DirectoryTokenizer({
    ...parsed,
    files,
    chats,
    offloadCharacters: options.offloadCharacters ?? defaultOffloadCharacters,
  });
}

interface ChatTemplate {
  /** null if there is none. */
  readonly text: string | null;
  readonly toolText: string | null;
  readonly render: RenderChat | null;
  readonly fault: LorikeetError | null;
}

/** Keeps the error of an invalid template, since everything but chats works without it. */
async function openTemplate(
  directory: string,
  { config, definition }: ReturnType<typeof parseFiles>,
  { chatTemplateFile, renderLimits }: TokenizerOptions,
): Promise<ChatTemplate> {
  let text: string | null = null;
  try {
    const source = await findTemplate(directory, config, chatTemplateFile);
    text = source?.text ?? null;
    const render = source && compileTemplate(source, definition.specialTokens, renderLimits);
    return { text, toolText: source?.toolText ?? null, render, fault: null };
  } catch (error) {
    if (!(error instanceof LorikeetError) || error.code === "invalid_config") throw error;
    return { text: text ?? "", toolText: null, render: null, fault: error };
  }
}

function shared(bytes: Uint8Array): Uint8Array {
  const copy = new Uint8Array(new SharedArrayBuffer(bytes.byteLength));
  copy.set(bytes);
  return copy;
}

interface Parts {
  readonly files: TokenizerFiles;
  readonly definition: Definition;
  readonly config: Json;
  readonly chats: ChatTemplate;
  readonly offloadCharacters: number;
}

class DirectoryTokenizer implements FolderTokenizer {
  readonly chatTemplate: string | null;
  readonly toolTemplate: string | null;
  readonly templateFault: LorikeetError | null;
  readonly bosTokenId: number | null;
  readonly eosTokenId: number | null;
  readonly #definition: Definition;
  readonly #encode: Encode;
  readonly #decoder: Decoder;
  readonly #render: RenderChat | null;
  readonly #offload: Offload;
  readonly #offloadCharacters: number;
  #closed = false;

  constructor({ files, definition, config, chats, offloadCharacters }: Parts) {
    this.#definition = definition;
    this.#encode = createEncoder(definition, config);
    this.#decoder = createDecoder(definition.decoder);
    this.#render = chats.render;
    this.#offload = new Offload(files);
    this.#offloadCharacters = offloadCharacters;
    this.chatTemplate = chats.text;
    this.toolTemplate = chats.toolText;
    this.templateFault = chats.fault;
    this.bosTokenId = idOf(definition, "bos_token");
    this.eosTokenId = idOf(definition, "eos_token");
  }

  get vocabSize(): number {
    return this.#definition.tokens.length;
  }

  async encode(text: string, { addSpecialTokens, continues, signal, connection }: EncodeOptions): Promise<number[]> {
    const rules = { addSpecialTokens, continues };
    if (text.length > this.#offloadCharacters) {
      return this.#offload.encode({ text, ...rules }, signal, connection);
    }
    if (this.#closed) throw new LorikeetError("cancelled", "The tokenizer was closed before the text was encoded.");
    return this.#encode(text, rules);
  }

  decode(ids: readonly number[], { keepSpecialTokens = false, after = [] }: DecodeOptions = {}): string {
    const stream = new IdStream(this.#definition, this.#decoder, keepSpecialTokens);
    stream.continueAfter(after);
    let text = "";
    for (const id of ids) text += stream.push(id);
    return text + stream.flush();
  }

  tokenText(id: number): string {
    return new TextDecoder("utf-8", { ignoreBOM: true }).decode(this.#bytes(id));
  }

  vocabularyText(id: number): string {
    return this.#definition.tokens[id] ?? "";
  }

  tokenBytes(id: number): readonly number[] {
    return Array.from(this.#bytes(id));
  }

  #bytes(id: number): Uint8Array {
    const token = this.#definition.tokens[id];
    return token === undefined ? new Uint8Array() : this.#decoder.bytes(token);
  }

  renderChat(messages: readonly ChatMessage[], options: RenderOptions): string {
    if (this.#render) return this.#render(messages, options.addGenerationPrompt, options);
    if (this.templateFault) throw this.templateFault;
    throw new LorikeetError(
      "chat_template_missing",
      "The model has no chat template. Use --chat-template <file> to set one.",
      { param: "messages", allowed: "--chat-template <file>" },
    );
  }

  specialText(id: number): string | null {
    return this.#definition.specialIds.has(id) ? (this.#definition.tokens[id] ?? null) : null;
  }

  stream(after: readonly number[] = [], options: { readonly keepSpecialTokens?: boolean } = {}): TextStream {
    const stream = new IdStream(this.#definition, this.#decoder, options.keepSpecialTokens ?? false);
    stream.continueAfter(after);
    return stream;
  }

  rows(maxLength: number): RowTokenizer {
    const padding = { padId: 0, padTypeId: 0, padLeft: false };
    return rowTokenizerOf({ definition: this.#definition, offload: this.#offload, padding, maxLength });
  }

  async close(): Promise<void> {
    this.#closed = true;
    await this.#offload.close();
  }
}

function idOf({ specialTokens, idOf }: Definition, name: string): number | null {
  const token = specialTokens.get(name);
  return token === undefined ? null : (idOf.get(token) ?? null);
}
