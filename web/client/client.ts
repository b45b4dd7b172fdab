/** The server's HTTP API. Holds the key, and turns every refusal into an ApiError. */
import { type ApiError, bodyOf, errorOf, noAnswer } from "./errors.js";
import { FineTuningClient } from "./fine-tuning.js";
import type { ModelMetadata } from "./tensors.js";
import type { AdapterCard, AdapterInfo, ModelInfo, ServerInfo, Stored } from "./types.js";

/** Sends an upload and reports the bytes sent. A browser needs XMLHttpRequest for that. */
export type SendUpload = (
  url: string,
  headers: Readonly<Record<string, string>>,
  body: Blob,
  onProgress: (sent: number) => void,
  signal?: AbortSignal,
) => Promise<{ readonly status: number; readonly text: string }>;

export interface ClientOptions {
  /** The folder of the API's paths, with a slash at its end. */
  readonly baseUrl: string;
  readonly key?: string | null;
  readonly sendUpload?: SendUpload;
}

export interface UploadOptions {
  readonly replace: boolean;
  /** The served name of the adapter's base; null: the server finds it. */
  readonly base?: string | null;
  readonly onProgress?: (sent: number) => void;
  /** Ends the upload. Then it throws ApiError `no_answer`, though the server may have stored it already. */
  readonly signal?: AbortSignal;
}

/** Asks for a path and throws ApiError for a refusal. */
export type Call = (path: string, init?: RequestInit) => Promise<Response>;

export type Readiness = "ready" | "loading" | "draining";

/** What a refusal says of the server as a whole. */
export const readinessOf = ({ code }: ApiError): Readiness => (code === "draining" ? "draining" : "loading");

interface List<Item> {
  readonly data: readonly Item[];
}

export class ApiClient {
  readonly #baseUrl: string;
  readonly #headers: Readonly<Record<string, string>>;
  readonly #sendUpload: SendUpload;
  readonly fineTuning = new FineTuningClient((path, init) => this.#checked(path, init));

  constructor({ baseUrl, key = null, sendUpload = fetchUpload }: ClientOptions) {
    this.#baseUrl = baseUrl;
    this.#headers = key === null ? {} : { authorization: `Bearer ${key}` };
    this.#sendUpload = sendUpload;
  }

  /** `signal`: how long to wait. A server that hangs takes connections and says nothing. */
  server(signal?: AbortSignal): Promise<ServerInfo> {
    return this.#json("", { headers: { accept: "application/json" }, ...within(signal) });
  }

  /** Whether requests are taken. Needs no key. Throws ApiError `no_answer`. */
  async readiness(signal?: AbortSignal): Promise<Readiness> {
    const response = await this.#ask("ready", within(signal));
    return response.ok ? "ready" : readinessOf(errorOf(response.status, await bodyOf(response.text())));
  }

  async models(): Promise<readonly ModelInfo[]> {
    return (await this.#json<List<ModelInfo>>("v1/models")).data;
  }

  async adapters(): Promise<readonly AdapterInfo[]> {
    return (await this.#json<List<AdapterInfo>>("v1/adapters")).data;
  }

  adapter(name: string): Promise<AdapterInfo> {
    return this.#json(adapterPath(name));
  }

  card(name: string): Promise<AdapterCard> {
    return this.#json(`${adapterPath(name)}/card`);
  }

  /** What the author of a base, or of an adapter, wrote. */
  modelCard(name: string): Promise<AdapterCard> {
    return this.#json(`v1/models/${modelPath(name)}/card`);
  }

  /** Stores a tar of a PEFT folder. `replace` false throws `precondition_failed` for a name that exists. */
  async upload(
    name: string,
    tar: Blob,
    { replace, base = null, onProgress = () => {}, signal }: UploadOptions,
  ): Promise<Stored> {
    const headers = {
      ...this.#headers,
      "content-type": "application/x-tar",
      ...(replace ? {} : { "if-none-match": "*" }),
    };
    const query = base === null ? "" : `?${new URLSearchParams({ base })}`;
    const url = this.#baseUrl + adapterPath(name) + query;
    const { status, text } = await this.#sendUpload(url, headers, tar, onProgress, signal);
    if (status === 0) throw noAnswer();
    if (status >= 400) throw errorOf(status, text);
    return JSON.parse(text);
  }

  pin(name: string, pinned: boolean): Promise<AdapterInfo> {
    return this.#json(adapterPath(name), {
      method: "PATCH",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({ pinned }),
    });
  }

  async remove(name: string): Promise<void> {
    await this.#json(adapterPath(name), { method: "DELETE" });
  }

  /** The PEFT folder as a tar. */
  async download(name: string): Promise<Blob> {
    return bodyOf((await this.#checked(`${adapterPath(name)}/download`)).blob());
  }

  /** Hugging Face's pipeline of a task, on a picture's bytes or on what JSON holds, such as a text. */
  pipeline(name: string, task: string, input: string | object | Blob): Promise<unknown> {
    const isPicture = input instanceof Blob;
    return this.#json(`v1/models/${modelPath(name)}/pipeline/${task}`, {
      method: "POST",
      headers: { "content-type": isPicture ? input.type || "application/octet-stream" : "application/json" },
      body: isPicture ? input : JSON.stringify({ inputs: input }),
    });
  }

  /** What a model takes and gives. */
  metadata(name: string): Promise<ModelMetadata> {
    return this.#json(`v2/models/${modelPath(name)}`);
  }

  /** In Prometheus' text form. */
  async metrics(signal?: AbortSignal): Promise<string> {
    return bodyOf((await this.#checked("metrics", within(signal))).text());
  }

  async #json<Answer>(path: string, init: RequestInit = {}): Promise<Answer> {
    return bodyOf((await this.#checked(path, init)).json() as Promise<Answer>);
  }

  async #checked(path: string, init: RequestInit = {}): Promise<Response> {
    const response = await this.#ask(path, init);
    if (response.ok) return response;
    throw errorOf(response.status, await bodyOf(response.text()));
  }

  async #ask(path: string, init: RequestInit = {}): Promise<Response> {
    const headers = { ...this.#headers, ...(init.headers as Record<string, string> | undefined) };
    try {
      return await fetch(this.#baseUrl + path, { ...init, headers });
    } catch {
      throw noAnswer();
    }
  }
}

const within = (signal: AbortSignal | undefined): RequestInit => (signal === undefined ? {} : { signal });

const adapterPath = (name: string): string => `v1/adapters/${encodeURIComponent(name)}`;

const modelPath = (name: string): string => name.split("/").map(encodeURIComponent).join("/");

const fetchUpload: SendUpload = async (url, headers, body, onProgress, signal) => {
  const init = { method: "PUT", headers: { ...headers }, body, ...within(signal) };
  const response = await fetch(url, init).catch((): ApiError => noAnswer());
  if ("code" in response) throw response;
  onProgress(body.size);
  return { status: response.status, text: await bodyOf(response.text()) };
};
