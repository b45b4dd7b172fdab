/** What a model's outputs can answer: a request that names no model goes to the only base that gives what its route answers. */

import type { TaskPort, TaskSignature } from "../../engine/task/types.js";
import type { RowTokenizer } from "../../text/tokenizer/row-tokenizer.js";

export interface AnsweringParts {
  readonly signature: TaskSignature;
  /** `pooling`: how the states of tokens become one vector, or why they cannot. */
  readonly head: {
    readonly labels: readonly string[] | null;
    readonly pooling: readonly string[] | { readonly refusal: string };
  };
  /** null: it takes no texts. */
  readonly tokenizer: Pick<RowTokenizer, "vocabSize"> | null;
}

/** The output of a name if it has so many axes. An output of unknown shape may have any number. */
function outputOf(outputs: readonly TaskPort[], name: string, axes: number): TaskPort | undefined {
  return outputs.find((port) => port.name === name && (port.shape === null || port.shape.length === axes));
}

const givesTokenVectors = ({ signature: { outputs } }: AnsweringParts): boolean =>
  ["last_hidden_state", "token_embeddings"].some((name) => outputOf(outputs, name, 3));

const givesVectors = (parts: AnsweringParts): boolean =>
  !("refusal" in parts.head.pooling) &&
  (outputOf(parts.signature.outputs, "sentence_embedding", 2) !== undefined || givesTokenVectors(parts));

/** Whether a model reads two texts together and scores how well they fit: it has one label. `named`: its own labels. */
export function scoresPairs(outputs: readonly TaskPort[], named: readonly string[] | null): boolean {
  const logits = outputOf(outputs, "logits", 2);
  return logits !== undefined && (named?.length ?? logits.shape?.[1]) === 1;
}

const answerable = {
  vectors: givesVectors,
  tokenVectors: givesTokenVectors,
  labels: ({ signature }) => outputOf(signature.outputs, "logits", 2) !== undefined,
  tokenLabels: ({ signature }) => outputOf(signature.outputs, "logits", 3) !== undefined,
  /** Of every entry of the vocabulary. */
  sparseVectors: ({ signature, tokenizer }) => {
    const logits = outputOf(signature.outputs, "logits", 3);
    const size = logits?.shape?.[2];
    return logits !== undefined && (typeof size !== "number" || size >= (tokenizer?.vocabSize ?? 0));
  },
  pairScores: (parts) => scoresPairs(parts.signature.outputs, parts.head.labels) || givesVectors(parts),
} as const satisfies Readonly<Record<string, (parts: AnsweringParts) => boolean>>;

/** What a route of texts answers with. */
export type TextAnswer = keyof typeof answerable;

export const textAnswers = Object.keys(answerable) as readonly TextAnswer[];

/** Whether the base does, without an adapter, whose head may answer more. */
export const answersTexts = (parts: AnsweringParts, answer: TextAnswer): boolean =>
  parts.tokenizer !== null && answerable[answer](parts);
