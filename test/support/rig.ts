/** A whole service for tests over a fake engine: a gateway with a byte tokenizer, a real adapter store, and on request a listening server. */
import type { UploadLimits } from "../../src/adapter/upload/upload.js";
import type { Logger } from "../../src/base/log.js";
import type { Answer } from "../../src/gateway/answer.js";
import { basesOf } from "../../src/gateway/bases.js";
import type { FineTuning } from "../../src/gateway/fine-tuning/fine-tuning.js";
import { createGateway, type Gateway, type GatewayModel } from "../../src/gateway/gateway.js";
import type { OpenAiRequest } from "../../src/gateway/openai/common-request.js";
import { type OpenAiProtocol, openAiProtocols } from "../../src/gateway/openai/protocol.js";
import type { GatewayOptions } from "../../src/gateway/options.js";
import type { ResponsesOptions } from "../../src/gateway/responses/responses.js";
import type { RecordStore } from "../../src/records/store.js";
import type { ServerOptions } from "../../src/server/options.js";
import { createServer, type LorikeetServer } from "../../src/server/server.js";
import type { Tokenizer } from "../../src/text/types.js";
import { bosId, byteTokenizer, eosId, vocabSize } from "./byte-tokenizer.js";
import { type FakeAdapters, fakeAdapters } from "./fake-adapters.js";
import { type FakeEngine, type FakeScript, fakeEngine } from "./fake-engine.js";

export interface RigOptions {
  readonly script?: FakeScript;
  readonly tokenizer?: Tokenizer | null;
  readonly model?: Partial<GatewayModel>;
  readonly gateway?: Partial<GatewayOptions>;
  readonly server?: Partial<ServerOptions & ResponsesOptions>;
  readonly records?: RecordStore;
  readonly fineTuning?: FineTuning;
  readonly apiKeys?: readonly string[];
  readonly uploads?: Partial<UploadLimits>;
}

export interface LogLine {
  readonly level: string;
  readonly fields: Readonly<Record<string, unknown>>;
  readonly message: string;
}

/** An answer in OpenAI's form. */
export type OpenAiAnswer = ReturnType<typeof inOpenAiForm>;

type Asking = (body: unknown, signal: AbortSignal, connection?: object) => Promise<OpenAiAnswer>;

export interface Rig extends AsyncDisposable {
  readonly engine: FakeEngine;
  readonly gateway: Gateway;
  /** Answers a body as OpenAI's completions and chats. */
  readonly complete: Asking;
  readonly chat: Asking;
  readonly adapters: FakeAdapters;
  readonly lines: LogLine[];
  readonly logger: Logger;
}

export interface ServerRig extends Rig {
  readonly server: LorikeetServer;
  /** `http://127.0.0.1:<port>` */
  readonly url: string;
}

/** Its base is `base`, alias `alias`. Give the adapters it needs to `rig.adapters.add`. */
export async function openRig(options: RigOptions = {}): Promise<Rig> {
  const lines: LogLine[] = [];
  const logger = recorder(lines);
  const engine = fakeEngine(options.script);
  const adapters = await fakeAdapters();
  const gateway = createGateway({
    engine,
    tokenizer: options.tokenizer === undefined ? byteTokenizer() : options.tokenizer,
    model: {
      names: ["base", "alias"],
      vocabSize,
      stopIds: [eosId],
      bosId,
      generationDefaults: {},
      fingerprint: "fp_0",
      ...options.model,
    },
    store: adapters.store,
    cache: adapters.cache,
    mixtures: adapters.mixtures,
    logger,
    ...(options.gateway ? { options: options.gateway } : {}),
    ...(options.uploads ? { uploads: options.uploads } : {}),
  });
  const { completions, chat } = openAiProtocols(gateway);
  const asking =
    (protocol: OpenAiProtocol): Asking =>
    async (body, signal, connection) => {
      const reading = { route: protocol.route, read: () => protocol.read(body) };
      return inOpenAiForm(await gateway.complete(reading, signal, connection), protocol);
    };
  return {
    engine,
    gateway,
    adapters,
    lines,
    logger,
    complete: asking(completions),
    chat: asking(chat),
    [Symbol.asyncDispose]: () => adapters.close(),
  };
}

function inOpenAiForm(answer: Answer<OpenAiRequest>, protocol: OpenAiProtocol) {
  const { adapter, digest, ended } = answer;
  return {
    adapter,
    digest,
    ended,
    frames: () => protocol.frames(answer),
    whole: () => protocol.whole(answer),
    pause: () => answer.pause(),
    resume: () => answer.resume(),
    cancel: () => answer.cancel(),
  };
}

export async function openServerRig(options: RigOptions = {}): Promise<ServerRig> {
  const rig = await openRig(options);
  const server = createServer({
    bases: basesOf("base", rig.gateway),
    logger: rig.logger,
    ...(options.server ? { options: options.server } : {}),
    ...(options.records ? { records: options.records } : {}),
    ...(options.fineTuning ? { fineTuning: options.fineTuning } : {}),
    ...(options.apiKeys ? { apiKeys: options.apiKeys } : {}),
  });
  const { port } = await server.listen("127.0.0.1", 0);
  const close = async (): Promise<void> => {
    await server.close();
    await rig.adapters.close();
  };
  return { ...rig, server, url: `http://127.0.0.1:${port}`, [Symbol.asyncDispose]: close };
}

function recorder(lines: LogLine[]): Logger {
  const write = (level: string) => (fields: object, message: string) => {
    lines.push({ level, fields: { ...fields }, message });
  };
  return { debug: write("debug"), info: write("info"), warn: write("warn"), error: write("error") };
}

/** Waits until something holds; fails after half a minute, which only a broken condition or a starving machine takes. */
export async function until(holds: () => boolean, what = "the condition"): Promise<void> {
  const end = performance.now() + 30_000;
  while (!holds()) {
    if (performance.now() > end) throw new Error(`${what} did not come to hold`);
    await new Promise((resolve) => setTimeout(resolve, 2));
  }
}
