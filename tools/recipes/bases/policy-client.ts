/** Asks a served policy what it would do, by binary messages over one WebSocket. */
import { once } from "node:events";
import { WebSocket } from "ws";
import type { Observation } from "./cart-pole.js";

export interface PolicyClient extends AsyncDisposable {
  /** The logits of both actions for each observation, by a base or an adapter. */
  ask(model: string, observations: readonly Observation[]): Promise<readonly Logits[]>;
}

export type Logits = readonly [left: number, right: number];

/** A server takes so many rows in a request, unless --max-sequences says otherwise. */
const mostRows = 64;

/** `url`: of the server, over HTTP. Throws what the server answers if it refuses a request. */
export async function connectPolicy(url: string): Promise<PolicyClient> {
  const socket = new WebSocket(`${url.replace(/^http/, "ws")}/v1/ws`, "lorikeet");
  await once(socket, "open");
  let asked = 0;
  return {
    async ask(model, observations) {
      const all: Logits[] = [];
      for (let start = 0; start < observations.length; start += mostRows) {
        const id = String(asked++);
        const reply = once(socket, "message"); // one request at a time
        socket.send(request(id, model, observations.slice(start, start + mostRows)));
        const [message, isBinary]: [Buffer, boolean] = (await reply) as [Buffer, boolean];
        if (!isBinary) throw new Error(`The server refused: ${message.toString()}`);
        all.push(...logitsOf(message));
      }
      return all;
    },
    async [Symbol.asyncDispose]() {
      socket.close();
      await once(socket, "close");
    },
  };
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
