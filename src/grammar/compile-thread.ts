/**
 * The thread that compiles grammars, one at a time, with bounds on time, memory and size. A compilation past a bound ends with its
 * thread, and the next one starts a new thread.
 */
import type { Worker } from "node:worker_threads";
import { assert, LorikeetError } from "../base/errors.js";
import { startThread } from "../base/threads.js";
import type { CompiledGrammar } from "./grammar.js";
import type { TokenBytes, TokenTree } from "./token-tree.js";
import type { CompileMessage, CompileReply, CompileSetup, ReadyMessage } from "./worker/main.js";

export interface ThreadBounds {
  /** Maximum states and edges of a compilation. */
  readonly maxGrammarSize: number;
  readonly grammarTimeoutMs: number;
  /** Bytes of memory of the thread. */
  readonly grammarMemory: number;
  readonly maxMaskBytes: number;
}

/** What is wrong with a client's grammar. */
export class ClientFault extends Error {
  constructor(
    message: string,
    readonly isLate = false,
  ) {
    super(message);
  }
}

/** Starting the thread and reading the vocabulary do not count against a client, so they may take longer. */
const startTimeoutMs = 120_000;

export class CompileThread {
  readonly #tokens: TokenBytes;
  readonly #bounds: ThreadBounds;
  #tree: TokenTree | null = null;
  #worker: Worker | null = null;
  #isBusy = false;

  constructor(tokens: TokenBytes, bounds: ThreadBounds) {
    this.#tokens = tokens;
    this.#bounds = bounds;
  }

  /** Throws ClientFault, or LorikeetError `internal`. The deadline counts from when the thread is ready. */
  async compile(message: CompileMessage): Promise<CompiledGrammar> {
    assert(!this.#isBusy, "grammars are compiled one at a time");
    this.#isBusy = true;
    try {
      const worker = this.#worker ?? (await this.#start());
      worker.postMessage(message);
      const { grammarTimeoutMs } = this.#bounds;
      const reply = await this.#receive<CompileReply>(
        worker,
        grammarTimeoutMs,
        () => new ClientFault(`took longer to compile than ${grammarTimeoutMs} ms (--grammar-timeout)`, true),
      );
      if ("compiled" in reply) return reply.compiled;
      if (reply.isClients) throw new ClientFault(reply.fault);
      throw new LorikeetError("internal", "A grammar could not be compiled.", { cause: reply.fault });
    } finally {
      this.#isBusy = false;
    }
  }

  async #start(): Promise<Worker> {
    const { maxGrammarSize: maxSize, maxMaskBytes, grammarMemory } = this.#bounds;
    const setup: CompileSetup = { tokens: this.#tokens, tree: this.#tree, bounds: { maxSize, maxMaskBytes } };
    const worker = startThread(import.meta.url, "worker/main", {
      workerData: setup,
      name: "lorikeet-grammar",
      resourceLimits: { maxOldGenerationSizeMb: Math.ceil(grammarMemory / 2 ** 20) },
    });
    this.#worker = worker;
    const late = (): Error => new LorikeetError("internal", "The thread that compiles grammars did not start in time.");
    const { tree } = await this.#receive<ReadyMessage>(worker, startTimeoutMs, late);
    this.#tree = tree;
    return worker;
  }

  /** The thread's next message. Terminates the thread if none arrives in time. */
  #receive<Message>(worker: Worker, timeoutMs: number, late: () => Error): Promise<Message> {
    worker.ref();
    return new Promise((resolve, reject) => {
      const settle = (): void => {
        clearTimeout(timer);
        worker.off("message", receive).off("error", fail).off("exit", exit);
      };
      const end = (fault: Error): void => {
        settle();
        this.#worker = null;
        worker.on("error", () => {}); // the first fault is the one that counts
        void worker.terminate();
        reject(fault);
      };
      const receive = (message: Message): void => {
        settle();
        worker.unref();
        resolve(message);
      };
      const fail = (error: Error & { readonly code?: string }): void => {
        const allowed = `${Math.ceil(this.#bounds.grammarMemory / 2 ** 20)} MiB (--grammar-memory)`;
        const isMemory = error.code === "ERR_WORKER_OUT_OF_MEMORY";
        end(isMemory ? new ClientFault(`took more memory to compile than ${allowed}`) : error);
      };
      const exit = (): void => end(new LorikeetError("internal", "The thread that compiles grammars ended."));
      const timer = setTimeout(() => end(late()), timeoutMs);
      worker.on("message", receive).on("error", fail).on("exit", exit);
    });
  }
}
