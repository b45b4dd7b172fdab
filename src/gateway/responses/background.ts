/** Responses that are answered while nobody waits for them. Bounded in number; each ends once and is stored then. */
import { LorikeetError } from "../../base/errors.js";
import type { Logger } from "../../base/log.js";
import { asFault, type PublicFault } from "../fault.js";
import type { Gateway } from "../gateway.js";
import type { ResponseArchive } from "./archive.js";
import { ResponseEvents } from "./events.js";
import { exhaust } from "./exhaust.js";
import type { ResponsesRequest } from "./input.js";
import type { ResponseObject } from "./response.js";

export interface BackgroundDeps {
  readonly gateway: Pick<Gateway, "complete" | "tokenizer">;
  readonly archive: ResponseArchive;
  readonly logger: Logger;
  readonly options: { readonly maxBackgroundResponses: number };
  publish(fault: LorikeetError): PublicFault;
}

interface Run {
  readonly owner: string;
  readonly controller: AbortController;
  /** As it is now. */
  response: ResponseObject;
  /** Whether its end is stored. */
  isKept: boolean;
  ended: Promise<ResponseObject>;
}

export class BackgroundResponses {
  readonly #deps: BackgroundDeps;
  readonly #runs = new Map<string, Run>();
  #starting = 0;

  constructor(deps: BackgroundDeps) {
    this.#deps = deps;
  }

  get running(): number {
    return this.#runs.size + this.#starting;
  }

  /** Stores the queued response, then answers it. Throws LorikeetError `background_full`, or what storing throws. */
  async start(owner: string, request: ResponsesRequest, queued: ResponseObject, connection: object): Promise<void> {
    const { archive, options } = this.#deps;
    const allowed = options.maxBackgroundResponses;
    if (this.running >= allowed) {
      const message = `${this.running} responses run in the background; at most ${allowed} may.`;
      throw new LorikeetError("background_full", message, { found: this.running, allowed });
    }
    this.#starting++;
    try {
      await archive.put(owner, { response: queued, items: request.form.items });
    } finally {
      this.#starting--;
    }
    const run: Run = {
      owner,
      controller: new AbortController(),
      response: queued,
      isKept: true,
      ended: Promise.resolve(queued),
    };
    this.#runs.set(queued.id, run);
    run.ended = this.#answer(run, request, connection);
  }

  /** The response as it is now; null if it does not run. */
  find(owner: string, id: string): ResponseObject | null {
    return this.#of(owner, id)?.response ?? null;
  }

  /** Ends it and resolves once its end is stored; null if it does not run. */
  async cancel(owner: string, id: string, { keep }: { readonly keep: boolean }): Promise<ResponseObject | null> {
    const run = this.#of(owner, id);
    if (!run) return null;
    run.isKept &&= keep;
    run.controller.abort();
    return run.ended;
  }

  #of(owner: string, id: string): Run | null {
    const run = this.#runs.get(id);
    return run?.owner === owner ? run : null;
  }

  /** Never rejects. */
  async #answer(run: Run, request: ResponsesRequest, connection: object): Promise<ResponseObject> {
    const { archive, logger } = this.#deps;
    const { id } = run.response;
    run.response = await this.#generate(run, request, connection);
    try {
      if (run.isKept) await archive.put(run.owner, { response: run.response, items: request.form.items });
    } catch (error) {
      logger.error({ err: error, response: id }, "A response could not be stored");
    }
    this.#runs.delete(id);
    return run.response;
  }

  async #generate(run: Run, request: ResponsesRequest, connection: object): Promise<ResponseObject> {
    const { gateway, publish } = this.#deps;
    const { signal } = run.controller;
    const events = new ResponseEvents({ ...run.response, status: "in_progress" }, request, gateway.tokenizer);
    try {
      const answer = await gateway.complete({ route: "responses", read: () => request }, signal, connection);
      run.response = { ...run.response, status: "in_progress" };
      for await (const part of answer.parts()) exhaust(events.take(part));
      return exhaust(events.end(await answer.ended)).response;
    } catch (error) {
      return signal.aborted ? events.cancelled() : events.fail(publish(asFault(error))).response;
    }
  }
}
