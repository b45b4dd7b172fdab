/** The tokenization use cases: the ids of a text or chat, as an answer to it would use, and the text of ids. Generates nothing. */
import { LorikeetError } from "../base/errors.js";
import { only } from "../base/list.js";
import type { Tokenizer } from "../text/types.js";
import type { Catalog, Target } from "./catalog.js";
import { Deadline } from "./deadline.js";
import type { EncodeBudget } from "./encode-budget.js";
import { asFault } from "./fault.js";
import { type GatewayObserver, type Route, summaryOf } from "./observer.js";
import type { RequestBounds } from "./options.js";
import {
  charactersOf,
  checkText,
  encodePrompts,
  type PromptContext,
  type RenderedPrompts,
  renderChat,
} from "./prompts.js";
import type { DetokenizeRequest, Prompt, TokenizeRequest } from "./requests.js";

/** The requested text or chat, and its ids. */
export interface Tokenized<Request extends TokenizeRequest> {
  readonly request: Request;
  readonly ids: readonly number[];
}

export interface TokenizationDeps {
  readonly tokenizer: Tokenizer | null;
  readonly catalog: Pick<Catalog, "resolve">;
  readonly observer: GatewayObserver;
  readonly bounds: RequestBounds;
  readonly prompts: PromptContext;
  readonly encoding: EncodeBudget;
}

/** What a call counts as, and how its body is read. */
export interface TokenReading<Request extends TokenizeRequest> {
  readonly route: Route;
  read(): Request;
}

/** One call, and its model once that is known. */
interface Call {
  target: Target | null;
}

/** Ids to decode per turn of the event loop. */
const idsPerTurn = 2048;

export class Tokenization {
  readonly #deps: TokenizationDeps;

  constructor(deps: TokenizationDeps) {
    this.#deps = deps;
  }

  /** Throws what an answer to this request would throw before it is queued. Parsing is part of the call, as for an answer. */
  tokenize<Request extends TokenizeRequest>(
    { route, read }: TokenReading<Request>,
    signal: AbortSignal,
    connection: object = signal,
  ): Promise<Tokenized<Request>> {
    return this.#counted(route, async (call) => {
      const request = read();
      call.target = this.#find(request.model);
      const rendered = {
        prompts: [this.#render(request)],
        addSpecialTokens: request.addsSpecialTokens,
        truncation: null,
      };
      return { request, ids: await this.#encode(rendered, signal, connection) };
    });
  }

  /** Special tokens are part of the text. */
  detokenize(read: () => DetokenizeRequest, signal: AbortSignal): Promise<string> {
    return this.#counted("detokenize", async (call) => {
      const { model, ids } = read();
      call.target = this.#find(model);
      const { tokenizer } = this.#deps;
      if (!tokenizer) throw new LorikeetError("tokenizer_missing", "The model has no tokenizer: ids have no text.");
      const stream = tokenizer.stream([], { keepSpecialTokens: true });
      let text = "";
      for (let begin = 0; begin < ids.length; begin += idsPerTurn) {
        if (signal.aborted) throw new LorikeetError("cancelled", "The client left.");
        for (const id of ids.slice(begin, begin + idsPerTurn)) text += stream.push(id);
        await new Promise((resolve) => setImmediate(resolve));
      }
      return text + stream.flush();
    });
  }

  #render({ input }: TokenizeRequest): Prompt {
    const { prompts } = this.#deps;
    if ("messages" in input) return renderChat(input, prompts);
    checkText(input.text, prompts);
    return { kind: "text", text: input.text };
  }

  /** Every adapter has the base's tokenizer, but an unknown name is still an error. */
  #find(model: string | null): Target {
    const target = this.#deps.catalog.resolve(model);
    target.release();
    return target;
  }

  /** Reports to the observer how a call ended. */
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
      this.#deps.observer.ended?.(summaryOf(route, startedAt, call.target, fault, null));
    }
  }

  async #encode(rendered: RenderedPrompts, signal: AbortSignal, connection: object): Promise<readonly number[]> {
    const { bounds, prompts, encoding } = this.#deps;
    const deadline = new Deadline(bounds, signal);
    const release = encoding.reserve(connection, charactersOf(rendered), (fault) => deadline.end(fault));
    try {
      const turn = { signal: deadline.signal, connection, accept: () => {}, allowsEmpty: true };
      return only(await encodePrompts(rendered, prompts, turn)).ids;
    } finally {
      release();
      deadline.release();
    }
  }
}
