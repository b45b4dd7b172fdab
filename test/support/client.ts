/** Clients for tests, small on purpose: JSON over HTTP, streams read event by event, requests over one WebSocket, metrics. */
import assert from "node:assert/strict";
import { once } from "node:events";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { WebSocket } from "ws";

export interface Logprobs {
  readonly tokens: readonly string[];
  readonly token_logprobs: readonly (number | null)[];
  readonly top_logprobs: readonly (Readonly<Record<string, number>> | null)[];
}

export interface Choice {
  readonly index: number;
  readonly text: string;
  readonly token_ids?: readonly number[];
  readonly prompt_token_ids?: readonly number[];
  readonly prompt_logprobs?: readonly unknown[];
  readonly logprobs: Logprobs | null;
  readonly finish_reason: string | null;
}

export interface Completion {
  readonly model: string;
  readonly choices: readonly Choice[];
  readonly usage?: { readonly prompt_tokens: number; readonly completion_tokens: number } | null;
  readonly error?: { readonly code: string; readonly message: string };
}

export function post(url: string, path: string, body: object, signal?: AbortSignal): Promise<Response> {
  const headers = { "content-type": "application/json" };
  return fetch(url + path, { method: "POST", headers, body: JSON.stringify(body), ...(signal ? { signal } : {}) });
}

/** A whole answer of `/v1/completions`; fails unless it is a 200. */
export async function complete(url: string, body: object): Promise<Completion> {
  const response = await post(url, "/v1/completions", body);
  const answer: Completion = JSON.parse(await response.text());
  assert.equal(response.status, 200, answer.error?.message);
  return answer;
}

/** The one choice of an answer. */
export function only({ choices }: Completion): Choice {
  const [choice] = choices;
  assert.ok(choice && choices.length === 1, "there is one choice");
  return choice;
}

/** A stream's chunks as they come; fails unless it begins with 200 and ends with `[DONE]`. Leaving it cuts the connection. */
export async function* stream(url: string, body: object): AsyncGenerator<Completion, void, undefined> {
  const leaving = new AbortController();
  const response = await post(url, "/v1/completions", { ...body, stream: true }, leaving.signal);
  assert.equal(response.status, 200);
  try {
    for await (const data of events(response)) {
      if (data === "[DONE]") return;
      const chunk: Completion = JSON.parse(data);
      assert.equal(chunk.error, undefined, chunk.error?.message);
      yield chunk;
    }
    assert.fail("the stream ended without [DONE]");
  } finally {
    leaving.abort();
  }
}

async function* events(response: Response): AsyncGenerator<string> {
  let text = "";
  const decoder = new TextDecoder();
  for await (const bytes of response.body ?? []) {
    text += decoder.decode(bytes, { stream: true });
    const parts = text.split("\n\n");
    text = parts.pop() ?? "";
    for (const part of parts) if (part.startsWith("data: ")) yield part.slice("data: ".length);
  }
}

/** The new token ids of chunks. */
export async function tokensOf(chunks: AsyncIterable<Completion>): Promise<number[]> {
  const ids: number[] = [];
  for await (const { choices } of chunks) ids.push(...choices.flatMap(({ token_ids }) => token_ids ?? []));
  return ids;
}

/** Requests over one WebSocket. */
export class SocketClient implements Disposable {
  readonly #socket: WebSocket;
  readonly #waiting = new Map<string, (frame: Frame) => void>();
  /** The close code. */
  readonly closed: Promise<number>;

  private constructor(socket: WebSocket) {
    this.#socket = socket;
    this.closed = new Promise((resolve) => socket.once("close", resolve));
    socket.on("message", (data) => {
      const frame: Frame = JSON.parse(String(data));
      this.#waiting.get(frame.id ?? "")?.(frame);
    });
  }

  static async open(url: string): Promise<SocketClient> {
    const socket = new WebSocket(`${url.replace("http", "ws")}/v1/ws`, ["lorikeet"]);
    await once(socket, "open");
    return new SocketClient(socket);
  }

  /** Every frame of one request; `each` sees them as they come. */
  ask(id: string, body: object, each?: (frame: Frame) => void, type = "completions"): Promise<Frame[]> {
    return new Promise((resolve) => {
      const frames: Frame[] = [];
      this.#waiting.set(id, (frame) => {
        frames.push(frame);
        each?.(frame);
        if (frame.type !== "chunk") resolve(frames);
      });
      this.#socket.send(JSON.stringify({ id, type, body }));
    });
  }

  cancel(id: string): void {
    this.#socket.send(JSON.stringify({ id, type: "cancel" }));
  }

  /** Cuts the connection without a word. */
  [Symbol.dispose](): void {
    this.#socket.terminate();
  }
}

export interface Frame {
  readonly id: string | null;
  readonly type: "chunk" | "done" | "error";
  readonly data?: Completion & {
    readonly lorikeet?: { readonly adapter: string | null; readonly digest: string | null };
  };
  readonly error?: { readonly code: string; readonly message: string };
}

export const frameTokens = (frames: readonly Frame[]): number[] =>
  frames.flatMap(({ type, data }) => (type === "chunk" ? (data?.choices ?? []) : [])).flatMap((c) => c.token_ids ?? []);

/** The two files of a PEFT folder as a form. */
export async function formOf(folder: string): Promise<FormData> {
  const form = new FormData();
  form.set("config", new Blob([await readFile(join(folder, "adapter_config.json"))]), "adapter_config.json");
  const weights = await readFile(join(folder, "adapter_model.safetensors"));
  form.set("weights", new Blob([weights]), "adapter_model.safetensors");
  return form;
}

/** Uploads a PEFT folder under a name. */
export async function put(
  url: string,
  name: string,
  folder: string,
): Promise<{ digest: string; outcome: string; warnings: readonly string[] }> {
  const response = await fetch(`${url}/v1/adapters/${name}`, { method: "PUT", body: await formOf(folder) });
  const text = await response.text();
  assert.ok(response.ok, text);
  return JSON.parse(text);
}

export async function remove(url: string, name: string): Promise<void> {
  const response = await fetch(`${url}/v1/adapters/${name}`, { method: "DELETE" });
  assert.equal(response.status, 200, await response.text());
}

/** The samples of `/metrics` by their series. */
export async function scrape(url: string): Promise<ReadonlyMap<string, number>> {
  const text = await (await fetch(`${url}/metrics`)).text();
  const lines = text.split("\n").filter((line) => line !== "" && !line.startsWith("#"));
  return new Map(
    lines.map((line) => [line.slice(0, line.lastIndexOf(" ")), Number(line.slice(line.lastIndexOf(" ") + 1))]),
  );
}
