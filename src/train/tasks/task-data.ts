/** Reads the data of a task: rows of files, or folders of pictures by class. */

import { createHash } from "node:crypto";
import { LorikeetError } from "../../base/errors.js";
import type { Progress } from "../../base/log.js";
import type { DataCounts } from "../data/dataset.js";
import { DataFaults, type RowPlace, shownPlace } from "../data/faults.js";
import { readDataFile } from "../data/files.js";
import { findDataFiles, type SplitName } from "../data/folder.js";
import type { FormShape } from "../data/form-hint.js";
import { formHint } from "../data/form-hint.js";
import { type Fields, RowFault } from "../data/rows.js";
import { digestOf, holdOut, type SplitOptions } from "../data/splits.js";
import { findClassFolders } from "./class-folders.js";
import type { TaskExample } from "./types.js";

/** Makes examples of rows. */
export interface RowReader {
  /** What the rows are called in counts. */
  readonly kind: string;
  readonly forms: readonly [FormShape, ...FormShape[]];
  /** Throws RowFault. */
  read(fields: Fields, place: RowPlace): Promise<ReadExample>;
  /** What is odd about all rows together. */
  warningsOf?(rows: readonly TaskExample[]): readonly string[];
}

export interface ReadExample extends TaskExample {
  /** Whether it was longer than allowed and lost its end. */
  readonly isShortened?: boolean;
  /** Whether a text of it is empty. */
  readonly isEmpty?: boolean;
  /** Of what else it was read from. */
  readonly sha256?: string;
}

export interface TaskData {
  readonly train: readonly TaskExample[];
  readonly valid: readonly TaskExample[];
  readonly test: readonly TaskExample[];
  readonly counts: DataCounts;
  readonly files: readonly { readonly split: SplitName; readonly path: string; readonly sha256: string }[];
  readonly digest: string;
  readonly warnings: readonly string[];
}

export interface TaskDataOptions extends SplitOptions {
  readonly path: string;
  readonly progress?: Progress;
  readonly signal?: AbortSignal;
}

interface Source {
  readonly split: SplitName;
  readonly path: string;
  /** The file's SHA-256, or the listing of class folders: the digest begins with it. */
  readonly identity: string;
  /** null: class folders have no file. */
  readonly sha256: string | null;
  readonly rows: readonly { readonly fields: Fields; readonly place: RowPlace }[];
}

/** Throws `data_invalid` with up to 50 faults. */
export async function loadTaskData(reader: RowReader, options: TaskDataOptions): Promise<TaskData> {
  const { path, progress, signal } = options;
  const faults = new DataFaults();
  const classes = await findClassFolders(path);
  const sources: readonly Source[] =
    classes?.map(({ listing, ...folder }) => ({ ...folder, identity: listing, sha256: null })) ??
    (await readFiles(path, faults));
  const total = sources.reduce((sum, { rows }) => sum + rows.length, 0);
  const splits: Record<SplitName, TaskExample[]> = { train: [], valid: [], test: [] };
  const files: TaskData["files"][number][] = [];
  const contents: { split: SplitName; sha256: string }[] = [];
  let [records, shortened] = [0, 0];
  const empty: RowPlace[] = [];
  for (const { split, path: file, identity, sha256, rows } of sources) {
    const hash = createHash("sha256").update(identity);
    for (const { fields, place } of rows) {
      signal?.throwIfAborted();
      try {
        const example = await readRow(reader, fields, place);
        splits[split].push(example);
        if (example.isShortened) shortened++;
        if (example.isEmpty) empty.push(place);
        if (example.sha256 !== undefined) hash.update(example.sha256);
      } catch (error) {
        if (!(error instanceof RowFault)) throw error;
        faults.add(place, error.message);
      }
      progress?.("reading the data", ++records, total);
    }
    // Pictures beside the rows belong to the data too.
    const content = hash.digest("hex");
    contents.push({ split, sha256: content });
    files.push({ split, path: file, sha256: sha256 ?? content });
  }
  faults.throwIfAny();
  if (total === 0) throw noRows(path, reader);
  const { train, valid } = holdOut(
    splits.train.map((example) => [example]),
    splits.valid.map((example) => [example]),
    options,
  );
  const warnings = [...emptyWarning(empty), ...(reader.warningsOf?.(Object.values(splits).flat()) ?? [])];
  const counts = { records: total, shortened, dropped: 0, kinds: { [reader.kind]: total } };
  return { train, valid, test: splits.test, counts, files, digest: digestOf(contents), warnings };
}

function emptyWarning([first, ...others]: readonly RowPlace[]): string[] {
  if (!first) return [];
  const count = others.length + 1;
  const what = count === 1 ? "1 row has an empty text" : `${count} rows have an empty text`;
  return [`${what}; the first is at ${shownPlace(first)}.`];
}

async function readFiles(path: string, faults: DataFaults): Promise<Source[]> {
  const { files } = await findDataFiles(path);
  const sources: Source[] = [];
  for (const file of files) {
    const { records, sha256 } = await readDataFile(file, faults);
    const rows = records.flatMap((record) => {
      if (record.kind === "row") return [{ fields: record.fields, place: record.place }];
      faults.add(record.place, "is plain text, which has no fields to train a task on");
      return [];
    });
    sources.push({ ...file, identity: sha256, sha256, rows });
  }
  return sources;
}

async function readRow(reader: RowReader, fields: Fields, place: RowPlace): Promise<ReadExample> {
  const names = Object.keys(fields).filter((name) => fields[name] !== null && fields[name] !== undefined);
  const isComplete = reader.forms.some(({ required }) => required.every((name) => names.includes(name)));
  if (!isComplete) throw new RowFault(formHint(names, reader.forms));
  return await reader.read(fields, place);
}

function noRows(path: string, { forms: [{ example }] }: RowReader): LorikeetError {
  const message = `The data ${path} holds no row. Each is like ${JSON.stringify(example)}.`;
  return new LorikeetError("data_invalid", message, { param: "--data", found: 0, allowed: 1 });
}
