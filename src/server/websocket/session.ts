/** One WebSocket: many concurrent requests, each with its own frames and its own ending. Knows nothing of the handshake. */
import type { RawData, WebSocket } from "ws";
import { LorikeetError } from "../../base/errors.js";
import type { Logger } from "../../base/log.js";
import type { Bases } from "../../gateway/bases.js";
import { asFault, type PublicFault } from "../../gateway/fault.js";
import type { RequestSummary } from "../../gateway/observer.js";
import type { Frame } from "../../gateway/protocol.js";
import type { ClientAddressOf } from "../access/client-address.js";
import type { Connections } from "../access/connections.js";
import { askedModel } from "../asked-model.js";
import type { Gate } from "../drain.js";
import { publicFault } from "../fault.js";
import { faultFields, summaryFields } from "../http/context.js";
import { jsonPieces } from "../http/json-pieces.js";
import type { ServerOptions } from "../options.js";
import { pumpAnswer, type Sink } from "../pump.js";
import { PackedMessage, type SocketAnswer, type SocketDialect, type SocketRequest } from "./dialect.js";
import { type Fragment, SocketWriter } from "./writer.js";

export interface SessionDeps {
  readonly bases: Pick<Bases, "models">;
  readonly gate: Gate;
  readonly connections: Connections;
  onLimit(option: string): void;
  readonly clientAddress: ClientAddressOf;
  readonly logger: Logger;
  readonly options: ServerOptions;
}

export class SocketSession {
  readonly #deps: SessionDeps;
  readonly #dialect: SocketDialect;
  readonly #writer: SocketWriter;
  readonly #requestId: string;
  readonly #running = new Map<string, AbortController>();
  #isAlive = true;
  #hasLeft = false;
  readonly #pinging: NodeJS.Timeout;

