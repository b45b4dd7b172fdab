/**
 * Grammars from what clients ask for: compiled in a thread with bounds on time, memory and size, and kept by their content. A
 * compilation past its deadline is killed with its thread; the next gets a fresh one.
 */
import { createHash } from "node:crypto";
import { setImmediate as turn } from "node:timers/promises";
import type { Worker } from "node:worker_threads";
import { assert, LorikeetError } from "../base/errors.js";
import { startThread } from "../base/threads.js";
import { Grammar, type GrammarVocabulary } from "./grammar.js";
import { programBytes } from "./program.js";
import type { GrammarSource } from "./source.js";
import type { TokenBytes } from "./vocabulary.js";
import type { CompileMessage, CompileReply, CompileSetup } from "./worker/main.js";

export interface GrammarOptions {
  /** Characters of a schema, a pattern or a list of choices. */
  readonly maxGrammarCharacters: number;
  /** States and edges that a compilation may make. */
  readonly maxGrammarSize: number;
  readonly grammarTimeoutMs: number;
  /** Bytes of memory of the compiling thread. */
  readonly grammarMemory: number;
  /** Compilations that may wait or run. */
  readonly maxGrammarQueue: number;
  /** Bytes of compiled grammars, with their masks, that are kept. */
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

/** What is known of a vocabulary's tokens: no bytes for those that are never part of a text. */
export interface GrammarTokens {
  readonly vocabSize: number;
  bytesOf(id: number): Iterable<number>;
}

export interface GrammarStats {
  readonly keptBytes: number;
  readonly kept: number;
  readonly waiting: number;
}

export type CompileOutcome = "compiled" | "kept" | "refused" | "timed_out" | "rejected";

interface Entry {
  readonly grammar: Grammar;
  readonly bytes: number;
}

/** Tokens read in one turn of the event loop. */
const tokensPerTurn = 2048;
/** Building the tree of a large vocabulary is not a client's doing: it may take its time. */
const treeTimeoutMs = 120_000;

export class GrammarCompiler {
  readonly #tokens: GrammarTokens;
  readonly #options: GrammarOptions;
  readonly #ended: (outcome: CompileOutcome, seconds: number) => void;
  /** By content, the one used longest ago first. */
  readonly #kept = new Map<string, Entry>();
  readonly #running = new Map<string, Promise<Grammar>>();
  #vocabulary: Promise<GrammarVocabulary> | null = null;
  #worker: Worker | null = null;
  #line: Promise<unknown> = Promise.resolve();

  /** `ended` is told how each request for a grammar went. */
  constructor(
    tokens: GrammarTokens,
    options: GrammarOptions,
    ended: (outcome: CompileOutcome, seconds: number) => void = () => {},
  ) {
    this.#tokens = tokens;
    this.#options = options;
    this.#ended = ended;
  }

  stats(): GrammarStats {
    const entries = [...this.#kept.values()];
    return {
      kept: entries.length,
      keptBytes: entries.reduce((sum, { grammar, bytes }) => sum + bytes + grammar.keptBytes, 0),
      waiting: this.#running.size,
    };
  }

  /** Throws LorikeetError `invalid_value` that names what is wrong, or `grammar_queue_full`. */
  async compile(source: GrammarSource): Promise<Grammar> {
    const startedAt = performance.now();
    const told = (outcome: CompileOutcome): void => this.#ended(outcome, (performance.now() - startedAt) / 1000);
    const message = messageOf(source);
    const text = JSON.stringify(message);
    if (text.length > this.#options.maxGrammarCharacters) {
      told("refused");
      const allowed = this.#options.maxGrammarCharacters;
      throw refused(
        source,
        `has ${text.length} characters as JSON; at most ${allowed} are allowed (--max-grammar-characters)`,
      );
    }
    const key = createHash("sha256").update(text).digest("base64");
    const kept = this.#kept.get(key);
    if (kept) {
      this.#kept.delete(key);
      this.#kept.set(key, kept);
      told("kept");
      return kept.grammar;
    }
    try {
      const grammar = await this.#shared(key, message);
      told("compiled");
      return grammar;
    } catch (error) {
      if (error instanceof ClientFault) {
        told(error.isLate ? "timed_out" : "refused");
        throw refused(source, error.message);
      }
      told("rejected");
      throw error;
    }
  }

  /** Requests for the same grammar wait for one compilation. */
  #shared(key: string, message: CompileMessage): Promise<Grammar> {
    const running = this.#running.get(key);
    if (running) return running;
    const { maxGrammarQueue } = this.#options;
    if (this.#running.size >= maxGrammarQueue) {
      throw new LorikeetError(
        "grammar_queue_full",
        `${this.#running.size} grammars wait to be compiled; at most ${maxGrammarQueue} may (--max-grammar-queue).`,
      );
    }
    const compiled = this.#compile(key, message).finally(() => this.#running.delete(key));
    this.#running.set(key, compiled);
    return compiled;
  }

