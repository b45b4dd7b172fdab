/** Embeddings of texts, from pairs or triples, or from pairs with scores. */

import { LorikeetError } from "../../../base/errors.js";
import { plainPooling } from "../../../model/task/sentence-modules.js";
import { type Fields, RowFault, shown, textOf } from "../../data/rows.js";
import { type TextParts, textInputs } from "../inputs/text-inputs.js";
import { embeddings, scoredPairs, shownCosines, shownNearest } from "../objectives/embeddings.js";
import type { RowReader } from "../task-data.js";
import type { TaskExample, TaskObjective } from "../types.js";
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
      {
        required: ["text", "text_pair", "score"],
        example: { text: "a fine film", text_pair: "a good movie", score: 0.9 },
      },
    ],
    async read(fields, place) {
      const score = scoreOf(fields);
      const names = score === null ? rankedTexts(fields) : ["text", "text_pair"];
      const source = await Promise.all(
        names.map((name) => tokenizer.encodeRow({ text: textOf(fields, name) }, { truncate: true, maxLength: limit })),
      );
      const isEmpty = names.some((name) => textOf(fields, name).trim() === "");
      return { source, target: score, size: Math.max(...source.map(({ ids }) => ids.length)), place, isEmpty };
    },
  };
  return {
    reader,
    inputs: textInputs(graph, tokenizer),
    savesHeads: false,
    objective({ train, valid, test }) {
      const rows = [...train, ...valid, ...test];
      const forms = new Set(rows.map(({ source, target }) => formOf((source as TextParts).length, target !== null)));
      const [form = "", other] = forms;
      if (other !== undefined) {
        const message = `The data mixes rows with ${form} and rows with ${other}; one form is trained at a time.`;
        throw new LorikeetError("data_invalid", message, { param: "--data" });
      }
      const whole = graph.outputs.find(({ name }) => name === "sentence_embedding")?.name;
      const tokens = graph.outputs.find(
        ({ name }) => name === "last_hidden_state" || name === "token_embeddings",
      )?.name;
      const output = whole ?? tokens;
      const { pooling } = head;
      if (output === undefined || "refusal" in pooling) {
        const clause = "refusal" in pooling ? pooling.refusal : "has no output sentence_embedding or last_hidden_state";
        throw new LorikeetError("model_unsupported", `The model ${clause}.`, { param: "--task" });
      }
      const vectors = { output, pooling: whole === undefined ? plainPooling(pooling) : null };
      const [first] = rows;
      const candidates = first === undefined ? 1 : (first.source as TextParts).length - 1;
      const text = ({ source }: TaskExample, part: number): string =>
        tokenizer.decode((source as TextParts)[part]?.ids ?? []);
      const own = { labels: null, freshHead: null };
      if (first !== undefined && first.target !== null) {
        const assessment = shownCosines(vectors, (pair) => `${text(pair, 0)} / ${text(pair, 1)}`);
        return { objective: scoredPairs(vectors) as TaskObjective<unknown>, assessment, ...own };
      }
      const shape = { ...vectors, candidates };
      const leastRows = candidates === 1 ? 2 : 1;
      const assessment = shownNearest(shape, text);
      return { objective: embeddings(shape) as TaskObjective<unknown>, leastRows, assessment, ...own };
    },
  };
}

const isAbsent = (value: unknown): boolean => value === undefined || value === null;

const rankedTexts = ({ negative }: Fields): readonly string[] =>
  isAbsent(negative) ? ["anchor", "positive"] : ["anchor", "positive", "negative"];

/** What the texts of a row are, for messages. */
const formOf = (texts: number, isScored: boolean): string =>
  isScored ? "a `score`" : texts === 3 ? "a `negative`" : "an `anchor` and a `positive`";

/** null: the row has none. Throws RowFault. */
function scoreOf({ score: value }: Fields): number | null {
  if (isAbsent(value)) return null;
  const score = typeof value === "string" && value.trim() !== "" ? Number(value) : value; // cells of CSV files are texts
  if (typeof score === "number" && score >= -1 && score <= 1) return score;
  throw new RowFault(`must have a number from -1 to 1 as \`score\`, not ${shown(value)}`);
}
