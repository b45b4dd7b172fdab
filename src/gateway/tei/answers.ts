/** Answers of text-embeddings-inference's routes. */

import { ranked } from "../tasks/scores.js";
import type { Classified, TextHead } from "../tasks/text-tasks.js";
import type { TokenizedText } from "../tasks/text-tokens.js";
import type { PredictRequest, RankRequest } from "./body.js";

export function predictAnswer(classified: readonly Classified[], { isSingle }: PredictRequest) {
  const rows = classified.map(({ labels, scores }) =>
    Array.from(scores, (score, index) => ({ score, label: labels[index] ?? "" })).sort((a, b) => b.score - a.score),
  );
  return isSingle ? (rows[0] ?? []) : rows;
}

export const rankAnswer = (scores: readonly number[], { pairs, withTexts }: RankRequest) =>
  ranked(scores).map(({ score, index }) => ({ index, ...(withTexts && { text: pairs[index]?.pair }), score }));

/** The tokens of each text, with their places in it. */
export function tokenizeAnswer(rows: readonly TokenizedText[], texts: readonly string[]) {
  return rows.map(({ ids, sources, spans, spellings }, row) => {
    const characters = Array.from(texts[row] ?? "");
    return ids.map((id, index) => {
      const special = sources[index] === null;
      const [start, stop] = special ? [null, null] : (spans[index] ?? [null, null]);
      const text = start === null || stop === null ? spellings[index] : characters.slice(start, stop).join("");
      return { id, text, special, start, stop };
    });
  });
}

export interface ServedModel {
  readonly name: string;
  readonly version: string;
  readonly head: TextHead;
  readonly maxLength: number | null;
  readonly maxRows: number;
  readonly maxQueue: number;
  readonly maxBatch: number;
}

/** What the server says of its base. */
export function infoAnswer({ name, version, head, maxLength, maxRows, maxQueue, maxBatch }: ServedModel) {
  return {
    model_id: name,
    model_sha: null,
    model_dtype: "float32",
    model_type: modelType(head),
    max_concurrent_requests: maxQueue,
    max_input_length: maxLength,
    max_batch_tokens: maxLength === null ? null : maxLength * maxBatch,
    max_batch_requests: maxBatch,
    max_client_batch_size: maxRows,
    auto_truncate: false,
    tokenization_workers: 1,
    version,
    sha: null,
    docker_label: null,
  };
}

function modelType({ labels, pooling }: TextHead) {
  if (labels === null) return { embedding: { pooling: "refusal" in pooling ? null : pooling.join("+") } };
  const described = {
    id2label: Object.fromEntries(labels.map((label, index) => [index, label])),
    label2id: Object.fromEntries(labels.map((label, index) => [label, index])),
  };
  return labels.length === 1 ? { reranker: described } : { classifier: described };
}
