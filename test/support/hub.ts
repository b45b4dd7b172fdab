/**
 * A hub on loopback that speaks Hugging Face's API: a list of files with their hashes, files by revision, large files behind a
 * redirect to another host, ranges, tokens, and faults on demand.
 */
import { createHash } from "node:crypto";
import { readdirSync, readFileSync } from "node:fs";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";

export interface HubRepository {
  readonly files: ReadonlyMap<string, Buffer>;
  /** Branches and tags besides main, each the same commit. */
  readonly revisions?: readonly string[];
  readonly baseModel?: string;
  /** Sizes that the list states in place of the files' own. */
  readonly sizes?: ReadonlyMap<string, number>;
  /** private: nobody knows of it without the token; gated: its files need the token. */
  readonly access?: "open" | "private" | "gated";
  /** Lists names alone, as some mirrors do. */
  readonly bare?: boolean;
}

/** A faulty response to the next request whose path ends in the given text. */
export interface HubFaultPlan {
  readonly path: string;
  readonly times?: number;
  readonly status?: number;
  readonly headers?: Readonly<Record<string, string>>;
  /** Sends so many bytes of the body, and breaks the connection. */
  readonly breakAfter?: number;
  /** Sends so many bytes, and then nothing. */
  readonly stallAfter?: number;
  /** Sends other bytes than the file's. */
  readonly wrong?: boolean;
  /** Ignores Range and sends the whole file. */
  readonly ignoreRange?: boolean;
}

export interface SeenRequest {
  readonly host: "hub" | "files";
  readonly method: string;
  readonly path: string;
  readonly range: string | null;
  readonly token: string | null;
}

export const hubToken = "hf_loopbackToken";
const largeBytes = 10_000;

/** A folder's files as a repository. */
export function repositoryOf(folder: string, names: readonly string[] = readdirSync(folder)): HubRepository {
  return { files: new Map(names.map((name) => [name, readFileSync(join(folder, name))])) };
}

export class LoopbackHub implements AsyncDisposable {
  readonly seen: SeenRequest[] = [];
  readonly #repositories = new Map<string, HubRepository>();
  readonly #faults: { plan: HubFaultPlan; left: number }[] = [];
  readonly #servers: Server[] = [];
  #hub = "";
  #filesHost = "";

  static async start(repositories: Readonly<Record<string, HubRepository>> = {}): Promise<LoopbackHub> {
    const hub = new LoopbackHub();
    for (const [id, repository] of Object.entries(repositories)) hub.#repositories.set(id, repository);
    hub.#hub = await hub.#listen("hub");
    // By another name: clients tell hosts apart by it, and keep the token for one.
    hub.#filesHost = (await hub.#listen("files")).replace("127.0.0.1", "localhost");
    return hub;
  }

  get endpoint(): string {
    return this.#hub;
  }

  set(id: string, repository: HubRepository): void {
    this.#repositories.set(id, repository);
  }

  fail(plan: HubFaultPlan): void {
    this.#faults.push({ plan, left: plan.times ?? 1 });
  }

  /** The commit of a repository: another once a file changes. */
  commitOf(id: string): string {
    const hash = createHash("sha1").update(id);
    for (const [name, bytes] of this.#repositories.get(id)?.files ?? []) hash.update(name).update(bytes);
    return hash.digest("hex");
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const server of this.#servers) {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    }
  }

  async #listen(host: SeenRequest["host"]): Promise<string> {
    const server = createServer((request, response) => this.#serve(host, request, response));
    this.#servers.push(server);
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  }

  #serve(host: SeenRequest["host"], request: IncomingMessage, response: ServerResponse): void {
    const url = new URL(request.url ?? "/", "http://hub");
    const path = decodeURIComponent(url.pathname);
    const token = request.headers.authorization?.replace(/^Bearer /, "") ?? null;
    const { method = "GET" } = request;
    this.seen.push({ host, method, path, range: request.headers.range ?? null, token });
    const fault = this.#faults.find(({ plan, left }) => left > 0 && method === "GET" && path.endsWith(plan.path));
    // A file that a redirect leads to breaks where its bytes are sent.
    const isApart = fault?.plan.status === undefined && this.#isRedirected(host, path);
    if (fault && !isApart) fault.left--;
    const plan: Partial<HubFaultPlan> = isApart ? {} : (fault?.plan ?? {});
    const api = /^\/api\/models\/([^/]+\/[^/]+)(?:\/(revision|tree)\/(.+))?$/.exec(path);
    const file = /^\/([^/]+\/[^/]+)\/resolve\/([^/]+|refs\/pr\/\d+)\/(.+)$/.exec(path);
    if (plan.status !== undefined) end(response, plan.status, plan.headers);
    else if (host === "files") this.#sendLarge(path, request, response, plan);
    else if (api) this.#sendApi(api[1] ?? "", api[2] ?? "revision", api[3] ?? "main", token, url, response);
    else if (file) this.#sendFile(file[1] ?? "", file[2] ?? "", file[3] ?? "", { token, request, response, plan });
    else end(response, 404);
  }

