/** Clients of a soak test: some make requests, others disconnect, stall, send garbage or never finish. Each ends by itself. */
import { once } from "node:events";
import { request } from "node:http";
import { connect, type Socket } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { WebSocket } from "ws";

export interface SoakTarget {
  readonly port: number;
  /** The names of the base and of adapters that are never replaced. */
  readonly models: readonly string[];
  /** Names that uploads use and free. */
  readonly names: readonly string[];
  /** A PEFT folder as tar, with other weights at each call. */
  freshTar(): Buffer;
}

/** A number in [0, 1), from the same sequence in every run. */
export type Random = () => number;

export function seededRandom(seed: number): Random {
  let state = seed >>> 0;
  return () => {
    state = (Math.imul(state, 1_103_515_245) + 12_345) >>> 0;
    return state / 2 ** 32;
  };
}

/** Runs one client's visit and resolves with its outcome. Rejects only if the server broke its contract. */
type Visit = () => Promise<string>;

interface Kind {
  readonly name: string;
  readonly weight: number;
  readonly visit: Visit;
}

interface Answer {
  readonly status: number;
  readonly text: string;
}

/** Long enough for a machine that is busy with other work. */
const limitMs = 5 * 60_000;

/** One visit of a random kind. */
export function soakVisits(target: SoakTarget, random: Random): () => Promise<string> {
  const clients = new SoakClients(target, random);
  const { kinds } = clients;
  const total = kinds.reduce((sum, { weight }) => sum + weight, 0);
  return async () => {
    let at = random() * total;
    const kind = kinds.find(({ weight }) => {
      at -= weight;
      return at < 0;
    });
    return `${kind?.name}: ${await kind?.visit()}`;
  };
}

class SoakClients {
  readonly #target: SoakTarget;
  readonly #random: Random;

  constructor(target: SoakTarget, random: Random) {
    this.#target = target;
    this.#random = random;
  }