  async #compile(key: string, message: CompileMessage): Promise<Grammar> {
    this.#vocabulary ??= this.#readVocabulary();
    const vocabulary = await this.#vocabulary;
    const reply = await this.#ask(vocabulary, message, this.#options.grammarTimeoutMs);
    if ("fault" in reply && reply.isClients) throw new ClientFault(reply.fault);
    if (!("program" in reply)) throw new LorikeetError("internal", "A grammar could not be compiled.");
    // A grammar may keep an eighth of all that is kept.
    const grammar = new Grammar(reply.program, vocabulary, { maxKeptBytes: this.#options.grammarCacheBytes / 8 });
    this.#keep(key, { grammar, bytes: programBytes(reply.program) });
    return grammar;
  }

  #keep(key: string, entry: Entry): void {
    this.#kept.set(key, entry);
    let { keptBytes } = this.stats();
    for (const [oldest, { grammar, bytes }] of this.#kept) {
      if (keptBytes <= this.#options.grammarCacheBytes || oldest === key) break;
      this.#kept.delete(oldest);
      keptBytes -= bytes + grammar.keptBytes;
    }
  }

  async #readVocabulary(): Promise<GrammarVocabulary> {
    const { vocabSize } = this.#tokens;
    const bytes: number[] = [];
    const offsets = new Int32Array(vocabSize + 1);
    for (let id = 0; id < vocabSize; id++) {
      for (const byte of this.#tokens.bytesOf(id)) bytes.push(byte);
      offsets[id + 1] = bytes.length;
      if (id % tokensPerTurn === tokensPerTurn - 1) await turn();
    }
    const tokens = { bytes: Uint8Array.from(bytes), offsets };
    const reply = await this.#ask(tokens, { kind: "tree" }, treeTimeoutMs);
    assert("tree" in reply, "a vocabulary has a tree");
    return { ...tokens, tree: reply.tree };
  }

  /** One message at a time: the deadline is of the work, not of the wait. */
  #ask(tokens: TokenBytes, message: CompileMessage, timeoutMs: number): Promise<CompileReply> {
    const asked = this.#line.then(() => this.#exchange(tokens, message, timeoutMs));
    this.#line = asked.catch(() => {});
    return asked;
  }

  #exchange({ bytes, offsets }: TokenBytes, message: CompileMessage, timeoutMs: number): Promise<CompileReply> {
    const { maxGrammarSize: maxSize, grammarMemory } = this.#options;
    const grammarMemoryMb = Math.ceil(grammarMemory / 2 ** 20);
    const setup: CompileSetup = { bytes, offsets, maxSize };
    const worker =
      this.#worker ??
      startThread(import.meta.url, "worker/main", {
        workerData: setup,
        name: "lorikeet-grammar",
        resourceLimits: { maxOldGenerationSizeMb: grammarMemoryMb },
      });
    this.#worker = worker;
    worker.ref();
    return new Promise<CompileReply>((resolve, reject) => {
      const settle = (): void => {
        clearTimeout(timer);
        worker.off("message", answered).off("error", failed).off("exit", exited);
      };
      const give = (fault: Error): void => {
        settle();
        this.#worker = null;
        worker.on("error", () => {}); // it is being ended, for the first of its faults
        void worker.terminate();
        reject(fault);
      };
      const answered = (reply: CompileReply): void => {
        settle();
        worker.unref();
        resolve(reply);
      };
      const failed = (error: Error & { readonly code?: string }): void => {
        const isMemory = error.code === "ERR_WORKER_OUT_OF_MEMORY";
        const allowed = `${grammarMemoryMb} MiB (--grammar-memory)`;
        give(isMemory ? new ClientFault(`took more memory to compile than ${allowed}`) : error);
      };
      const exited = (): void => give(new LorikeetError("internal", "The thread that compiles grammars ended."));
      const timer = setTimeout(
        () => give(new ClientFault(`took longer to compile than ${timeoutMs} ms (--grammar-timeout)`, true)),
        timeoutMs,
      );
      worker.on("message", answered).on("error", failed).on("exit", exited);
      worker.postMessage(message);
    });
  }
}

/** What is wrong with a client's grammar. */
class ClientFault extends Error {
  constructor(
    message: string,
    readonly isLate = false,
  ) {
    super(message);
  }
}

function messageOf(source: GrammarSource): CompileMessage {
  switch (source.kind) {
    case "object":
      return { kind: "object" };
    case "schema":
      return { kind: "schema", schema: JSON.stringify(source.schema) };
    case "pattern":
      return { kind: "pattern", pattern: source.pattern };
    case "choice":
      return { kind: "choice", choices: source.choices };
  }
}

const refused = ({ param }: GrammarSource, what: string): LorikeetError =>
  new LorikeetError("invalid_value", `\`${param}\` ${what}.`, { param });
