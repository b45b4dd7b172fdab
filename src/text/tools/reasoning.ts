/** Splits an answer's reasoning from what follows it, as the text arrives. */

export interface ReasoningFormat {
  /** The name of vLLM's parser. */
  readonly name: string;
  readonly begin: string;
  readonly end: string;
  /** Every answer begins with reasoning, even if nothing says so. */
  readonly isAlwaysOpen: boolean;
}

const qwen3: ReasoningFormat = { name: "qwen3", begin: "<think>", end: "</think>", isAlwaysOpen: false };

const formats: readonly ReasoningFormat[] = [
  qwen3,
  { ...qwen3, name: "deepseek_r1", isAlwaysOpen: true },
  { name: "mistral", begin: "[THINK]", end: "[/THINK]", isAlwaysOpen: false },
];

export const reasoningFormatNames: readonly string[] = formats.map(({ name }) => name);

export const reasoningFormatNamed = (name: string): ReasoningFormat | null =>
  formats.find((each) => each.name === name) ?? null;

/** The format whose tags a template holds; null if it holds none. */
export function detectReasoningFormat(template: string): ReasoningFormat | null {
  return formats.find(({ end }) => template.includes(end)) ?? null;
}

/** Whether an answer to this prompt begins in reasoning that the template or a continued message has opened. */
export function opensReasoning(
  { begin, end, isAlwaysOpen }: ReasoningFormat,
  prompt: string,
  continued: string | null,
): boolean {
  if (continued !== null) return continued.lastIndexOf(begin) > continued.lastIndexOf(end);
  const text = prompt.trimEnd();
  return text.endsWith(begin) || (isAlwaysOpen && !text.endsWith(end));
}

export interface ReasoningPiece {
  readonly kind: "text" | "reasoning";
  readonly text: string;
}

/** White space at the edges of reasoning, and between it and the text, is dropped. Without reasoning the text stays as it is. */
export class ReasoningSplitter {
  readonly #format: ReasoningFormat;
  #state: "before" | "reasoning" | "after" | "text";
  /** Text that may be a tag, or white space that may be at an edge. */
  #held = "";
  #hasReasoned = false;

  constructor(format: ReasoningFormat, isOpen: boolean) {
    this.#format = format;
    this.#state = isOpen ? "reasoning" : "before";
  }

  get isReasoning(): boolean {
    return this.#state === "reasoning";
  }

  push(text: string): ReasoningPiece[] {
    this.#held += text;
    const pieces: ReasoningPiece[] = [];
    if (this.#state === "before") this.#begin();
    if (this.#state === "reasoning") this.#reason(pieces);
    if (this.#state === "after") {
      this.#held = this.#held.trimStart();
      if (this.#held !== "") this.#state = "text";
    }
    if (this.#state === "text" && this.#held !== "") pieces.push({ kind: "text", text: this.#takeHeld() });
    return pieces;
  }

  /** The rest, when the text is over. */
  finish(): ReasoningPiece[] {
    const text = this.#state === "reasoning" ? this.#held.trimEnd() : this.#state === "after" ? "" : this.#held;
    this.#held = "";
    return text === "" ? [] : [{ kind: this.#state === "reasoning" ? "reasoning" : "text", text }];
  }

  /** Decides whether the text begins with the tag, as soon as that is certain. */
  #begin(): void {
    const { begin } = this.#format;
    const text = this.#held.trimStart();
    if (text.startsWith(begin)) {
      this.#held = text.slice(begin.length);
      this.#state = "reasoning";
    } else if (!begin.startsWith(text)) this.#state = "text";
  }

  #reason(pieces: ReasoningPiece[]): void {
    const { begin, end } = this.#format;
    if (!this.#hasReasoned) {
      this.#held = this.#held.trimStart();
      // Some models repeat the tag that their template has written.
      if (this.#held.startsWith(begin)) this.#held = this.#held.slice(begin.length).trimStart();
      else if (this.#held !== "" && begin.startsWith(this.#held)) return;
    }
    const at = this.#held.indexOf(end);
    const certain = at >= 0 ? at : this.#held.length - heldBack(this.#held, end);
    const text = at >= 0 ? this.#held.slice(0, at).trimEnd() : this.#held.slice(0, certain);
    if (text !== "") {
      pieces.push({ kind: "reasoning", text });
      this.#hasReasoned = true;
    }
    this.#held = at >= 0 ? this.#held.slice(at + end.length) : this.#held.slice(certain);
    if (at >= 0) this.#state = "after";
  }

  #takeHeld(): string {
    const text = this.#held;
    this.#held = "";
    return text;
  }
}

/** Characters at the end of the text that may belong to the end tag or to the white space before it. */
function heldBack(text: string, end: string): number {
  let length = Math.min(end.length - 1, text.length);
  while (length > 0 && !text.endsWith(end.slice(0, length))) length--;
  const before = text.slice(0, text.length - length);
  return length + before.length - before.trimEnd().length;
}
