/**
 * Bounds the open connections, in total and per address. A connection past a limit goes into a small reserve for a moment, so
 * that probes are still answered and other clients get a refusal that says why. Knows nothing of requests.
 */
import type { Server as HttpServer } from "node:http";
import type { Socket } from "node:net";
import { assert, LorikeetError } from "../../base/errors.js";
import { type ClientAddresses, keyOf } from "./client-address.js";

export interface ConnectionBounds {
  readonly maxConnections: number;
  /** 0: no limit. */
  readonly maxConnectionsPerAddress: number;
  /** How many connections past a limit may be open at once. */
  readonly reservedConnections: number;
}

export type ConnectionLimit = "max-connections" | "max-connections-per-address";

/** How long a reserved connection may take for its one request. */
const reservedMs = 5_000;

export class Connections {
  readonly #bounds: ConnectionBounds;
  readonly #clients: ClientAddresses;
  readonly #onLimit: (limit: ConnectionLimit) => void;
  readonly #served = new Set<Socket>();
  readonly #byAddress = new Map<string, number>();
  /** Each reserved connection with its refusal, oldest first. */
  readonly #reserved = new Map<Socket, LorikeetError>();

  constructor(bounds: ConnectionBounds, clients: ClientAddresses, onLimit: (limit: ConnectionLimit) => void) {
    this.#bounds = bounds;
    this.#clients = clients;
    this.#onLimit = onLimit;
  }

  attach(http: HttpServer): void {
    http.on("connection", (socket: Socket) => this.#take(socket));
  }

  /** Connections outside the reserve. */
  get served(): number {
    return this.#served.size;
  }

  get reserved(): number {
    return this.#reserved.size;
  }

  /** The refusal for any request on this connection but a probe; null for a connection within the limits. */
  refusalOf(socket: Socket): LorikeetError | null {
    return this.#reserved.get(socket) ?? null;
  }

  /** Destroys every connection. */
  destroy(): void {
    for (const socket of [...this.#served, ...this.#reserved.keys()]) socket.destroy();
  }

  #take(socket: Socket): void {
    if (this.#served.has(socket) || this.#reserved.has(socket)) return; // emitted twice: see readAsPlain
    socket.on("error", () => {}); // a reset by the client also emits `close`
    const address = socket.remoteAddress ?? "";
    const key = this.#clients.isTrusted(address) ? null : keyOf(address);
    const refusal = this.#refusal(key);
    if (refusal) this.#reserve(socket, refusal);
    else this.#serve(socket, key);
  }

  #refusal(key: string | null): LorikeetError | null {
    const { maxConnections, maxConnectionsPerAddress } = this.#bounds;
    if (key !== null && maxConnectionsPerAddress > 0) {
      const found = this.#byAddress.get(key) ?? 0;
      if (found >= maxConnectionsPerAddress) {
        this.#onLimit("max-connections-per-address");
        const message = `${found} connections of your address are open; at most ${maxConnectionsPerAddress} are allowed.`;
        return new LorikeetError("address_busy", message, { found, allowed: maxConnectionsPerAddress });
      }
    }
    if (this.#served.size < maxConnections) return null;
    this.#onLimit("max-connections");
    const message = `${this.#served.size} connections are open; at most ${maxConnections} are allowed.`;
    return new LorikeetError("connections_full", message, { found: this.#served.size, allowed: maxConnections });
  }

  #serve(socket: Socket, key: string | null): void {
    this.#served.add(socket);
    if (key !== null) this.#byAddress.set(key, (this.#byAddress.get(key) ?? 0) + 1);
    socket.once("close", () => {
      this.#served.delete(socket);
      if (key === null) return;
      const before = this.#byAddress.get(key);
      assert(before !== undefined, "an open connection is counted for its address");
      if (before > 1) this.#byAddress.set(key, before - 1);
      else this.#byAddress.delete(key);
    });
  }

  /** A full reserve drops its oldest connection, so idle ones cannot keep others out. */
  #reserve(socket: Socket, refusal: LorikeetError): void {
    if (this.#reserved.size >= this.#bounds.reservedConnections) {
      const oldest = this.#reserved.keys().next();
      if (!oldest.done) {
        this.#reserved.delete(oldest.value);
        oldest.value.destroy();
      }
    }
    this.#reserved.set(socket, refusal);
    const timer = setTimeout(() => socket.destroy(), reservedMs);
    socket.once("close", () => {
      clearTimeout(timer);
      this.#reserved.delete(socket);
    });
  }
}
