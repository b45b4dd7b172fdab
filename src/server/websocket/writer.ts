/**
 * Sends messages over one WebSocket and knows how far its reader is behind. Past one bound writers wait, past a second the socket
 * is closed. A large message goes in fragments, which no other message may come between.
 */
import type { WebSocket } from "ws";

export interface WriterBounds {
  readonly socketPauseBytes: number;
  readonly socketCloseBytes: number;
}

/** A part of a message's text. */
export interface Fragment {
  readonly text: string;
  /** The message ends with it. */
  readonly isLast: boolean;
}

/** Who writes a message: one at a time has its message under way. */
type Writer = object;

/** How long a socket that is being closed may take before it is cut. */
const closeMs = 2_000;

export class SocketWriter {
  readonly #socket: WebSocket;
  readonly #bounds: WriterBounds;
  readonly #onClose: (code: number, reason: string) => void;
  /** Whose message is under way. */
  #current: Writer | null = null;
  /** What others wrote meanwhile, and its characters. */
  #held: { readonly writer: Writer; readonly fragment: Fragment }[] = [];
  #heldCharacters = 0;
  #sent = 0;
  #waiting: { readonly writer: Writer; resolve(): void }[] = [];

  /** `onClose` is told once when this side closes the socket. */
  constructor(socket: WebSocket, bounds: WriterBounds, onClose: (code: number, reason: string) => void) {
    this.#socket = socket;
    this.#onClose = onClose;
    this.#bounds = bounds;
    socket.on("close", () => this.#wake());
  }

  /** A whole small message. */
  send(message: object): void {
    this.write(message, { text: JSON.stringify(message), isLast: true });
  }

  /** The next fragment of the writer's message. False: await `drained` before the next. Sends nothing once the socket closes. */
  write(writer: Writer, fragment: Fragment): boolean {
    if (this.#socket.readyState !== this.#socket.OPEN) return true;
    this.#held.push({ writer, fragment });
    this.#heldCharacters += fragment.text.length;
    this.#sendHeld();
    if (this.#socket.bufferedAmount + this.#heldCharacters > this.#bounds.socketCloseBytes) {
      this.close(1013, "The reader is too slow.");
    }
    return this.#isReady(writer);
  }

  /** Bytes that the reader has taken. */
  get taken(): number {
    return this.#sent - this.#socket.bufferedAmount;
  }

  get isDrained(): boolean {
    return !this.#isBehind;
  }

  /** Whether the writer's message has begun and not ended. */
  isAmidMessage(writer: Writer): boolean {
    return this.#current === writer;
  }

  /** Resolves when the reader has caught up and the writer's fragment is sent, or the socket is closed. */
  drained(writer: Writer): Promise<void> {
    if (this.#isReady(writer)) return Promise.resolve();
    return new Promise((resolve) => this.#waiting.push({ writer, resolve }));
  }

  /** Closes with a code, and cuts the connection if the other side does not answer in time. */
  close(code: number, reason: string): void {
    if (this.#socket.readyState !== this.#socket.OPEN) return;
    this.#onClose(code, reason);
    this.#socket.close(code, reason);
    setTimeout(() => this.#socket.terminate(), closeMs).unref();
  }

  /** In the order in which they were written, but for whoever has to wait for the end of another's message. */
  #sendHeld(): void {
    for (;;) {
      const next = this.#held.findIndex(({ writer }) => this.#current === null || this.#current === writer);
      const [entry] = next < 0 ? [] : this.#held.splice(next, 1);
      if (!entry) break;
      const { text, isLast } = entry.fragment;
      this.#heldCharacters -= text.length;
      this.#current = isLast ? null : entry.writer;
      this.#sent += Buffer.byteLength(text);
      this.#socket.send(text, { fin: isLast }, () => this.#wake());
    }
  }

  get #isBehind(): boolean {
    return this.#socket.bufferedAmount > this.#bounds.socketPauseBytes;
  }

  #isReady(writer: Writer): boolean {
    if (this.#socket.readyState === this.#socket.CLOSED) return true;
    return !this.#isBehind && this.#held.every((entry) => entry.writer !== writer);
  }

  #wake(): void {
    const waiting = this.#waiting;
    this.#waiting = [];
    for (const entry of waiting) {
      if (this.#isReady(entry.writer)) entry.resolve();
      else this.#waiting.push(entry);
    }
  }
}
