/**
 * One request of a connection at a time: a client may send the next ones before it has its answer, but they wait, and all of
 * them end with the connection. Knows no route.
 */
import type { IncomingMessage, RequestListener, ServerResponse } from "node:http";
import type { Socket } from "node:net";

export interface TurnBounds {
  /** Requests that wait on one connection behind the one that runs; one more closes the connection. */
  readonly maxPipelined: number;
  /** How long a connection stays whose request was answered before all of it had arrived. */
  readonly lingerTimeoutMs: number;
}

/** The requests of one connection. */
interface Line {
  current: ServerResponse | null;
  waiting: [IncomingMessage, ServerResponse][];
}

export class RequestTurns {
  readonly #run: RequestListener;
  readonly #bounds: TurnBounds;
  readonly #onFull: (socket: Socket) => void;
  readonly #lines = new Map<Socket, Line>();

  /** `onFull` is told of a connection that is closed for the requests that it piled up. */
  constructor(run: RequestListener, bounds: TurnBounds, onFull: (socket: Socket) => void) {
    this.#run = run;
    this.#bounds = bounds;
    this.#onFull = onFull;
  }

  /** Requests that run or wait. */
  get open(): number {
    let open = 0;
    for (const { current, waiting } of this.#lines.values()) open += (current ? 1 : 0) + waiting.length;
    return open;
  }

  isBusy(socket: Socket): boolean {
    return Boolean(this.#lines.get(socket)?.current);
  }

  /** Whether the request that runs there has no answer yet and has not arrived whole. */
  isReceiving(socket: Socket): boolean {
    const current = this.#lines.get(socket)?.current;
    return Boolean(current && !current.headersSent && !current.req.complete);
  }

  take(req: IncomingMessage, res: ServerResponse): void {
    const { socket } = req;
    if (socket.destroyed) return;
    // A fault that nobody listens for would be one of the process.
    req.on("error", () => {});
    res.on("error", () => {});
    const line = this.#lineOf(socket);
    if (!line.current) {
      this.#start(line, req, res);
    } else if (line.waiting.length < this.#bounds.maxPipelined) {
      line.waiting.push([req, res]);
    } else {
      this.#onFull(socket);
      socket.destroy();
    }
  }

  #lineOf(socket: Socket): Line {
    const known = this.#lines.get(socket);
    if (known) return known;
    const line: Line = { current: null, waiting: [] };
    this.#lines.set(socket, line);
    socket.once("close", () => {
      this.#lines.delete(socket);
      line.waiting = [];
      // An answer that Node had not connected yet would not learn of it.
      if (line.current?.socket === null) line.current.emit("close");
    });
    return line;
  }

  #start(line: Line, req: IncomingMessage, res: ServerResponse): void {
    line.current = res;
    res.once("close", () => {
      line.current = null;
      if (req.socket.destroyed) return;
      if (!req.complete) this.#awaitRest(req);
      const next = line.waiting.shift();
      if (next) this.#start(line, ...next);
    });
    this.#run(req, res);
  }

  /** Bytes that nobody will read hold a connection no longer than it takes to read an answer. */
  #awaitRest(req: IncomingMessage): void {
    const timer = setTimeout(() => req.socket.destroy(), this.#bounds.lingerTimeoutMs);
    req.once("close", () => clearTimeout(timer));
  }
}
