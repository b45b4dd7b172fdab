/**
 * Sends messages over one WebSocket and tracks how far its reader is behind. Past one bound writers wait; past a second one the
 * socket closes. A large message is sent in fragments, and no other message may come between them.
 */
import type { WebSocket } from "ws";

export interface WriterBounds {
  readonly socketPauseBytes: number;
  readonly socketCloseBytes: number;
}

/** A fragment of a message: of a text, or of bytes. */
export interface Fragment {
  readonly data: string | Uint8Array;
  /** Whether this is the message's last fragment. */
  readonly isLast: boolean;
}

/** Identifies a writer. Only one writer at a time has an unfinished message. */
type Writer = object;

/** How long the closing handshake may take before the connection is terminated. */
const closeMs = 2_000;

export class SocketWriter {
  readonly #socket: WebSocket;
  readonly #bounds: WriterBounds;
  readonly #onClose: (code: number, reason: string) => void;
  /** The writer whose message is unfinished. */
  #current: Writer | null = null;
  /** Messages that wait for its end, and their total characters or bytes. */
  #held: { readonly writer: Writer; readonly fragment: Fragment }[] = [];
  #heldCharacters = 0;
  #sent = 0;
  #waiting: { readonly writer: Writer; resolve(): void }[] = [];

  /** Calls `onClose` once, when this side closes the socket. */
  constructor(socket: WebSocket, bounds: WriterBounds, onClose: (code: number, reason: string) => void) {
    this.#socket = socket;
    this.#onClose = onClose;
    this.#bounds = bounds;
    socket.on("close", () => this.#wake());
  }

  /** Sends a small message in one piece. */
  send(message: object): void {
    this.write(message, { data: JSON.stringify(message), isLast: true });
  }

  /** Sends the next fragment of the writer's message. False: await `drained` first. Sends nothing once the socket closes. */
  write(writer: Writer, fragment: Fragment): boolean {
    if (this.#socket.readyState !== this.#socket.OPEN) return true;
    this.#held.push({ writer, fragment });
    this.#heldCharacters += fragment.data.length;
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

  /** Whether the writer's message is unfinished. */
  isAmidMessage(writer: Writer): boolean {
    return this.#current === writer;
  }

  /** Resolves when the reader has caught up and the writer's fragment is sent, or the socket is closed. */
  drained(writer: Writer): Promise<void> {
    if (this.#isReady(writer)) return Promise.resolve();
    return new Promise((resolve) => this.#waiting.push({ writer, resolve }));
  }

  /** Closes with a code, and terminates the connection if the client does not complete the closing handshake in time. */
  close(code: number, reason: string): void {
    if (this.#socket.readyState !== this.#socket.OPEN) return;
    this.#onClose(code, reason);
    this.#socket.close(code, reason);
    setTimeout(() => this.#socket.terminate(), closeMs).unref();
  }

  /** Sends in the order of writing, except that a message waits until another writer's message is complete. */
  #sendHeld(): void {
    for (;;) {
      const next = this.#held.findIndex(({ writer }) => this.#current === null || this.#current === writer);
      const [entry] = next < 0 ? [] : this.#held.splice(next, 1);
      if (!entry) break;
      const { data, isLast } = entry.fragment;
      this.#heldCharacters -= data.length;
      this.#current = isLast ? null : entry.writer;
      this.#sent += Buffer.byteLength(data);
      this.#socket.send(data, { fin: isLast }, () => this.#wake());
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
