/** A client for the adapter routes of a running server. */

import { Readable } from "node:stream";
import { packTar } from "../../adapter/upload/upload.js";
import { address } from "../options/units.js";
import { RemoteError, UsageError } from "../usage.js";

export interface RemoteServer {
  /** Resolves with the response's JSON. Rejects with a RemoteError. */
  list(): Promise<unknown>;
  /** Uploads a PEFT folder, except files that a store ignores. Without a base, the server finds it. */
  put(name: string, folder: string, base?: string): Promise<unknown>;
  remove(name: string): Promise<unknown>;
  /** Downloads the adapter's folder as a tar. */
  download(name: string): Promise<Readable>;
}

/** Pass a null `key` if the server needs none. Throws a UsageError unless the URL is an HTTP address. */
export function remoteServer(url: string, key: string | null): RemoteServer {
  const base = parseBase(url);
  const headers: Record<string, string> = key === null ? {} : { authorization: `Bearer ${key}` };
  const at = (name: string): URL => new URL(`v1/adapters/${encodeURIComponent(name)}`, base);
  return {
    list: () => ask(new URL("v1/adapters", base), { headers }),
    remove: (name) => ask(at(name), { method: "DELETE", headers }),
    put: (name, folder, ofBase) =>
      ask(ofBase === undefined ? at(name) : new URL(`?base=${encodeURIComponent(ofBase)}`, at(name)), {
        method: "PUT",
        headers: { ...headers, "content-type": "application/x-tar" },
        body: ReadableStream.from(packTar(folder)),
        duplex: "half",
      }),
    async download(name) {
      const { body } = await answerOf(new URL(`${at(name).href}/download`), { headers });
      return Readable.from(buffersOf(body), { objectMode: false });
    },
  };
}

function parseBase(url: string): URL {
  try {
    address(url);
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    throw new UsageError([`--url ${reason}, not ${JSON.stringify(url)}.`]);
  }
  return new URL(url.endsWith("/") ? url : `${url}/`);
}

async function ask(url: URL, init: RequestInit): Promise<unknown> {
  return parseJson(await (await answerOf(url, init)).text());
}

/** The response, if it is a success. */
async function answerOf(url: URL, init: RequestInit): Promise<Response> {
  let response: Response;
  try {
    response = await fetch(url, init);
  } catch (error) {
    const cause = error instanceof Error && error.cause instanceof Error ? error.cause : error;
    if (cause instanceof Error && cause.message === "bad port") {
      const why = `port ${url.port} belongs to another protocol, and Node.js refuses to send HTTP requests there`;
      throw new RemoteError(`${url.origin} cannot be reached: ${why}. Run the server on another --port.`);
    }
    const reason = cause instanceof Error && "code" in cause ? String(cause.code) : String(cause);
    throw new RemoteError(`${url.origin} does not answer (${reason}).`);
  }
  if (response.ok) return response;
  const text = await response.text();
  const { message, faults } = faultOf(parseJson(text));
  if (response.status === 401) {
    const how = "set LORIKEET_API_KEY, or give a file with a key as --api-key-file";
    throw new RemoteError(`${url.origin} answered 401: it needs one of its API keys; ${how}.`);
  }
  throw new RemoteError(`${url.origin} answered ${response.status}: ${message ?? text.slice(0, 500)}`, faults);
}

async function* buffersOf(body: Response["body"]): AsyncGenerator<Buffer> {
  for await (const chunk of body ?? []) yield Buffer.from(chunk);
}

function parseJson(text: string): unknown {
  try {
    return text === "" ? null : JSON.parse(text);
  } catch {
    return null;
  }
}

/** The message and faults of an error in OpenAI's format. */
function faultOf(body: unknown): { readonly message: string | null; readonly faults: readonly string[] } {
  if (typeof body !== "object" || body === null || !("error" in body)) return { message: null, faults: [] };
  const { error } = body;
  if (typeof error !== "object" || error === null || !("message" in error)) return { message: null, faults: [] };
  const faults = "faults" in error && Array.isArray(error.faults) ? error.faults.map(String) : [];
  return { message: String(error.message), faults };
}
