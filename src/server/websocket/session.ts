/** One WebSocket: many concurrent requests, each with its own frames and its own ending. Knows nothing of the handshake. */
import type { RawData, WebSocket } from "ws";
import { LorikeetError } from "../../base/errors.js";
import type { Logger } from "../../base/log.js";
import { asFault } from "../../gateway/fault.js";
import type { Gateway } from "../../gateway/gateway.js";
import type { RequestSummary } from "../../gateway/observer.js";
import { openAiError } from "../../gateway/openai/errors.js";
import type { OpenAiProtocol, OpenAiProtocols } from "../../gateway/openai/protocol.js";
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
import { parseMessage, type SocketMessage } from "./message.js";
import { type Fragment, SocketWriter } from "./writer.js";

type Ask = Exclude<SocketMessage, { type: "cancel" }>;

export interface SessionDeps {
  readonly gateway: Gateway;
  readonly protocols: OpenAiProtocols;
  readonly gate: Gate;
  readonly connections: Connections;
  onLimit(option: string): void;
  readonly clientAddress: ClientAddressOf;
  readonly logger: Logger;
  readonly options: ServerOptions;
}

export class SocketSession {
  readonly #deps: SessionDeps;
  readonly #writer: SocketWriter;
  readonly #requestId: string;
  readonly #running = new Map<string, AbortController>();
  #isAlive = true;
  #hasLeft = false;
  readonly #pinging: NodeJS.Timeout;

  constructor(socket: WebSocket, requestId: string, deps: SessionDeps) {
    this.#deps = deps;
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
    const parsed = isBinary
      ? { id: null, fault: new LorikeetError("invalid_value", "A message must be a text frame with JSON.") }
      : parseMessage(data.toString());
    if ("fault" in parsed) {
      this.#sendFault(parsed.id, parsed.fault);
      return;
    }
    const { message } = parsed;
    if (message.type === "cancel") this.#running.get(message.id)?.abort();
    else void this.#run(message);
  }

  /** Runs one request from its message to its last frame. Never rejects. */
  async #run(ask: Ask): Promise<void> {
    const refusal = this.#refusal(ask);
    if (refusal) return this.#sendFault(ask.id, refusal);
    const startedAt = performance.now();
    const controller = new AbortController();
    const sink = new SocketSink(ask.id, this.#writer);
    this.#running.set(ask.id, controller);
    let summary: Promise<RequestSummary> | null = null;
    let fault: LorikeetError | null = null;
    try {
      const { completions, chat } = this.#deps.protocols;
      const protocol = ask.type === "completions" ? completions : chat;
      const answer = await this.#answer(protocol, ask, controller.signal);
      summary = answer.ended;
      await pumpAnswer(answer, protocol.frames(answer), sink, { ...this.#deps.options, onLimit: this.#deps.onLimit });
    } catch (error) {
      fault = asFault(error);
      this.#fail(ask.id, fault, sink, controller.signal);
    } finally {
      this.#running.delete(ask.id);
      this.#log(ask, startedAt, fault, await summary);
      if (this.#deps.gate.refusal) this.drain();
    }
  }

  #answer(protocol: OpenAiProtocol, ask: Ask, signal: AbortSignal) {
    const { gateway } = this.#deps;
    const { stream } = ask.body;
    if (stream !== undefined && stream !== null && stream !== true) {
      throw new LorikeetError("invalid_value", "`stream` must be true or absent: a WebSocket always streams.", {
        param: "stream",
      });
    }
    const body = { ...ask.body, stream: true };
    return gateway.complete({ route: protocol.route, read: () => protocol.read(body) }, signal, this);
  }

  #refusal(ask: Ask): LorikeetError | null {
    const { gate, options } = this.#deps;
    if (gate.refusal) return gate.refusal;
    if (this.#running.has(ask.id)) {
      return new LorikeetError(
        "conflict",
        `A request with the id ${JSON.stringify(ask.id)} is in flight on this socket.`,
        { param: "id" },
      );
    }
    const limit = options.maxSocketRequests;
    if (this.#running.size < limit) return null;
    return new LorikeetError("queue_full", `At most ${limit} requests may be in flight on one socket.`, {
      allowed: limit,
    });
  }

  #fail(id: string, fault: LorikeetError, sink: SocketSink, signal: AbortSignal): void {
    if (this.#writer.isAmidMessage(sink)) {
      this.#writer.close(fault.code === "timeout" ? 1013 : 1011, "A message could not be sent in full.");
      return;
    }
    this.#sendFault(id, fault);
    // A timeout that the client did not cause: this reader may never take the frame.
    if (fault.code === "timeout" && !signal.aborted && !this.#writer.isDrained) {
      this.#writer.close(1013, "The reader is too slow.");
    }
  }

  #sendFault(id: string | null, fault: LorikeetError): void {
    this.#writer.send({ id, type: "error", ...openAiError(publicFault(fault, this.#deps.options.privateFolders)) });
  }

  #ping(socket: WebSocket): void {
    if (!this.#isAlive) {
      socket.terminate();
      return;
    }
    this.#isAlive = false;
    socket.ping();
  }

  #log(ask: Ask, startedAt: number, fault: LorikeetError | null, summary: RequestSummary | null): void {
    const { gateway, logger, options } = this.#deps;
    const fields = {
      requestId: `${this.#requestId}/${ask.id}`,
      method: "WS",
      path: ask.type,
      ms: Math.round(performance.now() - startedAt),
      ...faultFields(fault),
      ...askedModel(gateway, ask.body),
      ...summaryFields(summary),
      ...(options.logPrompts ? { body: ask.body } : {}),
    };
    logger.info(fields, "request");
  }
}

/** Writes the frames of one request. */
class SocketSink implements Sink<Fragment> {
  readonly #id: string;
  readonly #writer: SocketWriter;

  constructor(id: string, writer: SocketWriter) {
    this.#id = id;
    this.#writer = writer;
  }

  *pieces({ type, data }: Frame): Generator<Fragment, void, undefined> {
    let text: string | null = null;
    for (const piece of jsonPieces({ id: this.#id, type, data })) {
      if (text !== null) yield { text, isLast: false };
      text = piece;
    }
    if (text !== null) yield { text, isLast: true };
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
