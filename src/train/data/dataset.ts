/** Reads and encodes a data set: rows for training, validation and test, with counts and warnings. */
import { LorikeetError } from "../../base/errors.js";
import type { Progress } from "../../base/log.js";
import type { LoadedTokenizer } from "../../text/types.js";
import { type TrainOn, trainOn } from "../train-on.js";
import {
  type Encoding,
  encodeExample,
  encodePair,
  type LabelTemplate,
  type TokenPair,
  type TokenRow,
  wholeRow,
} from "./encode.js";
import { DataFaults, type Place } from "./faults.js";
import { type RawRecord, readDataFile } from "./files.js";
import { type DataFile, findDataFiles, formatOf, type SplitName } from "./folder.js";
import { type ExampleKind, exampleRow, RowFault, readExample } from "./rows.js";
import { countLabels, shorten, shortenPair } from "./shorten.js";
import { digestOf, holdOut } from "./splits.js";
import { textPieces } from "./text-pieces.js";

export interface DataOptions {
  readonly path: string;
  readonly tokenizer: LoadedTokenizer;
  /** The token that ends texts and completions; null if the model has none. */
  readonly endId: number | null;
  /** Replaces an empty prompt, as in the server; null if the model has no such token. */
  readonly bosId: number | null;
  readonly labelTemplate: LabelTemplate;
  /** Size of the embedding table: larger ids are errors. */
  readonly vocabSize: number;
  /** Tokens of the longest row. */
  readonly maxLength: number;
  readonly seed: number;
  /** Fraction of the training rows to hold out for validation when the data has no valid file. */
  readonly validationSplit: number;
  /** Maximum number of validation rows. */
  readonly maxEvalSamples: number;
  /** `pairs`: only preference pairs; `rows`: no pairs; `both`: anything. */
  readonly wants: "rows" | "pairs" | "both";
  /** Tokens that count in the loss. Default: the answers. */
  readonly trainOn?: TrainOn;
  readonly progress?: Progress;
}

/** A unit of training: a row, or the two rows of a pair. */
export type Item = readonly [TokenRow] | TokenPair;

export interface DataCounts {
  /** Records of all files. */
  readonly records: number;
  /** Rows longer than `maxLength`. */
  readonly shortened: number;
  /** Rows without a label, which are skipped. */
  readonly dropped: number;
  /** By the kind of row. */
  readonly kinds: Readonly<Record<string, number>>;
}

export interface DataSet {
  readonly train: readonly Item[];
  readonly valid: readonly Item[];
  readonly test: readonly Item[];
  readonly counts: DataCounts;
  /** Labels of rows with text and label, sorted. */
  readonly labels: readonly string[];
  readonly files: readonly { readonly split: SplitName; readonly path: string; readonly sha256: string }[];
  /** `sha256:` and the digest of the files' digests, in the order train, valid, test. */
  readonly digest: string;
  /** Problems that are not errors, one sentence each. */
  readonly warnings: readonly string[];
}

/** Throws `data_invalid` with up to 50 faults. */
export async function loadData(options: DataOptions): Promise<DataSet> {
  const { files, unused } = await findDataFiles(options.path);
  const faults = new DataFaults();
  const read: { file: DataFile; records: readonly RawRecord[]; sha256: string }[] = [];
  for (const file of files) read.push({ file, ...(await readDataFile(file, faults)) });
  const encoder = new Encoder(options, faults);
  if (unused.length > 0) encoder.warnings.add(unusedText(unused));
  const splits: Record<SplitName, (readonly Item[])[]> = { train: [], valid: [], test: [] };
  const total = read.reduce((sum, { records }) => sum + records.length, 0);
  for (const { file, records } of read) {
    for (const record of records) {
      splits[file.split].push(...(await encoder.encode(record)));
      options.progress?.("reading the data", encoder.records, total);
    }
  }
  faults.throwIfAny();
  if (total === 0) throw noRows(options.path, files);
  const isText = (group: readonly Item[]): boolean => group[0]?.[0].kind === "text" && group[0][0].place.line === 1;
  const { train, valid } = holdOut(splits.train, splits.valid, options, isText);
  return {
    train,
    valid,
    test: splits.test.flat(),
    counts: encoder.counts,
    labels: [...encoder.labels].sort(),
    files: read.map(({ file, sha256 }) => ({ ...file, sha256 })),
    digest: digestOf(read.map(({ file, sha256 }) => ({ split: file.split, sha256 }))),
    warnings: [...encoder.warnings],
  };
}

function noRows(path: string, files: readonly DataFile[]): LorikeetError {
  const extensions = new Set(files.map((file) => formatOf(file.path)?.extension));
  const shown = extensions.size === 1 ? [...extensions][0] : undefined;
  const hints: Partial<Record<string, string>> = {
    ".csv": "The first line names the columns, such as prompt,completion, and each further line is a row.",
    ".tsv": "The first line names the columns, such as prompt and completion, and each further line is a row.",
    ".jsonl": `Each line is a row, such as ${exampleRow}.`,
    ".json": `It is a list of rows, such as [${exampleRow}].`,
  };
  const hint = hints[shown ?? ""];
  const what = shown === ".txt" ? "text" : "row";
  return new LorikeetError(
    "data_invalid",
    `The data ${path} holds no ${what}.${hint === undefined ? "" : ` ${hint}`}`,
    {
      param: "--data",
      found: 0,
      allowed: 1,
    },
  );
}

