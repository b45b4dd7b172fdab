/** OpenAI's model objects, with vLLM's additions. */
import type { Model } from "../catalog.js";

export interface ModelObject {
  readonly id: string;
  readonly object: "model";
  readonly created: number;
  readonly owned_by: "lorikeet";
  readonly root: string;
  readonly parent: string | null;
  /** null for models without a context. */
  readonly max_model_len: number | null;
  /** Tokens of the longest answer; null where it shares the context with the prompt, or there is none. */
  readonly max_output_tokens: number | null;
  /** What it is for, by Hugging Face's names. */
  readonly tasks: readonly string[];
}

export function modelObject({ name, createdAt, root, parent, maxContext, maxGenerated, tasks }: Model): ModelObject {
  return {
    id: name,
    object: "model",
    created: Math.floor(createdAt / 1000),
    owned_by: "lorikeet",
    root,
    parent,
    max_model_len: maxContext,
    max_output_tokens: maxGenerated,
    tasks,
  };
}
