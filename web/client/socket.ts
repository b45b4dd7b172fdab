/** One WebSocket for all answers: each request has an id, its own chunks and its own end. Opens with the first request. */
import { type AnswerPiece, piecesOf } from "./chunk.js";
import { ApiError, fieldOf, readError } from "./errors.js";
import type { Infer, Tensor } from "./tensors.js";
import type { Ask, Done } from "./types.js";

/** What the browser's WebSocket and that of `ws` share. */
export interface SocketLike {
  readonly readyState: number;
  send(text: string): void;
  close(): void;
  addEventListener(type: "open", listener: () => void): void;
  addEventListener(type: "close", listener: (event: { readonly code: number }) => void): void;
  addEventListener(type: "message", listener: (event: { readonly data: unknown }) => void): void;
}

export interface AnswerListener {
  /** At each chunk, with the reason if it is the last one. */
  chunk(pieces: readonly AnswerPiece[], finish: string | null): void;
  done(done: Done): void;
  failed(error: ApiError): void;
}

/** A request that runs. */
interface Running {
  chunk?(data: unknown): void;
  done(data: unknown): void;
  failed(error: ApiError): void;
}

export interface SocketOptions {
  /** Of the server's `/v1/ws`. */
  readonly url: string;
  readonly key?: string | null;
  readonly open: (url: string, protocols: string[]) => SocketLike;
  /** Called when there is no connection any more, with the number of answers that it cut off. */
  readonly onLost?: (cutOff: number) => void;
}

const isOpen = 1;
/** A message was larger than the server takes (RFC 6455, section 7.4.1). */
const tooBig = 1009;

export class GenerationSocket {
  readonly #options: SocketOptions;
  #socket: SocketLike | null = null;
  #last = 0;
  /** Messages that wait for the handshake. */
  #held: string[] = [];
  readonly #running = new Map<string, Running>();

  constructor(options: SocketOptions) {
    this.#options = options;
  }

  /** Starts an answer; the function that it returns cancels it. */
  generate({ type, body }: Ask, listener: AnswerListener): () => void {
    const id = this.#ask(type, body, {
      chunk: (data) => {
        const { pieces, finish } = piecesOf(data);
        listener.chunk(pieces, finish);
      },
      done: (data) => listener.done(data as Done),
      failed: (error) => listener.failed(error),
    });
    return () => {
      if (this.#running.has(id)) this.#send({ id, type: "cancel" });
    };
  }

  /** What a model makes of tensors. Rejects with an ApiError. */
  infer(body: Infer): Promise<readonly Tensor[]> {
    return new Promise((resolve, failed) => {
      const done = (data: unknown): void => resolve(fieldOf(data, "outputs") as readonly Tensor[]);
      this.#ask("infer", body, { done, failed });
    });
  }

  /** Ends every answer. */
  close(): void {
    this.#socket?.close();
  }

  #ask(type: string, body: object, running: Running): string {
    const id = String(++this.#last);
    this.#running.set(id, running);
    this.#send({ id, type, body });
    return id;
  }

  #send(message: object): void {
    const text = JSON.stringify(message);
    if (this.#socket === null) this.#open();
    if (this.#socket?.readyState === isOpen) this.#socket.send(text);
    else this.#held.push(text);
  }

  #open(): void {
    const { url, key = null, open } = this.#options;
    const socket = open(url, ["lorikeet", ...(key === null ? [] : [`lorikeet.bearer.${base64url(key)}`])]);
    this.#socket = socket;
    let hasOpened = false;
    socket.addEventListener("open", () => {
      hasOpened = true;
      for (const text of this.#held.splice(0)) socket.send(text);
    });
    socket.addEventListener("message", ({ data }) => this.#receive(JSON.parse(String(data))));
    socket.addEventListener("close", ({ code }) => this.#lose(hasOpened, code));
  }

  #receive(message: unknown): void {
    const id = String(fieldOf(message, "id"));
    const running = this.#running.get(id);
    if (!running) return;
    const type = fieldOf(message, "type");
    const data = fieldOf(message, "data");
    if (type === "chunk") {
      running.chunk?.(data);
      return;
    }
    this.#running.delete(id);
    if (type === "done" || type === "result") running.done(data);
    else running.failed(readError(0, message) ?? new ApiError(0, "unknown", "The server sent an unknown message."));
  }

  /** `hasOpened`: false where the server was not there, so nothing was cut off. */
  #lose(hasOpened: boolean, code: number): void {
    const failed = [...this.#running.values()];
    this.#socket = null;
    this.#held = [];
    this.#running.clear();
    const error = lossOf(hasOpened, code);
    for (const running of failed) running.failed(error);
    this.#options.onLost?.(hasOpened ? failed.length : 0);
  }
}

function lossOf(hasOpened: boolean, code: number): ApiError {
  if (code === tooBig) return new ApiError(0, "too_large", "The text is larger than the server takes.");
  const what = hasOpened ? "The connection to the server was lost." : "There is no connection to the server.";
  return new ApiError(0, "connection_lost", what);
}

/** Subprotocols allow fewer characters than keys do. */
function base64url(text: string): string {
  const bytes = String.fromCharCode(...new TextEncoder().encode(text));
  return btoa(bytes).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
}