  #isRedirected(host: string, path: string): boolean {
    const [, id = "", name = ""] = /^\/([^/]+\/[^/]+)\/resolve\/[^/]+\/(.+)$/.exec(path) ?? [];
    const bytes = this.#repositories.get(id)?.files.get(name);
    return host === "hub" && bytes !== undefined && isLarge(name, bytes);
  }

  #knows(id: string, token: string | null): HubRepository | null {
    const repository = this.#repositories.get(id) ?? null;
    return repository?.access === "private" && token !== hubToken ? null : repository;
  }

  /** Answers for the repository where it must not be read; null where it may. */
  #find(id: string, revision: string, token: string | null, response: ServerResponse): HubRepository | null {
    if (token !== null && token !== hubToken && token !== "hf_other") {
      end(response, 401, { "x-error-message": "Invalid credentials in Authorization header" });
      return null;
    }
    const repository = this.#knows(id, token);
    if (repository === null) {
      end(response, token === null ? 401 : 404, { "x-error-code": "RepoNotFound" });
      return null;
    }
    if (["main", this.commitOf(id), ...(repository.revisions ?? [])].includes(revision)) return repository;
    end(response, 404, { "x-error-code": "RevisionNotFound" });
    return null;
  }

  #sendApi(id: string, what: string, revision: string, token: string | null, url: URL, response: ServerResponse): void {
    const repository = this.#find(id, revision, token, response);
    if (repository === null) return;
    const files = [...repository.files].map(([name, bytes]) => ({ name, bytes, large: isLarge(name, bytes) }));
    const lfs = (bytes: Buffer) => ({ sha256: sha256(bytes), size: bytes.length, pointerSize: 134 });
    if (what === "tree") {
      const entries = files.map(({ name, bytes, large }) => ({
        ...{ type: "file", path: name, size: bytes.length, oid: gitHash(bytes) },
        ...(large ? { lfs: { oid: sha256(bytes), size: bytes.length, pointerSize: 134 } } : {}),
      }));
      sendJson(response, entries);
      return;
    }
    const hasBlobs = url.searchParams.get("blobs") === "true" && repository.bare !== true;
    const siblings = files.map(({ name, bytes, large }) => ({
      rfilename: name,
      ...(hasBlobs
        ? {
            blobId: gitHash(bytes),
            size: repository.sizes?.get(name) ?? bytes.length,
            ...(large ? { lfs: lfs(bytes) } : {}),
          }
        : {}),
    }));
    const { baseModel } = repository;
    const cardData = baseModel === undefined ? {} : { base_model: baseModel };
    sendJson(response, {
      id,
      modelId: id,
      sha: this.commitOf(id),
      private: false,
      cardData,
      siblings,
      tags: [],
      downloads: 0,
    });
  }

  #sendFile(
    id: string,
    revision: string,
    name: string,
    asked: { token: string | null; request: IncomingMessage; response: ServerResponse; plan: Partial<HubFaultPlan> },
  ): void {
    const { token, request, response, plan } = asked;
    const repository = this.#find(id, revision, token, response);
    if (repository === null) return;
    const bytes = repository.files.get(name);
    const commit = { "x-repo-commit": this.commitOf(id) };
    if (repository.access === "gated" && token !== hubToken) {
      end(response, token === null ? 401 : 403, { "x-error-code": "GatedRepo" });
    } else if (bytes === undefined) {
      end(response, 404, { ...commit, "x-error-code": "EntryNotFound" });
    } else if (isLarge(name, bytes)) {
      const etag = `"${sha256(bytes)}"`;
      const location = `${this.#filesHost}/${id}/${sha256(bytes)}/${encodeURIComponent(name)}?signature=secret`;
      end(response, 302, { ...commit, "x-linked-etag": etag, "x-linked-size": String(bytes.length), location });
    } else {
      sendBytes(bytes, request, response, plan, { ...commit, etag: `"${gitHash(bytes)}"` });
    }
  }

  #sendLarge(path: string, request: IncomingMessage, response: ServerResponse, plan: Partial<HubFaultPlan>): void {
    const [, id = "", name = ""] = /^\/([^/]+\/[^/]+)\/[0-9a-f]{64}\/(.+)$/.exec(path) ?? [];
    const bytes = this.#repositories.get(id)?.files.get(name);
    if (bytes === undefined) end(response, 404);
    else sendBytes(bytes, request, response, plan, { etag: `"${sha256(bytes)}"` });
  }
}

const isLarge = (name: string, bytes: Buffer): boolean =>
  /\.(safetensors|bin|gguf)$/.test(name) || bytes.length > largeBytes;
const sha256 = (bytes: Buffer): string => createHash("sha256").update(bytes).digest("hex");
const gitHash = (bytes: Buffer): string =>
  createHash("sha1").update(`blob ${bytes.length}\0`).update(bytes).digest("hex");

function end(response: ServerResponse, status: number, headers: Readonly<Record<string, string>> = {}): void {
  response.writeHead(status, headers).end();
}

function sendJson(response: ServerResponse, value: unknown): void {
  response.writeHead(200, { "content-type": "application/json" }).end(JSON.stringify(value));
}

function sendBytes(
  bytes: Buffer,
  request: IncomingMessage,
  response: ServerResponse,
  plan: Partial<HubFaultPlan>,
  headers: Readonly<Record<string, string>>,
): void {
  const asked = plan.ignoreRange ? undefined : /^bytes=(\d+)-$/.exec(request.headers.range ?? "")?.[1];
  const start = Number(asked ?? 0);
  const part = plan.wrong ? Buffer.alloc(bytes.length - start, 7) : bytes.subarray(start);
  const range = asked === undefined ? {} : { "content-range": `bytes ${start}-${bytes.length - 1}/${bytes.length}` };
  const { breakAfter, stallAfter } = plan;
  if (asked !== undefined && start >= bytes.length) {
    end(response, 416, { "content-range": `bytes */${bytes.length}` });
    return;
  }
  const status = asked === undefined ? 200 : 206;
  response.writeHead(status, { ...headers, ...range, "accept-ranges": "bytes", "content-length": part.length });
  if (request.method === "HEAD") response.end();
  else if (breakAfter !== undefined) response.write(part.subarray(0, breakAfter), () => response.destroy());
  else if (stallAfter !== undefined) response.write(part.subarray(0, stallAfter));
  else response.end(part);
}
