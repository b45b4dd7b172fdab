/** The calls of OpenAI's Responses API: generating, now or in the background, and what is stored of it. Each caller sees its own responses only. */
import { LorikeetError } from "../../base/errors.js";
import { type Logger, silent } from "../../base/log.js";
import type { RecordStats, RecordStore } from "../../records/store.js";
import type { Answer } from "../answer.js";
import { faultsError, invalid } from "../body/parse.js";
import { asFault, type PublicFault } from "../fault.js";
import type { Gateway } from "../gateway.js";
import { openAiErrorForm } from "../openai/errors.js";
import type { Frame, Protocol } from "../protocol.js";
import { ResponseArchive, responseNotFound, type StoredResponse } from "./archive.js";
import { BackgroundResponses } from "./background.js";
import { type ResponseEvent, ResponseEvents } from "./events.js";
import { exhaust } from "./exhaust.js";
import { type ParsedResponse, parseResponse, type ResponsesRequest, responsesFormat } from "./input.js";
import type { SentItem } from "./item-input.js";
import { type ItemList, type ItemQuery, listItems } from "./item-list.js";
import type { Item } from "./items.js";
import type { LatestResponse } from "./latest.js";
import { newResponse, type ResponseObject } from "./response.js";

export interface ResponsesOptions {
  /** Responses that may run in the background. */
  readonly maxBackgroundResponses: number;
}

export const responsesDefaults: ResponsesOptions = { maxBackgroundResponses: 16 };

export interface ResponsesParts {
  readonly records: RecordStore;
  readonly options?: Partial<ResponsesOptions>;
  readonly logger?: Logger;
  /** Makes a fault fit for clients. */
  publish(fault: LorikeetError): PublicFault;
}

export interface ResponsesStats extends RecordStats {
  readonly background: number;
}

/** The base that answers is known before a body is read. */
interface Caller {
  readonly gateway: Gateway;
  readonly owner: string;
  readonly latest: LatestResponse | null;
}

export class Responses {
  readonly #parts: ResponsesParts;
  readonly #formats = new WeakMap<Gateway, ReturnType<typeof responsesFormat>>();
  readonly #archive: ResponseArchive;
  readonly #background: BackgroundResponses;

  constructor(parts: ResponsesParts) {
    const { records, logger = silent, publish } = parts;
    this.#parts = parts;
    this.#archive = new ResponseArchive(records);
    const options = { ...responsesDefaults, ...parts.options };
    this.#background = new BackgroundResponses({ archive: this.#archive, logger, options, publish });
  }

  /** Generating for an owner while it waits. `latest` belongs to its connection. */
  protocol(gateway: Gateway, owner: string, latest: LatestResponse | null = null): Protocol<ResponsesRequest> {
    const caller = { gateway, owner, latest };
    return {
      route: "responses",
      read: (body) => this.#read(caller, parseResponse(this.#formatOf(gateway), body)),
      frames: (answer) => this.#frames(caller, answer),
      whole: (answer) => this.#whole(caller, answer),
      errorForm: openAiErrorForm,
    };
  }

  /** Generates in the background. Resolves with the queued response; rejects as `protocol` would if it can never run. */
  async start(gateway: Gateway, owner: string, body: unknown, connection: object): Promise<ResponseObject> {
    const caller = { gateway, owner, latest: null };
    const request = await this.#read(caller, parseResponse(this.#formatOf(gateway), body));
    const queued = newResponse(request, gateway.models.nameOf(request.model, request.adapters));
    await this.#background.start(gateway, owner, request, queued, connection);
    return queued;
  }

