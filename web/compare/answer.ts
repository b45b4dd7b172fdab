/**
 * One column's answer while it arrives. Chunks are gathered and shown once a frame, in blocks of which only the last one changes, so that a
 * long answer costs as little a frame as a short one.
 */
import { signal } from "@preact/signals";
import type { AnswerPiece } from "../client/chunk.js";
import type { ApiError } from "../client/errors.js";
import type { Ask, Done } from "../client/types.js";
import { noteFailure, socket } from "../session.js";
import { type Block, grown } from "./blocks.js";

export type AnswerState =
  | { readonly kind: "idle" }
  | { readonly kind: "waiting" }
  | { readonly kind: "streaming" }
  | { readonly kind: "done"; readonly reason: string; readonly done: Done }
  | { readonly kind: "stopped" }
  | { readonly kind: "failed"; readonly message: string; readonly faults: readonly string[] };

export interface Pace {
  /** Since the request was sent; null before the first token. */
  readonly firstTokenMs: number | null;
  readonly tokens: number;
  /** After the first token; null until there are two. */
  readonly tokensPerSecond: number | null;
}

const noPace: Pace = { firstTokenMs: null, tokens: 0, tokensPerSecond: null };

let made = 0;

export class Answer {
  /** Columns are known by it, so that what is open in a column moves with its answer. */
  readonly id = ++made;
  readonly state = signal<AnswerState>({ kind: "idle" });
  readonly blocks = signal<readonly Block[]>([]);
  readonly pace = signal<Pace>(noPace);
  /** Who was asked; null before the first question. */
  #asked: string | null = null;
  #cancel: (() => void) | null = null;
  #gathered: AnswerPiece[] = [];
  #frame = 0;
  #startedAt = 0;
  #firstAt = 0;
  #lastAt = 0;
  #tokens = 0;
  #reason = "stop";
  /** Counts starts: what an earlier request still sends is not shown. */
  #run = 0;

  get isRunning(): boolean {
    const { kind } = this.state.value;
    return kind === "waiting" || kind === "streaming";
  }

  get asked(): string | null {
    return this.#asked;
  }

  /** `asked`: who answers, as the column is called. */
  start(asked: string, ask: Ask): void {
    this.stop();
    this.clear();
    this.#asked = asked;
    this.state.value = { kind: "waiting" };
    this.#startedAt = performance.now();
    const run = this.#run;
    const ifCurrent = (act: () => void): void => {
      if (run === this.#run) act();
    };
    this.#cancel = socket.generate(ask, {
      chunk: (pieces, finish) => ifCurrent(() => this.#take(pieces, finish)),
      done: (done) => ifCurrent(() => this.#end({ kind: "done", reason: this.#reason, done })),
      failed: (error) => ifCurrent(() => this.#fail(error)),
    });
  }

  /** Asks the server to stop; what has arrived stays. */
  stop(): void {
    this.#cancel?.();
  }

  /** An answer belongs to the one who was asked: for another, or for none, it ends and goes. */
  keepFor(name: string | null): void {
    if (this.#asked === null || this.#asked === name) return;
    this.stop();
    this.clear();
  }

  clear(): void {
    this.#run++;
    this.#cancel = null;
    this.#asked = null;
    cancelAnimationFrame(this.#frame);
    this.#frame = 0;
    this.#gathered = [];
    this.#tokens = 0;
    this.blocks.value = [];
    this.pace.value = noPace;
    this.state.value = { kind: "idle" };
  }

  /** All of its text, without reasoning. */
  get text(): string {
    const pieces = this.blocks.value.flatMap((block) => block.pieces);
    return pieces.map(({ text, isReasoning }) => (isReasoning ? "" : text)).join("");
  }

  #take(pieces: readonly AnswerPiece[], finish: string | null): void {
    const now = performance.now();
    if (this.#tokens === 0 && pieces.length > 0) this.#firstAt = now;
    for (const piece of pieces) this.#tokens += piece.tokens;
    this.#lastAt = now;
    this.#gathered.push(...pieces);
    if (finish !== null) this.#reason = finish;
    if (this.#frame === 0) this.#frame = requestAnimationFrame(() => this.#show());
  }

  #show(): void {
    cancelAnimationFrame(this.#frame);
    this.#frame = 0;
    const gathered = this.#gathered.splice(0);
    if (gathered.length > 0) this.blocks.value = grown(this.blocks.value, gathered);
    const seconds = (this.#lastAt - this.#firstAt) / 1000;
    this.pace.value = {
      firstTokenMs: this.#tokens === 0 ? null : this.#firstAt - this.#startedAt,
      tokens: this.#tokens,
      tokensPerSecond: this.#tokens > 1 && seconds > 0 ? (this.#tokens - 1) / seconds : null,
    };
    if (this.state.value.kind === "waiting" && this.#tokens > 0) this.state.value = { kind: "streaming" };
  }

  #end(state: AnswerState): void {
    this.#show();
    this.#cancel = null;
    this.state.value = state;
  }

  #fail(error: ApiError): void {
    if (error.code === "cancelled") this.#end({ kind: "stopped" });
    else this.#end({ kind: "failed", message: noteFailure(error), faults: error.faults });
  }
}
