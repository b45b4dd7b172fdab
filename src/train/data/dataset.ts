/** A data set, read and encoded whole: rows for training, validation and test, and what was left out. Knows no batch. */
import { createHash } from "node:crypto";
import type { Progress } from "../../base/log.js";
import type { LoadedTokenizer } from "../../text/types.js";
import { Draws, purposes } from "../random.js";
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
import { DataFaults } from "./faults.js";
import { type DataFile, findDataFiles, type RawRecord, readDataFile, type SplitName } from "./files.js";
import { type ExampleKind, RowFault, readExample } from "./rows.js";
import { countLabels, shorten } from "./shorten.js";
import { textPieces } from "./text-pieces.js";

export interface DataOptions {
  readonly path: string;
  readonly tokenizer: LoadedTokenizer;
  /** Ends texts and completions; null where the model has no end token. */
  readonly endId: number | null;
  /** Stands for an empty prompt, as in the server; null where the model has no such token. */
  readonly bosId: number | null;
  readonly labelTemplate: LabelTemplate;
  /** Tokens of the longest row. */
  readonly length: number;
  readonly seed: number;
  /** Part of the training rows that validates where the data has no such file. */
  readonly validShare: number;
  /** Rows of validation at most. */
  readonly validRows: number;
  /** `pairs`: preference pairs are wanted, and nothing else; `rows`: no pairs; `both`: whatever there is. */
  readonly wants: "rows" | "pairs" | "both";
  /** Which tokens of a row are learned; the answers unless told otherwise. */
  readonly trainOn?: TrainOn;
  readonly progress?: Progress;
}

/** One unit of training: a row, or the two of a pair. */
export type Item = readonly [TokenRow] | TokenPair;

export interface DataCounts {
  /** Records of all files. */
  readonly records: number;
  /** Rows that were longer than the length. */
  readonly shortened: number;
  /** Rows without a label, which are not trained on. */
  readonly dropped: number;
  readonly kinds: Readonly<Partial<Record<ExampleKind, number>>>;
}

export interface DataSet {
  readonly train: readonly Item[];
  readonly valid: readonly Item[];
  readonly test: readonly Item[];
  readonly counts: DataCounts;
  /** Labels of the label form, sorted. */
  readonly labels: readonly string[];
  readonly files: readonly { readonly split: SplitName; readonly path: string; readonly sha256: string }[];
  /** `sha256:` and the digest of the files' digests, in the order train, valid, test. */
  readonly digest: string;
}

/** Reads, checks and encodes. Throws `data_invalid` with up to 50 faults before anything else is done with the data. */
export async function loadData(options: DataOptions): Promise<DataSet> {
  const files = await findDataFiles(options.path);
  const faults = new DataFaults();
  const read: { file: DataFile; records: readonly RawRecord[]; sha256: string }[] = [];
  for (const file of files) read.push({ file, ...(await readDataFile(file, faults)) });
  const encoder = new Encoder(options, faults);
  const splits: Record<SplitName, Item[]> = { train: [], valid: [], test: [] };
  const total = read.reduce((sum, { records }) => sum + records.length, 0);
  for (const { file, records } of read) {
    for (const record of records) {
      splits[file.split].push(...(await encoder.encode(record)));
      options.progress?.("reading the data", encoder.records, total);
    }
  }
  faults.throwIfAny();
  const { train, valid } = divide(splits.train, splits.valid, options);
  return {
    train,
    valid,
    test: splits.test,
    counts: encoder.counts,
    labels: [...encoder.labels].sort(),
    files: read.map(({ file, sha256 }) => ({ ...file, sha256 })),
    digest: digestOf(read.map(({ file, sha256 }) => `${file.split} ${sha256}`)),
  };
}

function digestOf(lines: readonly string[]): string {
  const ordered = ["train", "valid", "test"].flatMap((split) => lines.filter((line) => line.startsWith(`${split} `)));
  return `sha256:${createHash("sha256").update(ordered.join("\n")).digest("hex")}`;
}

class Encoder {
  readonly labels = new Set<string>();
  records = 0;
  readonly #options: DataOptions;
  readonly #encoding: Encoding;
  readonly #faults: DataFaults;
  readonly #kinds: Partial<Record<ExampleKind, number>> = {};
  #shortened = 0;
  #dropped = 0;

