/**
 * Runs one request per connection at a time. A client may pipeline more: they wait for their turn, and all of them end with the
 * connection.
 */
import type { IncomingMessage, RequestListener, ServerResponse } from "node:http";
import type { Socket } from "node:net";

export interface TurnBounds {
  /** How many requests may wait on a connection behind the running one. One more closes the connection. */
  readonly maxPipelined: number;
  /** How long a connection stays open after a response that was sent before the request had arrived in full. */
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

  /** Calls `onFull` for a connection that is closed because too many requests wait on it. */
  constructor(run: RequestListener, bounds: TurnBounds, onFull: (socket: Socket) => void) {
    this.#run = run;
    this.#bounds = bounds;
    this.#onFull = onFull;
  }

  /** Running and waiting requests. */
  get open(): number {
    let open = 0;
    for (const { current, waiting } of this.#lines.values()) open += (current ? 1 : 0) + waiting.length;
    return open;
  }

  isBusy(socket: Socket): boolean {
    return Boolean(this.#lines.get(socket)?.current);
  }

  /** Whether the running request is still arriving and has no response yet. */
  isReceiving(socket: Socket): boolean {
    const current = this.#lines.get(socket)?.current;
    return Boolean(current && !current.headersSent && !current.req.complete);
  }

  take(req: IncomingMessage, res: ServerResponse): void {
    const { socket } = req;
    if (socket.destroyed) return;
    // Without a listener, an error event would crash the process.
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
      // A response that Node has not assigned to the socket yet would not see it close.
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

  /** Closes the connection if the rest of an answered request does not arrive in time. */
  #awaitRest(req: IncomingMessage): void {
    const timer = setTimeout(() => req.socket.destroy(), this.#bounds.lingerTimeoutMs);
    req.once("close", () => clearTimeout(timer));
  }
}
