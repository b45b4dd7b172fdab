/** One admitted answer in neutral types: what was asked, who answers, its parts as they come, and the handles to slow or stop it. */
import { LorikeetError } from "../base/errors.js";
import type { Target } from "./catalog.js";
import type { Generation } from "./generation.js";
import type { RequestSummary } from "./observer.js";
import { type ChoicePart, collectChoices } from "./parts.js";
import type { GenerationRequest } from "./requests.js";

export class Answer<Request extends GenerationRequest = GenerationRequest> {
  readonly request: Request;
  readonly model: string;
  readonly adapter: string | null;
  readonly digest: string | null;
  readonly queueMs: number;
  /** Resolves when everything is released. Never rejects. */
  readonly ended: Promise<RequestSummary>;
  readonly #generation: Generation;

  constructor(
    request: Request,
    { model, adapter, digest }: Target,
    queueMs: number,
    generation: Generation,
    ended: Promise<RequestSummary>,
  ) {
    this.request = request;
    this.model = model;
    this.adapter = adapter;
    this.digest = digest;
    this.queueMs = queueMs;
    this.ended = ended;
    this.#generation = generation;
  }

  /** Iterate it once, or call `collect`; throws the LorikeetError that ended the answer. A reader that leaves early cancels it. */
  async *parts(): AsyncGenerator<ChoicePart, void, undefined> {
    try {
      yield* this.#generation.parts;
    } finally {
      this.cancel();
    }
  }

  /** Every choice whole, by index; throws the LorikeetError that ended the answer. */
  collect(): Promise<ChoicePart[]> {
    return collectChoices(this.#generation.parts);
  }

  /** No token is computed until `resume`. The slot and the adapter stay held. */
  pause(): void {
    this.#generation.pause();
  }

  resume(): void {
    this.#generation.resume();
  }

  /** Whether it holds a slot, as it does while it is paused, and others wait for one. */
  get keepsOthersWaiting(): boolean {
    return this.#generation.keepsOthersWaiting;
  }

  /** Ends it within one step, with a reason that its summary reports. Idempotent; has no effect after the end. */
  cancel(reason = new LorikeetError("cancelled", "The request was cancelled.")): void {
    this.#generation.end(reason);
  }
}
