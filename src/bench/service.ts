/** Compares the service with its engine (sixteen streams over HTTP and in process), and a server full of adapters with one without. */

import { assert } from "../base/errors.js";
import { zip } from "../base/list.js";
import { silent } from "../base/log.js";
import { type Engine, greedy, type SequenceHandle } from "../engine/types.js";
import { basesOf } from "../gateway/bases.js";
import { createServer, type LorikeetServer } from "../server/server.js";
import { type Arrivals, StreamWatch, steadyRate } from "./arrivals.js";
import type { ClientRound, Clients, StreamRequest } from "./clients.js";
import type { Contender } from "./interleave.js";
import { maxRows, slotTokens } from "./plan.js";
import type { BenchStack } from "./stack.js";

const promptTokens = 32;

/** The ids of the service's series. */
export const serviceIds = {
  http: "service/http/distinct/16",
  engine: "service/engine/distinct/16",
  full: "service/http/base/16/full",
  bare: "service/http/base/16/bare",
} as const;

/** A stack that listens on a free loopback port. */
export class BenchServer implements AsyncDisposable {
  readonly stack: BenchStack;
  readonly port: number;
  readonly #server: LorikeetServer;

  private constructor(stack: BenchStack, server: LorikeetServer, port: number) {
    this.stack = stack;
    this.#server = server;
    this.port = port;
  }

  static async listen(stack: BenchStack): Promise<BenchServer> {
    const server = createServer({ bases: basesOf(stack.name, stack.gateway), logger: silent });
    const { port } = await server.listen("127.0.0.1", 0);
    return new BenchServer(stack, server, port);
  }

  /** Does not dispose the stack, which its owner does. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#server.close();
  }
}

/** Sixteen requests, each with a different adapter, over HTTP and directly to the engine. */
export function adapterContenders(server: BenchServer, clients: Clients, wanted: number): Contender[] {
  const { stack, port } = server;
  const records = stack.adapters?.store.list().slice(0, maxRows) ?? [];
  assert(records.length === maxRows, "the store holds an adapter for every row");
  const requests = records.map(({ name }, i) => requestOf(stack, name, i));
  const digests = records.map(({ weightsDigest }) => weightsDigest);
  return [
    overHttp(serviceIds.http, clients, { port, requests, wanted }),
    {
      id: serviceIds.engine,
      unit: "tokens/s",
      sample: async () => steadyRate(await inProcess(stack.started.engine, requests, digests, wanted)),
    },
  ];
}

/** Sixteen requests to the base, on a server whose tiers are full of adapters and on one without any. */
export function baseContenders(full: BenchServer, bare: BenchServer, clients: Clients, wanted: number): Contender[] {
  return [[serviceIds.full, full] as const, [serviceIds.bare, bare] as const].map(([id, { stack, port }]) => {
    const requests = Array.from({ length: maxRows }, (_, i) => requestOf(stack, stack.name, i));
    return overHttp(id, clients, { port, requests, wanted });
  });
}

function overHttp(id: string, clients: Clients, round: ClientRound): Contender {
  return { id, unit: "tokens/s", sample: async () => steadyRate(await clients.run(round)) };
}

/** Longer than the clients read, so that streams that start late still overlap with the others. */
function requestOf(stack: BenchStack, model: string, seed: number): StreamRequest {
  const { vocabSize } = stack.checkpoint.config;
  const prompt = Array.from({ length: promptTokens }, (_, i) => (i * 7919 + seed * 104_729 + 11) % vocabSize);
  return { model, prompt, maxTokens: slotTokens - promptTokens };
}

/** The clients' work, without HTTP. */
async function inProcess(
  engine: Engine,
  requests: readonly StreamRequest[],
  digests: readonly string[],
  wanted: number,
): Promise<readonly Arrivals[]> {
  const sequences = zip(requests, digests).map(([{ prompt: promptIds, maxTokens }, adapter]) =>
    engine.submit({ promptIds, maxTokens, sampling: greedy, stopIds: [], adapter, promptLogprobs: null }),
  );
  const leave = (): void => {
    for (const sequence of sequences) sequence.end("cancelled");
  };
  const watch = new StreamWatch(requests.length, wanted, leave);
  const read = async (sequence: SequenceHandle, stream: number): Promise<void> => {
    for await (const event of sequence) {
      if (event.type === "token") watch.note(stream, performance.now());
      if (event.type !== "finish" || event.reason === "cancelled") continue;
      throw event.error ?? new Error(`A sequence of the benchmark ended with ${event.reason}.`);
    }
  };
  try {
    await Promise.all(sequences.map(read));
  } finally {
    leave();
  }
  return watch.arrivals;
}
