/** Compiles the grammars of requests: checks them, compiles them in the client's turn, and caches them by content. */
import { createHash } from "node:crypto";
import { setImmediate as turn } from "node:timers/promises";
import { LorikeetError } from "../base/errors.js";
import { CompileQueue } from "./compile-queue.js";
import { ClientFault, CompileThread, type ThreadBounds } from "./compile-thread.js";
import { Grammar } from "./grammar.js";
import { GrammarCache } from "./grammar-cache.js";
import { type GrammarSource, optionalForm, sequenceForm, textForm } from "./source.js";
import type { TokenBytes } from "./token-tree.js";
import type { CompileMessage } from "./worker/main.js";

export interface GrammarOptions extends Omit<ThreadBounds, "maxMaskBytes"> {
  /** Characters of a schema, a pattern, a list of choices or a grammar. */
  readonly maxGrammarCharacters: number;
  /** Grammars that may wait or be compiled. */
  readonly maxGrammarQueue: number;
  /** Bytes of compiled grammars that are kept. */
  readonly grammarCacheBytes: number;
}

export const grammarDefaults: GrammarOptions = {
  maxGrammarCharacters: 256 * 1024,
  maxGrammarSize: 1_000_000,
  grammarTimeoutMs: 5000,
  grammarMemory: 512 * 2 ** 20,
  maxGrammarQueue: 16,
  grammarCacheBytes: 256 * 2 ** 20,
};

/** A vocabulary's tokens as bytes; none for tokens that never represent text. */
export interface GrammarTokens {
  readonly vocabSize: number;
  bytesOf(id: number): Iterable<number>;
  /** Special tokens that spell text of forms alone. */
  readonly markerIds?: readonly number[];
}

export interface GrammarStats {
  readonly keptBytes: number;
  readonly kept: number;
  readonly waiting: number;
}

export type CompileOutcome = "compiled" | "kept" | "refused" | "timed_out" | "rejected";

/** Tokens read in one turn of the event loop. */
const tokensPerTurn = 512;
/** Memory of a grammar for the positions that texts have reached. */
const maxPositionBytes = 2 ** 20;

export class GrammarCompiler {
  readonly #tokens: GrammarTokens;
  readonly #options: GrammarOptions;
  readonly #ended: (outcome: CompileOutcome, seconds: number) => void;
  readonly #kept: GrammarCache;
  readonly #queue: CompileQueue;
  #vocabulary: Promise<TokenBytes> | null = null;
  #thread: CompileThread | null = null;

  /** Calls `ended` with the outcome of each request for a grammar. */
  constructor(
    tokens: GrammarTokens,
    options: GrammarOptions,
    ended: (outcome: CompileOutcome, seconds: number) => void = () => {},
  ) {
    this.#tokens = tokens;
    this.#options = options;
    this.#ended = ended;
    this.#kept = new GrammarCache(options.grammarCacheBytes);
    this.#queue = new CompileQueue((key, message) => this.#compile(key, message), options.maxGrammarQueue);
  }

  stats(): GrammarStats {
    return { kept: this.#kept.count, keptBytes: this.#kept.bytes, waiting: this.#queue.size };
  }

  /**
   * `afterSpace`: the text follows a space. Requests of one `client` share its turn; a request without one has its own. Throws LorikeetError `invalid_value` that names what is
   * wrong, `grammar_queue_full`, or the signal's reason.
   */
  async compile(
    source: GrammarSource,
    client: object = {},
    signal?: AbortSignal,
    afterSpace = false,
  ): Promise<Grammar> {
    const startedAt = performance.now();
    const report = (outcome: CompileOutcome): void => this.#ended(outcome, (performance.now() - startedAt) / 1000);
    // Equal grammars of different parameters are compiled once.
    const message = messageOf({ ...source, param: "" }, afterSpace);
    const text = JSON.stringify(message);
    const { maxGrammarCharacters } = this.#options;
    if (text.length > maxGrammarCharacters) {
      report("refused");
      const found = `has ${text.length} characters as JSON`;
      throw refusal(source, `${found}; at most ${maxGrammarCharacters} are allowed (--max-grammar-characters)`);
    }
    const key = createHash("sha256").update(text).digest("base64");
    const kept = this.#kept.get(key);
    if (kept) {
      report("kept");
      return kept;
    }
    try {
      const grammar = await this.#queue.request(key, message, client, signal);
      report("compiled");
      return grammar;
    } catch (error) {
      if (!(error instanceof ClientFault)) {
        report("rejected");
        throw error;
      }
      report(error.isLate ? "timed_out" : "refused");
      throw refusal(source, error.message);
    }
  }

  async #compile(key: string, message: CompileMessage): Promise<Grammar> {
    this.#vocabulary ??= this.#readVocabulary();
    const vocabulary = await this.#vocabulary;
    // One grammar may take a quarter of the cache.
    const maxMaskBytes = this.#options.grammarCacheBytes / 4;
    this.#thread ??= new CompileThread(vocabulary, { ...this.#options, maxMaskBytes });
    const excluded = message.source.kind === "form" ? [] : (this.#tokens.markerIds ?? []);
    const grammar = new Grammar(await this.#thread.compile(message), vocabulary, { maxPositionBytes, excluded });
    this.#kept.add(key, grammar);
    return grammar;
  }

  async #readVocabulary(): Promise<TokenBytes> {
    const { vocabSize } = this.#tokens;
    const spelled: number[] = [];
    const offsets = new Int32Array(new SharedArrayBuffer(4 * (vocabSize + 1)));
    for (let id = 0; id < vocabSize; id++) {
      for (const byte of this.#tokens.bytesOf(id)) spelled.push(byte);
      offsets[id + 1] = spelled.length;
      if (id % tokensPerTurn === tokensPerTurn - 1) await turn();
    }
    const bytes = new Uint8Array(new SharedArrayBuffer(spelled.length));
    bytes.set(spelled);
    return { bytes, offsets };
  }
}

/** A form may begin with a special token, which has no space before it, so there the space is optional. */
function messageOf(source: GrammarSource, afterSpace: boolean): CompileMessage {
  if (source.kind !== "form" || !afterSpace) return { source, afterSpace };
  const form = sequenceForm(optionalForm(textForm(" ")), source.form);
  return { source: { ...source, form }, afterSpace: false };
}

const refusal = ({ param }: GrammarSource, what: string): LorikeetError =>
  new LorikeetError("invalid_value", `\`${param}\` ${what}.`, { param });