  readonly kinds: readonly Kind[] = [
    { name: "completion", weight: 22, visit: async () => statusOf(await this.#post(this.#body())) },
    { name: "stream", weight: 14, visit: () => this.#stream() },
    {
      name: "stream left",
      weight: 12,
      visit: () => this.#leave(this.#completion({ stream: true, max_tokens: 60 }), 2_000),
    },
    { name: "stream paused", weight: 3, visit: () => this.#pause() },
    { name: "socket", weight: 10, visit: () => this.#webSocket() },
    { name: "invalid", weight: 8, visit: async () => statusOf(await this.#post(this.#draw(invalid))) },
    { name: "upload", weight: 4, visit: () => this.#upload() },
    { name: "upload left", weight: 4, visit: () => this.#leave(this.#uploadHead(), 0) },
    { name: "delete", weight: 3, visit: async () => statusOf(await this.#ask("DELETE", this.#adapter())) },
    { name: "download", weight: 3, visit: async () => statusOf(await this.#ask("GET", `${this.#kept()}/download`)) },
    { name: "download left", weight: 6, visit: () => this.#leave(head("GET", `${this.#kept()}/download`), 600_000) },
    { name: "pipeline", weight: 5, visit: () => this.#pipeline() },
    { name: "pipeline left", weight: 4, visit: () => this.#leave(this.#pipelined(12), 3_000) },
    { name: "upgrade half open", weight: 4, visit: () => this.#stall(this.#draw(upgrades)) },
    { name: "slow sender", weight: 4, visit: () => this.#stall(this.#draw(unfinished)) },
    { name: "list", weight: 4, visit: async () => statusOf(await this.#ask("GET", this.#draw(lists))) },
  ];

  #draw<T>(choices: readonly [T, ...T[]]): T {
    return choices[Math.floor(this.#random() * choices.length)] ?? choices[0];
  }

  #below(limit: number): number {
    return Math.floor(this.#random() * limit);
  }

  #adapter(): string {
    return `/v1/adapters/${this.#target.names[this.#below(this.#target.names.length)]}`;
  }

  #kept(): string {
    const [, ...adapters] = this.#target.models;
    return `/v1/adapters/${adapters[this.#below(adapters.length)]}`;
  }

  #body(): object {
    const { models, names } = this.#target;
    const from = this.#random() < 0.7 ? models : names;
    const prompt = `It was ${"the night ".repeat(this.#below(20))}`;
    return { model: from[this.#below(from.length)], prompt, max_tokens: 1 + this.#below(12) };
  }

  /** A request for a completion as bytes. */
  #completion(more: object): string {
    const body = JSON.stringify({ ...this.#body(), ...more });
    return `${head("POST", "/v1/completions", ["content-type: application/json", `content-length: ${Buffer.byteLength(body)}`])}${body}`;
  }

  #pipelined(count: number): string {
    const one = (): string =>
      this.#random() < 0.3 ? head("GET", this.#draw(lists)) : this.#completion({ max_tokens: 4 });
    return Array.from({ length: count }, one).join("");
  }

  #uploadHead(): string {
    const tar = this.#target.freshTar();
    const sent = tar.subarray(0, this.#below(tar.length)).toString("latin1");
    return `${head("PUT", this.#adapter(), ["content-type: application/x-tar", `content-length: ${tar.length}`])}${sent}`;
  }

  #ask(method: string, path: string, body?: Buffer, contentType?: string): Promise<Answer> {
    const headers = body === undefined ? {} : { "content-type": contentType, "content-length": body.length };
    return new Promise((resolve, reject) => {
      const asking = request(
        { host: "127.0.0.1", port: this.#target.port, method, path, headers, agent: false },
        (response) => {
          let text = "";
          response.setEncoding("utf8").on("data", (chunk: string) => {
            text += chunk;
          });
          response.on("end", () => resolve({ status: response.statusCode ?? 0, text })).on("error", reject);
        },
      );
      asking.setTimeout(limitMs, () => asking.destroy(new Error(`no answer to ${method} ${path}`)));
      asking.on("error", reject).end(body);
    });
  }

  #post(body: object | string): Promise<Answer> {
    const text = typeof body === "string" ? body : JSON.stringify(body);
    return this.#ask("POST", "/v1/completions", Buffer.from(text), "application/json");
  }

  async #stream(): Promise<string> {
    const { status, text } = await this.#post({ ...this.#body(), stream: true });
    if (status === 200 && !/data: (\[DONE\]|\{"error")/.test(text)) throw new Error("a stream without an end");
    return String(status);
  }

  async #upload(): Promise<string> {
    const isWhole = this.#random() < 0.7;
    const tar = this.#target.freshTar();
    const body = isWhole ? tar : tar.subarray(0, this.#below(tar.length));
    return statusOf(await this.#ask("PUT", this.#adapter(), body, "application/x-tar"));
  }

  /** Sends bytes and disconnects once `count` bytes have arrived, or after a moment. */
  async #leave(bytes: string, after: number): Promise<string> {
    using raw = await this.#open(bytes);
    const wanted = this.#below(after);
    let received = 0;
    const enough = new Promise<void>((resolve) => {
      raw.socket.on("data", (chunk) => {
        received += chunk.length;
        if (received >= wanted) resolve();
      });
      raw.socket.on("close", () => resolve());
    });
    await Promise.race([enough, sleep(20 + this.#below(300))]);
    return "left";
  }

  async #pause(): Promise<string> {
    using raw = await this.#open(this.#completion({ stream: true, max_tokens: 100, logprobs: 5 }));
    raw.socket.pause();
    await sleep(100 + this.#below(500));
    if (this.#random() < 0.5) return "left";
    raw.socket.resume();
    await Promise.race([once(raw.socket, "close"), sleep(300)]);
    return "read on";
  }

  async #pipeline(): Promise<string> {
    const count = 2 + this.#below(8);
    using raw = await this.#open(this.#pipelined(count));
    let text = "";
    const answers = (): number => text.match(/HTTP\/1\.1 \d{3} /g)?.length ?? 0;
    await new Promise<void>((resolve, reject) => {
      const timer = setTimeout(() => reject(new Error(`${answers()} of ${count} pipelined answers`)), limitMs);
      raw.socket.on("data", (chunk) => {
        text += String(chunk);
        if (answers() < count) return;
        clearTimeout(timer);
        resolve();
      });
      raw.socket.on("end", () => raw.socket.destroy());
      raw.socket.on("close", () => {
        clearTimeout(timer);
        if (answers() < count) reject(new Error(`the connection ended after ${answers()} of ${count} answers`));
      });
    });
    return "answered";
  }

  /** Sends an incomplete or refused request, and then neither reads nor closes for a while. */
  async #stall(bytes: string): Promise<string> {
    using _raw = await this.#open(bytes);
    await sleep(50 + this.#below(400));
    return "left";
  }

  async #webSocket(): Promise<string> {
    const socket = new WebSocket(`ws://127.0.0.1:${this.#target.port}/v1/ws`, ["lorikeet"]);
    socket.on("error", () => {});
    const closed = once(socket, "close");
    await Promise.race([once(socket, "open"), closed]);
    const count = 1 + this.#below(4);
    let open = count;
    socket.on("message", (data) => {
      const { type }: { type: string } = JSON.parse(String(data));
      if (type !== "chunk" && --open === 0) socket.close();
    });
    for (let i = 0; i < count; i++)
      socket.send(JSON.stringify({ id: `r${i}`, type: "completions", body: this.#body() }));
    const fate = this.#random();
    if (fate < 0.2) socket.send(JSON.stringify({ id: "r0", type: "cancel" }));
    if (fate > 0.7) setTimeout(() => socket.terminate(), this.#below(100));
    const timer = setTimeout(() => socket.terminate(), limitMs);
    await closed;
    clearTimeout(timer);
    if (open > 0 && fate <= 0.7) throw new Error(`a WebSocket ended with ${open} requests unanswered`);
    return "closed";
  }

  async #open(bytes: string): Promise<Disposable & { readonly socket: Socket }> {
    const socket = connect({ port: this.#target.port, host: "127.0.0.1", allowHalfOpen: true });
    socket.on("error", () => {});
    await Promise.race([once(socket, "connect"), once(socket, "close")]);
    socket.write(Buffer.from(bytes, "latin1"));
    return { socket, [Symbol.dispose]: () => socket.destroy() };
  }
}

const statusOf = ({ status }: Answer): string => String(status);

const head = (method: string, path: string, more: readonly string[] = []): string =>
  `${[`${method} ${path} HTTP/1.1`, "host: localhost", ...more].join("\r\n")}\r\n\r\n`;

const lists = ["/v1/models", "/v1/adapters", "/metrics", "/health", "/ready", "/nope"] as const;

const invalid: readonly [object | string, ...(object | string)[]] = [
  "{oops",
  { model: "nope", prompt: "x" },
  { max_tokens: -1, temperature: 99 },
  { model: "bookworm-7m", prompt: "x ".repeat(9_000) },
  { model: "bookworm-7m", prompt: [1, 2, 99_999] },
];

const upgrade = (path: string, to: string, more: readonly string[] = []): string =>
  head("GET", path, ["connection: upgrade", `upgrade: ${to}`, ...more]);

const upgrades = [
  upgrade("/nope", "websocket"),
  upgrade("/v1/ws", "websocket"),
  upgrade("/v1/ws", "websocket", ["sec-websocket-version: 13", `sec-websocket-key: ${"A".repeat(22)}==`]),
  upgrade("/v1/ws", "websocket").slice(0, 60),
  upgrade("/v1/models", "h2c", ["http2-settings: AAMAAABk"]),
] as const;

const unfinished = [
  "",
  "POST /v1/comple",
  head("POST", "/v1/completions", ["content-type: application/json", "content-length: 500"]),
  head("GET", "/health", ["content-length: 5"]),
  head("DELETE", "/v1/adapters/nope", ["transfer-encoding: chunked"]),
  head("PUT", "/v1/adapters/stalled", ["content-type: application/x-tar", "content-length: 5000"]),
  "\u0016\u0003\u0001 nonsense\r\n\r\n",
] as const;

/** Tars of adapters that differ in their weights' last digits. */
export function tarsOf(tar: Buffer): () => Buffer {
  const start = tar.indexOf("adapter_model.safetensors") + 512;
  const data = start + 8 + Number(tar.readBigUInt64LE(start));
  let count = 0;
  return () => {
    const copy = Buffer.from(tar);
    count++;
    for (let byte = 0; byte < 3; byte++) copy[data + 64 * byte] = (count >> (8 * byte)) & 0xff;
    return copy;
  };
}
