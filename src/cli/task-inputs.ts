/** What a task model makes of its inputs, for `inspect`: its tokenizer and the tokens of a text, its steps for pictures. */

import { LorikeetError } from "../base/errors.js";
import { at } from "../base/list.js";
import { describePlan, type PreprocessPlan } from "../image/plan.js";
import { readPlan } from "../image/preprocessor.js";
import { languagesOf } from "../text/languages.js";
import { loadRowTokenizer, type RowTokenizer } from "../text/tokenizer/row-tokenizer.js";
import type { EncodedRow, TextRow } from "../text/tokenizer/rows.js";
import { formatCount } from "./options/units.js";
import { formatFields, formatTable } from "./table.js";
import { printJson, printLine, type Terminal } from "./terminal.js";
import { noTokenizerNote } from "./tokenizer-note.js";

/** How a model's folder prepares inputs; fields without a file in it are null. */
export interface TaskInputs {
  readonly tokenizer: ReturnType<typeof describeTokenizer> | null;
  readonly pictures: PreprocessPlan | null;
}

/** Reads the folder's files for inputs. Throws what `loadRowTokenizer` and `readPlan` throw. */
export async function describeInputs(folder: string): Promise<TaskInputs> {
  const tokenizer = await loadRowTokenizer(folder);
  try {
    return { tokenizer: tokenizer && describeTokenizer(tokenizer), pictures: await readPlan(folder) };
  } finally {
    await tokenizer?.close();
  }
}

function describeTokenizer(tokenizer: RowTokenizer) {
  const { parts, vocabSize, maxLength, padId, padLeft } = tokenizer;
  const languages = languagesOf(tokenizer)?.names ?? [];
  return { ...parts, vocabSize, maxLength, padId, paddingSide: padLeft ? "left" : "right", languages };
}

export function inputFields({ tokenizer, pictures }: TaskInputs): (readonly [string, string])[] {
  return [
    ...(tokenizer === null ? [] : textFields(tokenizer)),
    ...(pictures === null ? [] : [["pictures", describePlan(pictures)] as [string, string]]),
  ];
}

function textFields(tokenizer: NonNullable<TaskInputs["tokenizer"]>): (readonly [string, string])[] {
  const { model, vocabSize, normalizer, preTokenizer, postProcessor, maxLength, padId, paddingSide, languages } =
    tokenizer;
  return [
    ["tokenizer", `${model}, ${formatCount(vocabSize)} tokens`],
    ["text rules", `normalizer ${normalizer}; pre-tokenizer ${preTokenizer}; post-processor ${postProcessor}`],
    ["longest text", maxLength === null ? "not stated" : `${maxLength} tokens`],
    ["padding", `token ${padId}, on the ${paddingSide}`],
    ...(languages.length === 0 ? [] : [["languages", `${languages.length}: ${languages.join(", ")}`] as const]),
  ];
}

/** Prints the tokens that a task model gets for a text or a pair of texts. Throws `tokenizer_missing` without a tokenizer. */
export async function inspectText(folder: string, row: TextRow, json: boolean, terminal: Terminal): Promise<void> {
  const tokenizer = await loadRowTokenizer(folder);
  if (tokenizer === null)
    throw new LorikeetError("tokenizer_missing", `${folder}: ${await noTokenizerNote(folder)}.`, { param: "--text" });
  try {
    const encoded = await tokenizer.encodeRow(row, { param: "--text" });
    if (json) return printJson(terminal.stdout, jsonOf(encoded, tokenizer));
    const { maxLength } = tokenizer;
    const count = encoded.ids.length;
    const limit = maxLength === null ? "" : ` of at most ${maxLength}`;
    printLine(
      terminal.stdout,
      formatFields([
        ["model", folder],
        ["tokens", `${count}${limit}`],
      ]),
    );
    const header = ["token", "id", "type", "text", "characters", "word", ""];
    printLine(terminal.stdout, `\n${formatTable(header, rowsOf(encoded, row, tokenizer))}`);
  } finally {
    await tokenizer.close();
  }
}

function rowsOf(encoded: EncodedRow, row: TextRow, tokenizer: RowTokenizer): string[][] {
  const texts = [row.text, row.pair ?? ""].map((text) => Array.from(text));
  return encoded.ids.map((id, i) => {
    const source = encoded.sources[i] ?? null;
    const [begin, end] = at(encoded.spans, i);
    const cells = [tokenizer.vocabularyText(id), String(id), String(encoded.typeIds[i])];
    if (source === null) return [...cells, "", "", "", ""];
    const part = JSON.stringify(at(texts, source).slice(begin, end).join(""));
    return [...cells, String(source + 1), `${begin}-${end}`, String(encoded.words[i]), part];
  });
}

const jsonOf = ({ ids, typeIds, sources, spans, words }: EncodedRow, tokenizer: RowTokenizer) => ({
  tokens: ids.map((id) => tokenizer.vocabularyText(id)),
  inputIds: ids,
  tokenTypeIds: typeIds,
  ...{ sources, spans, words },
});
