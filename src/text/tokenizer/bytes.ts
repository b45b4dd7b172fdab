/** Byte-level text: GPT-2's byte alphabet, byte-fallback tokens, and UTF-8 that arrives in pieces. */

/** Bytes with a printable character map to it; the others, in order, map to U+0100 and up. */
const printable = (byte: number): boolean => (byte > 32 && byte < 127) || (byte > 160 && byte !== 173);

const characterOfByte: string[] = [];
for (let byte = 0, next = 256; byte < 256; byte++) {
  characterOfByte.push(String.fromCharCode(printable(byte) ? byte : next++));
}
const byteOfCharacter = new Map(characterOfByte.map((character, byte) => [character, byte]));

const utf8 = new TextEncoder();

/** The bytes of a token in the byte-level alphabet; a token with any other character counts as plain text. */
export function byteLevelBytes(token: string): Uint8Array {
  const bytes = new Uint8Array(token.length);
  for (let i = 0; i < token.length; i++) {
    const byte = byteOfCharacter.get(token.charAt(i));
    if (byte === undefined) return utf8.encode(token);
    bytes[i] = byte;
  }
  return bytes;
}

/** A text's UTF-8 bytes in the byte-level alphabet. */
export function byteLevelText(text: string): string {
  let spelled = "";
  for (const byte of utf8.encode(text)) spelled += characterOfByte[byte];
  return spelled;
}

export const textBytes = (text: string): Uint8Array => utf8.encode(text);

/** The byte of a byte-fallback token such as `<0xE2>`; null for any other token. */
export function fallbackByte(token: string): number | null {
  return /^<0x[0-9A-Fa-f]{2}>$/.test(token) ? Number.parseInt(token.slice(3, 5), 16) : null;
}

/**
 * Decodes UTF-8 as it arrives: emits a character when its last byte arrives. Invalid bytes become U+FFFD, one per maximal
 * subpart, as in the WHATWG Encoding Standard.
 */
export class Utf8Stream {
  readonly #decoder = new TextDecoder("utf-8", { ignoreBOM: true });

  push(bytes: Uint8Array): string {
    return this.#decoder.decode(bytes, { stream: true });
  }

  /** Ends the text: an incomplete character becomes U+FFFD. The stream is then ready for a new text. */
  flush(): string {
    return this.#decoder.decode();
  }
}
