/** Asks a served policy what it would do, by binary messages over one WebSocket. */
import { once } from "node:events";
import { text } from "node:stream/consumers";
import { setTimeout } from "node:timers/promises";
import { WebSocket } from "ws";
import type { Observation } from "./cart-pole.js";

export interface PolicyClient extends AsyncDisposable {
  /** The logits of both actions for each observation, by a base or an adapter. */
  ask(model: string, observations: readonly Observation[]): Promise<readonly Logits[]>;
}

export type Logits = readonly [left: number, right: number];

/** A server takes so many rows in a request, unless --max-sequences says otherwise. */
const mostRows = 64;

/** How long a server may load its model, and how often it is asked meanwhile. */
export interface Patience {
  readonly forMs: number;
  readonly everyMs: number;
}

/** `url`: of the server, over HTTP. Waits while it loads its model. Throws what the server answers if it refuses a connection or a request. */
export async function connectPolicy(
  url: string,
  patience: Patience = { forMs: 60_000, everyMs: 1000 },
): Promise<PolicyClient> {
  const deadline = performance.now() + patience.forMs;
  /** Runs a task again while the server answers 503. */
  const untilReady = async <T>(task: () => Promise<T>): Promise<T> => {
    for (;;) {
      try {
        return await task();
      } catch (error) {
        if (!(error instanceof NotReady) || performance.now() + patience.everyMs > deadline) throw error;
        await setTimeout(patience.everyMs);
      }
    }
  };
  const socket = await untilReady(() => open(url));
  let asked = 0;
  return {
    async ask(model, observations) {
      const all: Logits[] = [];
      for (let start = 0; start < observations.length; start += mostRows) {
        const rows = observations.slice(start, start + mostRows);
        // One request at a time.
        const answer = await untilReady(() => replyTo(socket, request(String(asked++), model, rows)));
        all.push(...logitsOf(answer));
      }
      return all;
    },
    async [Symbol.asyncDispose]() {
      if (socket.readyState === WebSocket.CLOSED) return;
      const closed = once(socket, "close");
      socket.close();
      await closed;
    },
  };
}

/** The server cannot answer yet. */
class NotReady extends Error {}

async function open(url: string): Promise<WebSocket> {
  const socket = new WebSocket(`${url.replace(/^http/, "ws")}/v1/ws`, "lorikeet");
  return await new Promise((resolve, reject) => {
    socket.once("open", () => resolve(socket));
    socket.once("error", (cause) => {
      const reason = cause.message || ("code" in cause ? String(cause.code) : "no connection");
      reject(new Error(`${url} does not answer (${reason}): start the server, or give its address by --url.`));
    });
    socket.once("unexpected-response", (_, response) => {
      text(response).then((body) => {
        const status = response.statusCode ?? 0;
        const message = messageOf(body) ?? `HTTP ${status}`;
        reject(new (status === 503 ? NotReady : Error)(`${url} refuses the connection: ${message}`));
      }, reject);
    });
  });
}

/** The server's next binary message. */
async function replyTo(socket: WebSocket, message: Buffer): Promise<Buffer> {
  if (socket.readyState !== WebSocket.OPEN) throw new Error("The server closed the connection.");
  const waiting = new AbortController();
  try {
    const { signal } = waiting;
    const closed = once(socket, "close", { signal }).then(() => {
      throw new Error("The server closed the connection.");
    });
    const reply = once(socket, "message", { signal }) as Promise<[Buffer, boolean]>;
    socket.send(message);
    const [answer, isBinary] = await Promise.race([reply, closed]);
    if (isBinary) return answer;
    const body = answer.toString();
    throw new (/"not_ready"/.test(body) ? NotReady : Error)(`The server refuses: ${messageOf(body) ?? body}`);
  } finally {
    waiting.abort();
  }
}

/** Of an error in OpenAI's form; null for other text. */
function messageOf(body: string): string | null {
  const [, message] = /"message":("(?:[^"\\]|\\.)*")/.exec(body) ?? [];
  return message === undefined ? null : String(JSON.parse(message));
}

function request(id: string, model: string, observations: readonly Observation[]): Buffer {
  const numbers = Float32Array.from(observations.flat());
  const shape = [observations.length, 4];
  const parameters = { binary_data_size: numbers.byteLength };
  const inputs = [{ name: "observation", shape, datatype: "FP32", parameters }];
  const head = Buffer.from(JSON.stringify({ id, type: "infer", body: { model, inputs } }));
  const length = Buffer.alloc(4);
  length.writeUInt32LE(head.length);
  return Buffer.concat([length, head, new Uint8Array(numbers.buffer)]);
}

/** The only output, [rows, 2]. */
function logitsOf(message: Buffer): Logits[] {
  const start = 4 + message.readUInt32LE(0);
  const rows = (message.length - start) / 8;
  return Array.from({ length: rows }, (_, row) => [
    message.readFloatLE(start + 8 * row),
    message.readFloatLE(start + 8 * row + 4),
  ]);
}
