/** Speaks to a running server for the `adapters` command: its HTTP interface, nothing of its insides. */

import { createReadStream } from "node:fs";
import { stat } from "node:fs/promises";
import { join } from "node:path";
import { RemoteError, UsageError } from "./usage.js";

export interface RemoteServer {
  /** Resolves with the answer's JSON. Rejects with a RemoteError. */
  list(): Promise<unknown>;
  /** Uploads a PEFT folder's config and weights. */
  put(name: string, folder: string, weights: string): Promise<unknown>;
  remove(name: string): Promise<unknown>;
}

/** Throws a UsageError for what is no http address. */
export function remoteServer(url: string): RemoteServer {
  const base = parseBase(url);
  const at = (name: string): URL => new URL(`v1/adapters/${encodeURIComponent(name)}`, base);
  return {
    list: () => ask(new URL("v1/adapters", base)),
    remove: (name) => ask(at(name), { method: "DELETE" }),
    async put(name, folder, weights) {
      const upload = await multipart([
        { field: "config", file: join(folder, "adapter_config.json"), type: "application/json" },
        { field: "weights", file: join(folder, weights), type: "application/octet-stream" },
      ]);
      return ask(at(name), {
        method: "PUT",
        headers: upload.headers,
        body: upload.body,
        duplex: "half",
      });
    },
  };
}

function parseBase(url: string): URL {
  const base = URL.canParse(url) ? new URL(url.endsWith("/") ? url : `${url}/`) : null;
  if (base?.protocol === "http:" || base?.protocol === "https:") return base;
  throw new UsageError([`--url must be an address such as http://127.0.0.1:8080, not ${JSON.stringify(url)}.`]);
}

async function ask(url: URL, init: RequestInit = {}): Promise<unknown> {
  let response: Response;
  try {
    response = await fetch(url, init);
  } catch (error) {
    const cause = error instanceof Error && error.cause instanceof Error ? error.cause : error;
    const reason = cause instanceof Error && "code" in cause ? String(cause.code) : String(cause);
    throw new RemoteError(`${url.origin} does not answer (${reason}).`);
  }
  const text = await response.text();
  const body = parseJson(text);
  if (response.ok) return body;
  throw new RemoteError(`${url.origin} answered ${response.status}: ${messageOf(body) ?? text.slice(0, 500)}`);
}

function parseJson(text: string): unknown {
  try {
    return text === "" ? null : JSON.parse(text);
  } catch {
    return null;
  }
}

/** The message of an error in OpenAI's shape, with every further fault. */
function messageOf(body: unknown): string | null {
  if (typeof body !== "object" || body === null || !("error" in body)) return null;
  const { error } = body;
  if (typeof error !== "object" || error === null || !("message" in error)) return null;
  return String(error.message);
}

interface Part {
  readonly field: string;
  readonly file: string;
  readonly type: string;
}

/** A multipart body that is read from disk as it is sent, with its length known beforehand. */
async function multipart(parts: readonly Part[]): Promise<{ headers: Record<string, string>; body: ReadableStream }> {
  const boundary = `lorikeet-${crypto.randomUUID()}`;
  const heads = parts.map(({ field, type }) =>
    Buffer.from(
      `--${boundary}\r\ncontent-disposition: form-data; name="${field}"; filename="${field}"\r\ncontent-type: ${type}\r\n\r\n`,
    ),
  );
  const end = Buffer.from(`--${boundary}--\r\n`);
  const sizes = await Promise.all(parts.map(async ({ file }) => (await stat(file)).size));
  const length = sizes.reduce((sum, size, index) => sum + size + (heads[index]?.length ?? 0) + 2, end.length);
  async function* chunks(): AsyncGenerator<Uint8Array> {
    for (const [index, { file }] of parts.entries()) {
      yield heads[index] ?? end;
      for await (const chunk of createReadStream(file)) yield chunk;
      yield Buffer.from("\r\n");
    }
    yield end;
  }
  return {
    headers: { "content-type": `multipart/form-data; boundary=${boundary}`, "content-length": String(length) },
    body: ReadableStream.from(chunks()),
  };
}
