/** The server's objects, as far as the page reads them. */

export interface ServerInfo {
  readonly name: string;
  /** Identifies the process: it changes with each start. */
  readonly instance: string;
  /** null while they load. */
  readonly bases: readonly BaseInfo[] | null;
  /** What the page's key may do besides asking models. */
  readonly permissions: { readonly adapters: boolean; readonly fine_tuning: boolean };
}

/** A base model, whether it generates text, and the task that it was made for, by Hugging Face's name; null: none but text. */
export interface BaseInfo {
  readonly name: string;
  readonly text: boolean;
  readonly task: string | null;
  /** What it is for, by Hugging Face's names; its adapters may do other things. */
  readonly tasks: readonly string[];
  /** What fine-tuning jobs train for it, the usual task first; empty: nothing. */
  readonly trains: readonly string[];
}

export interface ModelInfo {
  readonly id: string;
  readonly root: string;
  /** null for the base. */
  readonly parent: string | null;
  readonly max_model_len: number | null;
  readonly max_output_tokens: number | null;
  readonly tasks: readonly string[];
}

export type Tier = "device" | "host" | "disk";

/** Times are seconds since 1970. */
export interface AdapterInfo {
  readonly name: string;
  /** The name of its base. */
  readonly base: string | null;
  /** What it is for, by Hugging Face's names. */
  readonly tasks: readonly string[];
  readonly digest: string;
  /** Adapters that share it share their place in memory. */
  readonly weights_digest: string;
  readonly rank: number;
  readonly dora: boolean;
  readonly modules: number;
  readonly bytes: number;
  readonly source: "store" | "folder" | "base";
  /** The fine-tuning job of this server that trained it. */
  readonly job: string | null;
  readonly created: number;
  readonly tier: Tier;
  readonly pinned: boolean;
  readonly in_flight: number;
  readonly last_used: number | null;
  readonly counts: { readonly requests: number; readonly prompt_tokens: number; readonly completion_tokens: number };
  readonly warnings: readonly string[];
  readonly ignored: readonly string[];
}

export interface Stored extends AdapterInfo {
  readonly outcome: "created" | "replaced" | "identical";
}

/** What to try an adapter with, as its author wrote it: a text, or a picture as a `data:` URL. */
export interface Example {
  readonly title: string | null;
  readonly text: string | null;
  readonly picture: string | null;
  readonly parameters: ExampleParameters;
}

/** How the answer to an example should be sampled; null: as the reader likes. */
export interface ExampleParameters {
  readonly temperature: number | null;
  readonly top_p: number | null;
  readonly max_tokens: number | null;
}

/** What the files of an adapter or a base say about it. Untrusted text. */
export interface AdapterCard {
  readonly name: string;
  /** Markdown without its front matter. */
  readonly readme: string | null;
  readonly examples: readonly Example[];
  readonly labels: readonly string[];
  readonly target_modules: readonly string[];
  /** `lorikeet.json`, which the training wrote. */
  readonly training: unknown;
  /** An SVG of the training's curves. */
  readonly chart: string | null;
}

export interface WeightedAdapter {
  readonly name: string;
  readonly weight: number;
}

export interface Sampling {
  readonly max_tokens: number;
  readonly temperature: number;
  readonly top_p: number;
  readonly seed?: number;
}

export interface ChatMessage {
  readonly role: "system" | "user" | "assistant";
  readonly content: string;
}

interface Asked extends Sampling {
  readonly model?: string;
  readonly adapters?: readonly WeightedAdapter[];
}

export interface CompletionBody extends Asked {
  readonly prompt: string;
  /** Alternatives of each token. */
  readonly logprobs?: number;
}

export interface ChatBody extends Asked {
  readonly messages: readonly ChatMessage[];
  readonly logprobs?: boolean;
  readonly top_logprobs?: number;
}

/** A request of the WebSocket. */
export type Ask =
  | { readonly type: "completions"; readonly body: CompletionBody }
  | { readonly type: "chat.completions"; readonly body: ChatBody };

export interface Usage {
  readonly prompt_tokens: number;
  readonly completion_tokens: number;
  readonly prompt_tokens_details?: { readonly cached_tokens: number };
}

/** The end of an answer. */
export interface Done {
  readonly usage: Usage;
  readonly lorikeet: {
    readonly adapter: string | null;
    readonly digest: string | null;
    readonly queue_ms: number | null;
    readonly time_to_first_token_ms: number | null;
  };
}
