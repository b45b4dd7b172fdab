/** Responses that are answered while nobody waits for them. Bounded in number; each ends once and is stored then. */
import { type Deferred, deferred } from "../../base/async.js";
import { LorikeetError } from "../../base/errors.js";
import type { Logger } from "../../base/log.js";
import { asFault, type PublicFault } from "../fault.js";
import type { Gateway } from "../gateway.js";
import type { ResponseArchive, StoredResponse } from "./archive.js";
import { ResponseEvents } from "./events.js";
import { exhaust } from "./exhaust.js";
import type { ResponsesRequest } from "./input.js";
import { failedResponse, type ResponseObject } from "./response.js";

export interface BackgroundDeps {
  readonly archive: ResponseArchive;
  readonly logger: Logger;
  readonly options: { readonly maxBackgroundResponses: number };
  publish(fault: LorikeetError): PublicFault;
}

type Answering = Pick<Gateway, "complete" | "tokenizer">;

interface Run {
  readonly owner: string;
  readonly controller: AbortController;
  /** As it is now. */
  response: ResponseObject;
  readonly items: StoredResponse["items"];
  /** Resolves once it is submitted and stored as queued; rejects if it can never run or be stored. */
  readonly accepted: Deferred<void>;
  isSubmitted: boolean;
  /** Whether its end is stored. */
  isKept: boolean;
  ended: Promise<ResponseObject>;
}

export class BackgroundResponses {
  readonly #deps: BackgroundDeps;
  readonly #runs = new Map<string, Run>();
  /** The latest that ended but could not be stored, by their ids. */
  readonly #unstored = new Map<string, Run>();

  constructor(deps: BackgroundDeps) {
    this.#deps = deps;
  }

  get running(): number {
    return this.#runs.size;
  }

  /** Resolves once it is submitted and stored as queued. Throws LorikeetError `background_full`, what planning or submitting throws, or what storing throws. */
  async start(
    gateway: Answering,
    owner: string,
    request: ResponsesRequest,
    queued: ResponseObject,
    connection: object,
  ): Promise<void> {
    const allowed = this.#deps.options.maxBackgroundResponses;
    if (this.running >= allowed) {
      const message = `${this.running} responses run in the background; at most ${allowed} may.`;
      throw new LorikeetError("background_full", message, { found: this.running, allowed });
    }
    const run: Run = {
      owner,
      items: request.form.items,
      controller: new AbortController(),
      accepted: deferred<void>(),
      response: queued,
      isSubmitted: false,
      isKept: true,
      ended: Promise.resolve(queued),
    };
    this.#runs.set(queued.id, run);
    run.ended = this.#answer(run, gateway, request, connection);
    await run.accepted.promise;
  }

  /** The response as it is now; null if it neither runs nor ended without being stored. */
  find(owner: string, id: string): StoredResponse | null {
    return this.#running(owner, id) ?? this.#of(this.#unstored, owner, id);
  }

  /** Ends it and resolves once its end is stored; null if it does not run. */
  async cancel(owner: string, id: string, { keep }: { readonly keep: boolean }): Promise<ResponseObject | null> {
    const unstored = this.#of(this.#unstored, owner, id);
    if (unstored) {
      if (!keep) this.#unstored.delete(id);
      return unstored.response;
    }
    const run = this.#running(owner, id);
    if (!run) return null;
    run.isKept &&= keep;
    run.controller.abort();
    return run.ended;
  }

  #running(owner: string, id: string): Run | null {
    return this.#of(this.#runs, owner, id);
  }

  #of(runs: ReadonlyMap<string, Run>, owner: string, id: string): Run | null {
    const run = runs.get(id);
    return run?.owner === owner ? run : null;
  }

  /** Never rejects. */
  async #answer(run: Run, gateway: Answering, request: ResponsesRequest, connection: object): Promise<ResponseObject> {
    const queued = run.response;
    run.response = await this.#generate(run, gateway, request, connection);
    const isAccepted = await run.accepted.promise.then(
      () => true,
      () => false,
    );
    if (isAccepted && run.isKept) await this.#store(run, queued);
    this.#runs.delete(queued.id);
    return run.response;
  }

  /** An end that cannot be stored is a failure that says why. If that cannot be stored either, it is kept here. */
  async #store(run: Run, queued: ResponseObject): Promise<void> {
    const { archive, logger, publish, options } = this.#deps;
    try {
      await archive.put(run.owner, run);
    } catch (error) {
      logger.error({ err: error, response: queued.id }, "A response could not be stored");
      run.response = failedResponse(queued, [], publish(asFault(error)));
      try {
        await archive.put(run.owner, run);
      } catch {
        this.#unstored.set(queued.id, run);
        const [oldest] = this.#unstored.keys();
        if (oldest !== undefined && this.#unstored.size > options.maxBackgroundResponses) this.#unstored.delete(oldest);
      }
    }
  }

  async #generate(
    run: Run,
    gateway: Answering,
    request: ResponsesRequest,
    connection: object,
  ): Promise<ResponseObject> {
    const { archive, publish } = this.#deps;
    const { signal } = run.controller;
    const events = new ResponseEvents({ ...run.response, status: "in_progress" }, request, gateway.tokenizer);
    const submitted = (): void => {
      run.isSubmitted = true;
      archive
        .put(run.owner, { response: run.response, items: run.items })
        .then(run.accepted.resolve, (error: unknown) => {
          run.accepted.reject(error);
          run.controller.abort();
        });
    };
    try {
      const answer = await gateway.complete({ route: "responses", read: () => request, submitted }, signal, connection);
      run.response = { ...run.response, status: "in_progress" };
      for await (const part of answer.parts()) exhaust(events.take(part));
      return exhaust(events.end(await answer.ended)).response;
    } catch (error) {
      if (!run.isSubmitted) run.accepted.reject(error);
      return signal.aborted ? events.cancelled() : events.fail(publish(asFault(error))).response;
    }
  }
}