  constructor(socket: WebSocket, requestId: string, dialect: SocketDialect, deps: SessionDeps) {
    this.#deps = deps;
    this.#dialect = dialect;
    this.#requestId = requestId;
    this.#writer = new SocketWriter(socket, deps.options, (code, reason) => {
      deps.logger.info({ requestId, code, reason }, "A WebSocket is closed");
    });
    socket.on("message", (data, isBinary) => this.#receive(data, isBinary));
    socket.on("pong", () => {
      this.#isAlive = true;
    });
    socket.on("error", (error) => deps.logger.debug({ requestId, reason: error.message }, "A WebSocket failed"));
    socket.on("close", () => clearInterval(this.#pinging));
    this.#pinging = setInterval(() => this.#ping(socket), deps.options.pingIntervalMs).unref();
  }

  get running(): number {
    return this.#running.size;
  }

  /** Closes with 1001 as soon as nothing runs here. */
  drain(): void {
    if (this.#running.size === 0) this.#writer.close(1001, "The server is shutting down.");
  }

  /** Cancels the running requests. Messages that `ws` has buffered may still arrive afterwards; they are ignored. */
  leave(): void {
    this.#hasLeft = true;
    for (const controller of this.#running.values()) controller.abort();
  }

  #receive(data: RawData, isBinary: boolean): void {
    if (this.#hasLeft) return;
    const message = this.#dialect.read(isBinary ? bytesOf(data) : data.toString());
    if (message.type === "fault") this.#send(message.form, message.fault);
    else if (message.type === "cancel") this.#running.get(message.id)?.abort();
    else void this.#run(message.request);
  }

  /** Runs one request from its message to its last frame. Never rejects. */
  async #run(request: SocketRequest): Promise<void> {
    const { options, onLimit, gate } = this.#deps;
    const refusal = this.#refusal(request);
    if (refusal) return this.#send(request.fault, refusal);
    const startedAt = performance.now();
    const controller = new AbortController();
    const sink = new SocketSink(this.#writer);
    this.#running.set(request.id, controller);
    let summary = request.ended ?? null;
    let fault: LorikeetError | null = null;
    try {
      const { answer, frames, message } = await request.begin(controller.signal, this);
      summary ??= answer.ended;
      sink.message = message;
      await pumpAnswer(answer, frames, sink, { ...options, onLimit });
    } catch (error) {
      fault = asFault(error);
      this.#fail(request, fault, sink, controller.signal);
    } finally {
      this.#running.delete(request.id);
      this.#log(request, startedAt, fault, await summary);
      if (gate.refusal) this.drain();
    }
  }

  #refusal({ id }: SocketRequest): LorikeetError | null {
    const { gate, options } = this.#deps;
    if (gate.refusal) return gate.refusal;
    if (this.#running.has(id)) {
      return new LorikeetError("conflict", `A request with the id ${JSON.stringify(id)} is in flight on this socket.`, {
        param: "id",
      });
    }
    const limit = options.maxSocketRequests;
    if (this.#running.size < limit) return null;
    return new LorikeetError("queue_full", `At most ${limit} requests may be in flight on one socket.`, {
      allowed: limit,
    });
  }

  #fail(request: SocketRequest, fault: LorikeetError, sink: SocketSink, signal: AbortSignal): void {
    if (this.#writer.isAmidMessage(sink)) {
      this.#writer.close(fault.code === "timeout" ? 1013 : 1011, "A message could not be sent in full.");
      return;
    }
    this.#send(request.fault, fault);
    // A timeout that the client did not cause: this reader may never take the frame.
    if (fault.code === "timeout" && !signal.aborted && !this.#writer.isDrained) {
      this.#writer.close(1013, "The reader is too slow.");
    }
  }

  #send(form: (fault: PublicFault) => object, fault: LorikeetError): void {
    this.#writer.send(form(publicFault(fault, this.#deps.options.privateFolders)));
  }

  #ping(socket: WebSocket): void {
    if (!this.#isAlive) {
      socket.terminate();
      return;
    }
    this.#isAlive = false;
    socket.ping();
  }

  #log(
    { id, path, body }: SocketRequest,
    startedAt: number,
    fault: LorikeetError | null,
    summary: RequestSummary | null,
  ): void {
    const { bases, logger, options } = this.#deps;
    const fields = {
      requestId: `${this.#requestId}/${id}`,
      method: "WS",
      path,
      ms: Math.round(performance.now() - startedAt),
      ...faultFields(fault),
      ...askedModel(bases.models, body),
      ...summaryFields(summary),
      ...(options.logPrompts ? { body } : {}),
    };
    logger.info(fields, "request");
  }
}

const bytesOf = (data: RawData): Uint8Array =>
  Array.isArray(data) ? Buffer.concat(data) : data instanceof ArrayBuffer ? new Uint8Array(data) : data;

/** Bytes of a fragment: a reader that is behind gets the next one later. */
const fragmentBytes = 32_768;

function* bytePieces({ parts }: PackedMessage): Generator<Uint8Array, void, undefined> {
  const bytes = Buffer.concat(parts);
  for (let start = 0; start < bytes.length; start += fragmentBytes) yield bytes.subarray(start, start + fragmentBytes);
}

/** Writes the frames of one request. */
class SocketSink implements Sink<Fragment> {
  readonly #writer: SocketWriter;
  /** The message of a frame, once there is an answer. */
  message: SocketAnswer["message"] = () => null;

  constructor(writer: SocketWriter) {
    this.#writer = writer;
  }

  *pieces(frame: Frame): Generator<Fragment, void, undefined> {
    const message = this.message(frame);
    if (message === null) return;
    let data: Fragment["data"] | null = null;
    for (const piece of message instanceof PackedMessage ? bytePieces(message) : jsonPieces(message)) {
      if (data !== null) yield { data, isLast: false };
      data = piece;
    }
    if (data !== null) yield { data, isLast: true };
  }

  write(fragment: Fragment): boolean {
    return this.#writer.write(this, fragment);
  }

  /** Counts all requests of the socket: its reader is behind with all of them or none. */
  get taken(): number {
    return this.#writer.taken;
  }

  drained(): Promise<void> {
    return this.#writer.drained(this);
  }
}