  constructor(options: DataOptions, faults: DataFaults) {
    const { tokenizer, endId, bosId, labelTemplate } = options;
    this.#options = options;
    this.#faults = faults;
    this.#encoding = { tokenizer, endId, bosId, labelTemplate };
  }

  get counts(): DataCounts {
    return { records: this.records, shortened: this.#shortened, dropped: this.#dropped, kinds: this.#kinds };
  }

  async encode(record: RawRecord): Promise<Item[]> {
    this.records++;
    try {
      if (record.kind === "row") return await this.#row(record);
      if (this.#options.wants === "pairs") throw new RowFault("is plain text, which has no preference pairs");
      return await this.#windows(record);
    } catch (error) {
      if (!(error instanceof RowFault)) throw error;
      this.#faults.add(record.place, error.message);
      return [];
    }
  }

  async #row({ fields, place }: Extract<RawRecord, { kind: "row" }>): Promise<Item[]> {
    const example = readExample(fields);
    const { wants, trainOn: part = "answers" } = this.#options;
    if (wants === "pairs" && example.kind !== "preference") {
      throw new RowFault("is no preference pair, which --method dpo needs");
    }
    if (wants !== "rows" && example.kind === "preference") {
      this.#count("preference");
      return this.#kept([await encodePair(example, place, this.#encoding)]);
    }
    if (example.kind === "label") this.labels.add(example.label);
    const rows = trainOn(await encodeExample(example, place, this.#encoding), part);
    this.#count(example.kind);
    if (rows.length === 0) this.#dropped++;
    return this.#kept(rows.map((row) => [row] as const));
  }

  /** A text in windows of the length, each learned whole. */
  async #windows({ text, place }: Extract<RawRecord, { kind: "text" }>): Promise<Item[]> {
    const { length, tokenizer } = this.#options;
    const ids: number[] = [];
    for (const [i, piece] of (await textPieces(text, tokenizer)).entries()) {
      const encoded = await tokenizer.encode(piece, { addSpecialTokens: i === 0, continues: i > 0 });
      for (const id of encoded) ids.push(id);
    }
    const { endId } = this.#encoding;
    if (endId !== null && ids.at(-1) !== endId) ids.push(endId);
    const windows: Item[] = [];
    for (let at = 0; at < ids.length; at += length) windows.push([wholeRow(ids.slice(at, at + length), place)]);
    this.#count("text");
    return this.#kept(windows);
  }

  #count(kind: ExampleKind): void {
    this.#kinds[kind] = (this.#kinds[kind] ?? 0) + 1;
  }

  /** Items cut to the length, without those that have no label left. */
  #kept(items: readonly Item[]): Item[] {
    const { length } = this.#options;
    const { bosId } = this.#encoding;
    return items.flatMap((item): Item[] => {
      const [first, second] = item;
      if (item.some(({ ids }) => ids.length > length)) this.#shortened++;
      const short = shorten(first, length, bosId);
      const kept: Item = second ? [short, shorten(second, length, bosId)] : [short];
      if (kept.every((row) => countLabels(row) > 0)) return [kept];
      this.#dropped++;
      return [];
    });
  }
}

/** Takes validation rows from the training rows where the data brings none; plain text gives its last windows. */
function divide(
  train: readonly Item[],
  given: readonly Item[],
  { seed, validShare, validRows }: DataOptions,
): { train: readonly Item[]; valid: readonly Item[] } {
  if (given.length > 0) return { train, valid: pick(given, Math.min(given.length, validRows), seed).chosen };
  const count = Math.min(validRows, Math.floor(train.length * validShare));
  if (train.every(([row]) => row.kind === "text" && row.place.line === 1)) {
    return { train: train.slice(0, train.length - count), valid: train.slice(train.length - count) };
  }
  const { chosen, others } = pick(train, count, seed);
  return { train: others, valid: chosen };
}

/** `count` items by chance; both parts keep their order. */
function pick(items: readonly Item[], count: number, seed: number): { chosen: Item[]; others: Item[] } {
  const order = new Draws(seed, purposes.split).permutation(items.length);
  const taken = new Set(order.subarray(0, count));
  return { chosen: items.filter((_, i) => taken.has(i)), others: items.filter((_, i) => !taken.has(i)) };
}
