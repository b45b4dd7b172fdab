/**
 * Sends requests to one hub. The token goes only to the hub's own origin, never along a redirect to the storage of large files.
 * Every wait is bounded.
 */

import { type Asked, faultOf, hubFault, TemporaryFault } from "./faults.js";
import { Pace } from "./pace.js";
import type { Kind, Repository } from "./repository.js";

export interface ConnectionOptions {
  readonly endpoint: string;
  readonly token: string | null;
  /** The requested kind, for messages; null if either will do. */
  readonly kind: Kind | null;
  readonly userAgent: string;
  readonly answerTimeoutMs: number;
  readonly stallTimeoutMs: number;
  readonly signal: AbortSignal;
}

const maxRedirects = 5;
const redirects: ReadonlySet<number> = new Set([301, 302, 303, 307, 308]);

/** A response whose body is read in pieces. Disposing of it closes the connection. */
export interface Answer extends Disposable {
  readonly status: number;
  readonly headers: Headers;
  /** Throws TemporaryFault if the transfer breaks or stalls. */
  pieces(): AsyncGenerator<Uint8Array>;
}

export class HubConnection {
  readonly #options: ConnectionOptions;
  readonly #origin: string;

  constructor(options: ConnectionOptions) {
    this.#options = options;
    this.#origin = new URL(options.endpoint).origin;
  }

  /** Fetches JSON of at most `maxBytes`. */
  async json(path: string, repository: Repository, maxBytes: number): Promise<unknown> {
    using answer = await this.get(path, repository);
    const pieces: Uint8Array[] = [];
    let size = 0;
    for await (const piece of answer.pieces()) {
      size += piece.length;
      if (size > maxBytes) throw this.#notAHub(`a response of more than ${maxBytes} bytes`);
      pieces.push(piece);
    }
    try {
      return JSON.parse(Buffer.concat(pieces).toString("utf8"));
    } catch {
      throw this.#notAHub("a response that is not JSON");
    }
  }

  /**
   * Resolves with a successful response (200 or 206), or with 416 for a range. Throws TemporaryFault, or a LorikeetError that
   * says what to do.
   */
  async get(path: string, repository: Repository, headers: Readonly<Record<string, string>> = {}): Promise<Answer> {
    let url = new URL(this.#options.endpoint + path);
    for (let hops = 0; hops <= maxRedirects; hops++) {
      const answer = await this.#request(url, headers);
      if (redirects.has(answer.status)) {
        answer[Symbol.dispose]();
        url = this.#follow(url, answer.headers.get("location"));
      } else if (answer.status === 200 || answer.status === 206 || (answer.status === 416 && headers.range)) {
        return answer;
      } else {
        answer[Symbol.dispose]();
        throw faultOf(answer, this.#asked(url, repository));
      }
    }
    throw this.#notAHub(`more than ${maxRedirects} redirects`);
  }

  /** The headers that describe a file. They come from the hub itself, even if it redirects to the bytes. */
  async head(path: string, repository: Repository): Promise<Headers> {
    let url = new URL(this.#options.endpoint + path);
    for (let hops = 0; hops <= maxRedirects; hops++) {
      using answer = await this.#request(url, {}, "HEAD");
      const { status, headers } = answer;
      if (status === 200 || (redirects.has(status) && headers.has("x-linked-etag"))) return headers;
      if (!redirects.has(status)) throw faultOf(answer, this.#asked(url, repository));
      url = this.#follow(url, headers.get("location"));
    }
    throw this.#notAHub(`more than ${maxRedirects} redirects`);
  }

  async #request(url: URL, headers: Readonly<Record<string, string>>, method = "GET"): Promise<Answer> {
    const { token, userAgent, answerTimeoutMs, stallTimeoutMs, signal } = this.#options;
    const isHub = url.origin === this.#origin;
    const controller = new AbortController();
    const end = (): void => controller.abort(signal.reason);
    signal.throwIfAborted();
    signal.addEventListener("abort", end, { once: true });
    const dispose = (): void => {
      signal.removeEventListener("abort", end);
      controller.abort();
    };
    try {
      const response = await within(answerTimeoutMs, `${url.host} did not answer`, () =>
        fetch(url, {
          method,
          redirect: "manual",
          signal: controller.signal,
          headers: {
            ...headers,
            "user-agent": userAgent,
            // Ranges and hashes are of the bytes as stored.
            "accept-encoding": "identity",
            ...(token !== null && isHub ? { authorization: `Bearer ${token}` } : {}),
          },
        }),
      );
      return {
        status: response.status,
        headers: response.headers,
        pieces: () => readBody(response, stallTimeoutMs, url.host),
        [Symbol.dispose]: dispose,
      };
    } catch (error) {
      dispose();
      signal.throwIfAborted();
      throw error instanceof TemporaryFault ? error : connectionFault(error, `${url.host} does not answer`);
    }
  }

  #follow(from: URL, location: string | null): URL {
    const to = location !== null && URL.canParse(location, from.href) ? new URL(location, from) : null;
    const isSafe = to?.protocol === "https:" || (to?.protocol === "http:" && from.protocol === "http:");
    if (to === null || !isSafe || to.username !== "" || to.password !== "") {
      throw this.#notAHub("an unsafe redirect");
    }
    return to;
  }

  #asked(url: URL, repository: Repository): Asked {
    const { endpoint, token, kind } = this.#options;
    return { host: url.host, endpoint, repository, kind, hasToken: token !== null };
  }

  #notAHub(what: string) {
    const { host } = new URL(this.#options.endpoint);
    return hubFault("hub_invalid", `${host} sent ${what}, which a Hugging Face hub does not: is HF_ENDPOINT right?`);
  }
}

async function* readBody({ body }: Response, stallMs: number, host: string): AsyncGenerator<Uint8Array> {
  if (body === null) return;
  const reader = body.getReader();
  const pace = new Pace(performance.now());
  try {
    for (;;) {
      const { done, value } = await within(stallMs, `${host} sent nothing`, () => reader.read());
      if (done) return;
      if (!pace.isKept(performance.now(), value.length)) throw new TemporaryFault(`${host} sends too slowly`);
      yield value;
    }
  } catch (error) {
    throw error instanceof TemporaryFault ? error : connectionFault(error, `the transfer from ${host} broke`);
  } finally {
    reader.cancel().catch(() => {}); // it has failed already
  }
}

/** Throws TemporaryFault if the task takes longer. The caller must abort the task. */
async function within<T>(limitMs: number, what: string, task: () => Promise<T>): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new TemporaryFault(`${what} for ${limitMs / 1000} s`)), limitMs);
  });
  try {
    const running = task();
    running.catch(() => {}); // it may fail after the time limit
    return await Promise.race([running, late]);
  } finally {
    clearTimeout(timer);
  }
}

/** Keeps only the error code of what `fetch` threw: its message may hold a signed URL. */
function connectionFault(error: unknown, what: string): TemporaryFault {
  const cause = error instanceof Error && error.cause instanceof Error ? error.cause : error;
  const code = cause instanceof Error && "code" in cause ? String(cause.code) : null;
  return new TemporaryFault(code === null ? what : `${what} (${code})`);
}
