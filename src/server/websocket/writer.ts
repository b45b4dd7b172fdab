/** Sends frames over one WebSocket and knows how far its reader is behind. Past one bound writers wait, past a second the socket is closed. */
import type { WebSocket } from "ws";

export interface WriterBounds {
  readonly socketPauseBytes: number;
  readonly socketCloseBytes: number;
}

/** How long a socket that is being closed may take before it is cut. */
const closeMs = 2_000;

export class SocketWriter {
  readonly #socket: WebSocket;
  readonly #bounds: WriterBounds;
  readonly #onClose: (code: number, reason: string) => void;
  #waiting: (() => void)[] = [];

  /** `onClose` is told once when this side closes the socket. */
  constructor(socket: WebSocket, bounds: WriterBounds, onClose: (code: number, reason: string) => void) {
    this.#socket = socket;
    this.#onClose = onClose;
    this.#bounds = bounds;
    socket.on("close", () => this.#wake());
  }

  /** False when the reader is behind. Sends nothing once the socket closes. */
  send(message: object): boolean {
    if (this.#socket.readyState !== this.#socket.OPEN) return true;
    this.#socket.send(JSON.stringify(message), () => {
      if (!this.#isBehind) this.#wake();
    });
    if (this.#socket.bufferedAmount > this.#bounds.socketCloseBytes) {
      this.close(1013, "The reader is too slow.");
    }
    return !this.#isBehind;
  }

  get isDrained(): boolean {
    return !this.#isBehind;
  }

  /** Resolves when the reader has caught up or the socket is closed. */
  drained(): Promise<void> {
    if (!this.#isBehind || this.#socket.readyState === this.#socket.CLOSED) return Promise.resolve();
    return new Promise((resolve) => this.#waiting.push(resolve));
  }

  /** Closes with a code, and cuts the connection if the other side does not answer in time. */
  close(code: number, reason: string): void {
    if (this.#socket.readyState !== this.#socket.OPEN) return;
    this.#onClose(code, reason);
    this.#socket.close(code, reason);
    setTimeout(() => this.#socket.terminate(), closeMs).unref();
  }

  get #isBehind(): boolean {
    return this.#socket.bufferedAmount > this.#bounds.socketPauseBytes;
  }

  #wake(): void {
    const waiting = this.#waiting;
    this.#waiting = [];
    for (const resolve of waiting) resolve();
  }
}
