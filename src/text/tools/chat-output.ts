/** Splits a chat's answer into reasoning, text and calls as it arrives. */
import { type CallOptions, CallScanner, type OutputPiece } from "./call-scanner.js";
import { type ReasoningFormat, ReasoningSplitter } from "./reasoning.js";

export interface OutputOptions {
  readonly reasoning: { readonly format: ReasoningFormat; readonly isOpen: boolean } | null;
  readonly calls: CallOptions | null;
}

/** Special tokens that the split needs to see. */
export function outputMarkers(options: OutputOptions | null): ReadonlySet<string> {
  const reasoning = options?.reasoning?.format;
  return new Set([...(options?.calls?.format.markers ?? []), ...(reasoning ? [reasoning.begin, reasoning.end] : [])]);
}

export class ChatOutput {
  readonly #splitter: ReasoningSplitter | null;
  readonly #scanner: CallScanner | null;

  constructor({ reasoning, calls }: OutputOptions) {
    this.#splitter = reasoning && new ReasoningSplitter(reasoning.format, reasoning.isOpen);
    this.#scanner = calls && new CallScanner(calls);
  }

  get isReasoning(): boolean {
    return this.#splitter?.isReasoning ?? false;
  }

  /** Number of whole calls. */
  get calls(): number {
    return this.#scanner?.calls ?? 0;
  }

  /** No further text matters. */
  get isOver(): boolean {
    return this.#scanner?.isOver ?? false;
  }

  push(text: string): OutputPiece[] {
    return (this.#splitter?.push(text) ?? [{ kind: "text", text }]).flatMap((piece) => this.#scan(piece));
  }

  /** The rest, when the text is over. */
  finish(): OutputPiece[] {
    const rest = (this.#splitter?.finish() ?? []).flatMap((piece) => this.#scan(piece));
    return [...rest, ...(this.#scanner?.finish() ?? [])];
  }

  #scan(piece: { readonly kind: "text" | "reasoning"; readonly text: string }): OutputPiece[] {
    return piece.kind === "text" && this.#scanner ? this.#scanner.push(piece.text) : [piece];
  }
}