function unusedText(names: readonly string[]): string {
  const shown = names.length > 8 ? [...names.slice(0, 8), `${names.length - 8} more`] : names;
  return `Ignored, because not named train, valid, dev or test: ${shown.join(", ")}.`;
}

class Encoder {
  readonly labels = new Set<string>();
  readonly warnings = new Set<string>();
  records = 0;
  readonly #options: DataOptions;
  readonly #encoding: Encoding;
  readonly #faults: DataFaults;
  readonly #kinds: Record<string, number> = {};
  #shortened = 0;
  #dropped = 0;

  constructor(options: DataOptions, faults: DataFaults) {
    const { tokenizer, endId, bosId, labelTemplate } = options;
    this.#options = options;
    this.#faults = faults;
    this.#encoding = { tokenizer, endId, bosId, labelTemplate, warn: (message) => this.warnings.add(message) };
  }

  get counts(): DataCounts {
    return { records: this.records, shortened: this.#shortened, dropped: this.#dropped, kinds: this.#kinds };
  }

  /** A record's items in groups that are not split between training and validation: all rows of a chat, one window of a text. */
  async encode(record: RawRecord): Promise<(readonly Item[])[]> {
    this.records++;
    try {
      if (record.kind === "row") return await this.#row(record);
      if (this.#options.wants === "pairs") throw new RowFault("is plain text, which has no preference pairs");
      return this.#windows(await this.#idsOf(record.text), record.place);
    } catch (error) {
      if (!(error instanceof RowFault)) throw error;
      this.#faults.add(record.place, error.message);
      return [];
    }
  }

  async #row({ fields, place }: Extract<RawRecord, { kind: "row" }>): Promise<(readonly Item[])[]> {
    const example = readExample(fields);
    const { wants, trainOn: part = "answers" } = this.#options;
    if (wants === "pairs" && example.kind !== "preference") {
      throw new RowFault("is not a preference pair, which --method dpo needs");
    }
    if (wants !== "rows" && example.kind === "preference") {
      this.#count("preference");
      return [this.#kept([await encodePair(example, place, this.#encoding)])];
    }
    if (example.kind === "label") this.labels.add(example.label);
    const rows = trainOn(await encodeExample(example, place, this.#encoding), part);
    const [first] = rows;
    if (example.kind === "text" && first && first.ids.length > this.#options.maxLength) {
      return this.#windows([...first.ids], place);
    }
    this.#count(example.kind);
    if (rows.length === 0) this.#dropped++;
    return [this.#kept(rows.map((row) => [row] as const))];
  }

  async #idsOf(text: string): Promise<number[]> {
    const { tokenizer } = this.#options;
    const ids: number[] = [];
    for (const [i, piece] of (await textPieces(text, tokenizer)).entries()) {
      const encoded = await tokenizer.encode(piece, { addSpecialTokens: i === 0, continues: i > 0 });
      for (const id of encoded) ids.push(id);
    }
    const { endId } = this.#encoding;
    if (endId !== null && ids.at(-1) !== endId) ids.push(endId);
    return ids;
  }

  /** Splits a long text into windows of `maxLength` tokens. */
  #windows(ids: readonly number[], place: Place): (readonly Item[])[] {
    const { maxLength } = this.#options;
    const windows: (readonly Item[])[] = [];
    for (let at = 0; at < ids.length; at += maxLength) {
      windows.push(this.#kept([[wholeRow(ids.slice(at, at + maxLength), place)]]));
    }
    this.#count("text");
    return windows;
  }

  #count(kind: ExampleKind): void {
    this.#kinds[kind] = (this.#kinds[kind] ?? 0) + 1;
  }

  /** Items cut to `maxLength`, without those that have no label left. */
  #kept(items: readonly Item[]): Item[] {
    const { maxLength } = this.#options;
    const { bosId } = this.#encoding;
    return items.flatMap((item): Item[] => {
      const [first, second] = item;
      for (const row of item) this.#requireKnown(row);
      if (item.some(({ ids }) => ids.length > maxLength)) this.#shortened++;
      const kept: Item = second ? shortenPair([first, second], maxLength, bosId) : [shorten(first, maxLength, bosId)];
      if (kept.every((row) => countLabels(row) > 0)) return [kept];
      this.#dropped++;
      return [];
    });
  }

  #requireKnown({ ids }: TokenRow): void {
    const { vocabSize, tokenizer } = this.#options;
    const unknown = ids.find((id) => id >= vocabSize);
    if (unknown === undefined) return;
    const token = JSON.stringify(tokenizer.tokenText(unknown));
    throw new RowFault(
      `has the token ${token} (${unknown}), but the model has embeddings for only ${vocabSize} tokens`,
    );
  }
}
