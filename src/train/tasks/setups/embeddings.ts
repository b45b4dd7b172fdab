/** Embeddings of texts, from pairs or triples. */

import { LorikeetError } from "../../../base/errors.js";
import { textOf } from "../../data/rows.js";
import { type TextParts, textInputs } from "../inputs/text-inputs.js";
import { embeddings } from "../objectives/embeddings.js";
import type { RowReader } from "../task-data.js";
import { requireTokenizer, type SetupParts, type TaskSetup } from "./setup.js";

export function featureExtraction(parts: SetupParts): TaskSetup {
  const { graph, head } = parts;
  const tokenizer = requireTokenizer(parts);
  const limit = parts.maxLength ?? undefined;
  const reader: RowReader = {
    kind: "pair",
    forms: [
      { required: ["anchor", "positive"], example: { anchor: "a fine film", positive: "what a good movie" } },
      {
        required: ["anchor", "positive", "negative"],
        example: { anchor: "a fine film", positive: "what a good movie", negative: "a dull film" },
      },
    ],
    async read(fields, place) {
      const names = [
        "anchor",
        "positive",
        ...(fields.negative === undefined || fields.negative === null ? [] : ["negative"]),
      ];
      const source = await Promise.all(
        names.map((name) => tokenizer.encodeRow({ text: textOf(fields, name) }, { truncate: true, maxLength: limit })),
      );
      return { source, target: null, size: Math.max(...source.map(({ ids }) => ids.length)), place };
    },
  };
  return {
    reader,
    inputs: textInputs(graph, tokenizer),
    savesHeads: false,
    objective({ train, valid, test }) {
      const rows = [...train, ...valid, ...test].map(({ source }) => (source as TextParts).length);
      const [parts = 2] = rows;
      if (rows.some((count) => count !== parts)) {
        const message = "The data mixes rows with and without `negative`; one form is trained at a time.";
        throw new LorikeetError("data_invalid", message, { param: "--data" });
      }
      const whole = graph.outputs.find(({ name }) => name === "sentence_embedding")?.name;
      const tokens = graph.outputs.find(
        ({ name }) => name === "last_hidden_state" || name === "token_embeddings",
      )?.name;
      const output = whole ?? tokens;
      const { pooling } = head;
      if (output === undefined || typeof pooling === "object") {
        const clause =
          typeof pooling === "object" ? pooling.refusal : "has no output sentence_embedding or last_hidden_state";
        throw new LorikeetError("model_unsupported", `The model ${clause}.`, { param: "--task" });
      }
      const shape = { output, pooling: whole === undefined ? pooling : null, candidates: parts - 1 };
      return { objective: embeddings(shape), labels: null, freshHead: null };
    },
  };
}
