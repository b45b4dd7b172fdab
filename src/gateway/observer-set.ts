/** Passes what happens on to every observer. */
import type { GatewayObserver, RequestSummary, UploadOutcome } from "./observer.js";

export class ObserverSet implements GatewayObserver {
  readonly #observers = new Set<GatewayObserver>();

  add(observer: GatewayObserver): void {
    this.#observers.add(observer);
  }

  queued(seconds: number): void {
    for (const observer of this.#observers) observer.queued?.(seconds);
  }

  firstToken(seconds: number): void {
    for (const observer of this.#observers) observer.firstToken?.(seconds);
  }

  interToken(seconds: number): void {
    for (const observer of this.#observers) observer.interToken?.(seconds);
  }

  ended(summary: RequestSummary): void {
    for (const observer of this.#observers) observer.ended?.(summary);
  }

  uploaded(outcome: UploadOutcome): void {
    for (const observer of this.#observers) observer.uploaded?.(outcome);
  }
}