  /** Throws LorikeetError `response_not_found`. */
  async get(owner: string, id: string): Promise<ResponseObject> {
    return (await this.#get(owner, id)).response;
  }

  /** Ends a response that runs in the background; one that has ended stays as it is. Throws LorikeetError `response_not_found` or `invalid_value`. */
  async cancel(owner: string, id: string): Promise<ResponseObject> {
    const cancelled = await this.#background.cancel(owner, id, { keep: true });
    if (cancelled) return cancelled;
    const response = await this.get(owner, id);
    if (response.background) return response;
    throw new LorikeetError("invalid_value", "Only a response with `background` true can be cancelled.", {
      param: "response_id",
    });
  }

  /** Throws LorikeetError `response_not_found`. */
  async remove(owner: string, id: string): Promise<void> {
    const hasEnded = (await this.#background.cancel(owner, id, { keep: false })) !== null;
    const hasRemoved = await this.#archive.remove(owner, id);
    if (!hasEnded && !hasRemoved) throw responseNotFound();
  }

  /** Throws LorikeetError `response_not_found` or `invalid_value`. */
  async inputItems(owner: string, id: string, query: ItemQuery): Promise<ItemList> {
    return listItems((await this.#get(owner, id)).items, query);
  }

  stats(): ResponsesStats {
    return { ...this.#archive.stats(), background: this.#background.running };
  }

  #formatOf(gateway: Gateway): ReturnType<typeof responsesFormat> {
    const format = this.#formats.get(gateway) ?? responsesFormat(gateway.bounds);
    this.#formats.set(gateway, format);
    return format;
  }

  /** As it is now, whether it runs or is stored; null if the owner has no such response. */
  async #find(owner: string, id: string): Promise<StoredResponse | null> {
    const running = this.#background.find(owner, id);
    if (running) return running;
    const stored = await this.#archive.find(owner, id);
    return stored && { ...stored, response: settled(stored.response) };
  }

  async #get(owner: string, id: string): Promise<StoredResponse> {
    const found = await this.#find(owner, id);
    if (found) return found;
    throw responseNotFound();
  }

  /** Finds what a body refers to. Throws LorikeetError `previous_response_not_found` or `invalid_value`. */
  async #read(caller: Caller, parsed: ParsedResponse): Promise<ResponsesRequest> {
    const { maxMessages } = caller.gateway.bounds;
    const earlier = parsed.previousId === null ? [] : await this.#earlier(caller, parsed.previousId);
    const count = earlier.length + parsed.input.length;
    if (count > maxMessages) {
      throw new LorikeetError(
        "invalid_value",
        `The conversation has ${count} items; at most ${maxMessages} are allowed.`,
        {
          param: parsed.previousId === null ? "input" : "previous_response_id",
          found: count,
          allowed: maxMessages,
        },
      );
    }
    const findItem = this.#archive.itemFinder(caller.owner);
    const own: SentItem[] = [];
    for (const [index, item] of parsed.input.entries()) {
      const found = item.type === "item_reference" ? await findItem(item.id) : item;
      if (found === null) throw faultsError([invalid(`input[${index}]`, "refers to an item that is not stored")]);
      own.push(found);
    }
    return parsed.request(own, earlier);
  }

  async #earlier({ owner, latest }: Caller, id: string): Promise<readonly Item[]> {
    const stored = latest?.find(id) ?? (await this.#find(owner, id));
    if (!stored) {
      throw new LorikeetError(
        "previous_response_not_found",
        "There is no stored response with this `previous_response_id`.",
        {
          param: "previous_response_id",
        },
      );
    }
    const { status, output } = stored.response;
    if (status === "completed" || status === "incomplete") return [...stored.items, ...output];
    throw new LorikeetError(
      "invalid_value",
      `The response of \`previous_response_id\` cannot be continued: it is ${status}.`,
      {
        param: "previous_response_id",
      },
    );
  }

  async *#frames(caller: Caller, answer: Answer<ResponsesRequest>): AsyncGenerator<Frame, void, undefined> {
    const events = eventsOf(caller, answer);
    try {
      yield* framed(events.begin());
      for await (const part of answer.parts()) yield* framed(events.take(part));
      for (const event of events.end(await answer.ended)) {
        // Whoever reads the last event can retrieve the response.
        if (event.response) await this.#keep(caller, answer.request, event.response);
        yield frameOf(event);
      }
    } catch (error) {
      yield frameOf(events.fail(this.#parts.publish(asFault(error))));
    }
    yield { type: "done", marker: null, data: {} };
  }

  async #whole(caller: Caller, answer: Answer<ResponsesRequest>): Promise<ResponseObject> {
    const events = eventsOf(caller, answer);
    for await (const part of answer.parts()) exhaust(events.take(part));
    const { response } = exhaust(events.end(await answer.ended));
    await this.#keep(caller, answer.request, response);
    return response;
  }

  async #keep({ owner, latest }: Caller, { form }: ResponsesRequest, response: ResponseObject): Promise<void> {
    const kept = { response, items: form.items };
    if (form.store) await this.#archive.put(owner, kept);
    else latest?.keep(kept);
  }
}

function eventsOf({ gateway }: Caller, { request, model }: Answer<ResponsesRequest>): ResponseEvents {
  return new ResponseEvents(newResponse(request, model), request, gateway.tokenizer);
}

/** A response that was running when the server stopped never ends, nor does one whose end the server could not store before it stopped. */
function settled(response: StoredResponse["response"]): ResponseObject {
  if (response.status !== "queued" && response.status !== "in_progress") return response;
  const message = "The server stopped before this response was complete.";
  return { ...response, status: "failed", error: { code: "server_error", message } };
}

const frameOf = (event: ResponseEvent): Frame => ({ type: "chunk", event: event.type, data: event });

function* framed(events: Iterable<ResponseEvent>): Generator<Frame, void, undefined> {
  for (const event of events) yield frameOf(event);
}
