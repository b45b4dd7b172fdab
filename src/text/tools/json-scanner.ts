/** Reads the text of one JSON object character by character: where it ends, and which characters are its own keys and values. */

/** What a character belongs to in the outermost object: a key, a value, or the punctuation and white space between them. */
export type JsonPart = "key" | "value" | "between";

type State =
  | "start"
  | "firstKey"
  | "key"
  | "colon"
  | "firstValue"
  | "value"
  | "next"
  | "string"
  | "escape"
  | "hex"
  | "scalar"
  | "over";

const scalarPattern = /^(true|false|null|-?(0|[1-9]\d*)(\.\d+)?([eE][+-]?\d+)?)$/;
const isSpace = (character: string): boolean => " \n\r\t".includes(character);

export class JsonScanner {
  #state: State = "start";
  readonly #open: ("{" | "[")[] = [];
  #isKey = false;
  #scalar = "";
  #hexDigits = 0;

  /** The object is complete. */
  get isOver(): boolean {
    return this.#state === "over";
  }

  /** The part that the next character belongs to; null where it cannot come. */
  push(character: string): JsonPart | null {
    const wasInside = this.#open.length > 1;
    const isOwnKey = this.#isKey && this.#open.length === 1;
    switch (this.#state) {
      case "string":
        if (character === '"') this.#state = this.#isKey ? "colon" : "next";
        else if (character === "\\") this.#state = "escape";
        else if (character < " ") return null;
        return isOwnKey ? "key" : "value";
      case "escape":
        if (!'"\\/bfnrtu'.includes(character)) return null;
        this.#hexDigits = 0;
        this.#state = character === "u" ? "hex" : "string";
        return isOwnKey ? "key" : "value";
      case "hex":
        if (!/^[0-9a-fA-F]$/.test(character)) return null;
        this.#hexDigits++;
        if (this.#hexDigits === 4) this.#state = "string";
        return isOwnKey ? "key" : "value";
      case "scalar":
        if (/^[a-zA-Z0-9+.-]$/.test(character)) {
          this.#scalar += character;
          return this.#scalar.length > 400 ? null : "value";
        }
        if (!scalarPattern.test(this.#scalar)) return null;
        this.#state = "next";
        break;
    }
    if (isSpace(character)) return this.#state === "over" ? null : wasInside ? "value" : "between";
    return this.#symbol(character);
  }

  /** A character outside strings and scalars that is not white space. */
  #symbol(character: string): JsonPart | null {
    const depth = this.#open.length;
    const part = depth > 1 ? "value" : "between";
    switch (this.#state) {
      case "start":
        if (character !== "{") return null;
        this.#begin("{");
        return "between";
      case "firstKey":
      case "key":
        if (character === "}" && this.#state === "firstKey") return this.#end("{", part);
        if (character !== '"') return null;
        this.#state = "string";
        this.#isKey = true;
        return depth === 1 ? "key" : "value";
      case "colon":
        if (character !== ":") return null;
        this.#state = "value";
        return part;
      case "next":
        if (character === ",") {
          this.#state = this.#open.at(-1) === "{" ? "key" : "value";
          return part;
        }
        return this.#end(character === "}" ? "{" : character === "]" ? "[" : null, part);
      case "firstValue":
        if (character === "]") return this.#end("[", part);
        return this.#value(character);
      case "value":
        return this.#value(character);
      default:
        return null;
    }
  }

  #value(character: string): JsonPart | null {
    this.#isKey = false;
    if (character === "{" || character === "[") this.#begin(character);
    else if (character === '"') this.#state = "string";
    else if (/^[-0-9tfn]$/.test(character)) {
      this.#state = "scalar";
      this.#scalar = character;
    } else return null;
    return "value";
  }

  #begin(bracket: "{" | "["): void {
    this.#open.push(bracket);
    this.#state = bracket === "{" ? "firstKey" : "firstValue";
  }

  #end(bracket: "{" | "[" | null, part: JsonPart): JsonPart | null {
    if (bracket === null || this.#open.pop() !== bracket) return null;
    this.#state = this.#open.length === 0 ? "over" : "next";
    return part;
  }
}
