/** The service against its engine: sixteen streams over HTTP beside the same sixteen without, and a full server beside a bare one. */

import { assert } from "../base/errors.js";
import { silent } from "../base/log.js";
import type { Engine } from "../engine/types.js";
import { greedy } from "../engine/types.js";
import { createServer, type LorikeetServer } from "../server/server.js";
import { type Arrivals, steadyRate } from "./arrivals.js";
import type { Clients, StreamRequest } from "./clients.js";
import type { Contender } from "./interleave.js";
import { maxRows } from "./plan.js";
import type { BenchStack } from "./stack.js";

const promptTokens = 32;

/** The names of its series. */
export const serviceIds = {
  http: "service/http/distinct/16",
  engine: "service/engine/distinct/16",
  full: "service/http/base/16/full",
  bare: "service/http/base/16/bare",
} as const;

/** A stack with a listener on a free port of loopback. */
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
    const server = createServer({ gateway: stack.gateway, logger: silent });
    const { port } = await server.listen("127.0.0.1", 0);
    return new BenchServer(stack, server, port);
  }

  /** Disposing of the stack is its owner's. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#server.close();
  }
}

/** Sixteen requests, each through another adapter of the store, over HTTP and straight into the engine. */
export function adapterContenders(server: BenchServer, clients: Clients, maxTokens: number): Contender[] {
  const { stack, port } = server;
  const records = stack.adapters?.store.list().slice(0, maxRows) ?? [];
  assert(records.length === maxRows, "the store holds an adapter for every row");
  const requests = records.map(({ name }, i) => requestOf(stack, name, i, maxTokens));
  const digests = records.map(({ digest }) => digest);
  return [
    overHttp(serviceIds.http, clients, port, requests),
    {
      id: serviceIds.engine,
      unit: "tokens/s",
      sample: async () =>
        steadyRate(
          await Promise.all(requests.map((request, i) => inProcess(stack.started.engine, request, digests[i] ?? null))),
        ),
    },
  ];
}

/** Sixteen requests to the base, of a server whose tiers are full of adapters and of one that has none. */
export function baseContenders(full: BenchServer, bare: BenchServer, clients: Clients, maxTokens: number): Contender[] {
  return [[serviceIds.full, full] as const, [serviceIds.bare, bare] as const].map(([id, { stack, port }]) => {
    const requests = Array.from({ length: maxRows }, (_, i) => requestOf(stack, stack.name, i, maxTokens));
    return overHttp(id, clients, port, requests);
  });
}

function overHttp(id: string, clients: Clients, port: number, requests: readonly StreamRequest[]): Contender {
  return { id, unit: "tokens/s", sample: async () => steadyRate(await clients.run({ port, requests })) };
}

function requestOf(stack: BenchStack, model: string, seed: number, maxTokens: number): StreamRequest {
  const { vocabSize } = stack.checkpoint.config;
  const prompt = Array.from({ length: promptTokens }, (_, i) => (i * 7919 + seed * 104_729 + 11) % vocabSize);
  return { model, prompt, maxTokens };
}

async function inProcess(engine: Engine, request: StreamRequest, adapter: string | null): Promise<Arrivals> {
  const { prompt: promptIds, maxTokens } = request;
  const arrivals: number[] = [];
  const sampling = greedy;
  const events = engine.submit({ promptIds, maxTokens, sampling, stopIds: [], adapter, promptLogprobs: null });
  for await (const event of events) {
    if (event.type === "token") arrivals.push(performance.now());
    if (event.type === "finish" && event.reason !== "length") {
      throw event.error ?? new Error(`A sequence of the benchmark ended with ${event.reason}.`);
    }
  }
  return arrivals;
}
