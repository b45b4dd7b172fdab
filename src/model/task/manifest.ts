/**
 * `lorikeet.json` in a model's folder: what its other files do not say. A run of training writes a record of the same name; there the
 * manifest is its `model`.
 */

import { LorikeetError } from "../../base/errors.js";
import { isObject, type Json } from "../../base/json.js";
import { readJson } from "../checkpoint/files.js";
import { type PlainPooling, plainPoolings } from "./sentence-modules.js";
import { isTask, type Task } from "./tasks.js";

export const manifestName = "lorikeet.json";

const fileRoles = ["whole", "encoder", "decoder", "decoder-with-past", "merged-decoder"] as const;
/** What a file of a model computes. "whole": all of it. */
export type FileRole = (typeof fileRoles)[number];

const scoreKinds = ["softmax", "sigmoid"] as const;

/** Every field is absent unless the file has it. */
export interface Manifest {
  readonly task?: Task;
  /** Paths of the model's ONNX files below its folder. */
  readonly files?: Readonly<Partial<Record<FileRole, string>>>;
  /** The checkpoint of the export, below the folder. */
  readonly weights?: string;
  /** Names of the graph's inputs, by the names that are served. */
  readonly inputs?: ReadonlyMap<string, string>;
  /** Names of the graph's outputs, by the names that are served. */
  readonly outputs?: ReadonlyMap<string, string>;
  readonly labels?: readonly string[];
  readonly pooling?: PlainPooling;
  readonly normalize?: boolean;
  /** Of a detector: the least score that is shown. */
  readonly threshold?: number;
  /** Of a detector: a softmax over labels and nothing, or a sigmoid for each label. */
  readonly scores?: (typeof scoreKinds)[number];
  /** false: no batch normalization was folded into a convolution. */
  readonly foldedNorms?: boolean;
  /** Paths of modules by a name that the file gives them, or by their node's name. */
  readonly rename?: ReadonlyMap<string, string>;
}

/** Keys of a run's record. */
const isRecord = (json: Json): boolean => isObject(json.settings) && isObject(json.data);

/** `names`: of the folder's files. Throws LorikeetError `model_invalid` with the field that is wrong. */
export async function readManifest(folder: string, names: readonly string[]): Promise<Manifest> {
  if (!names.includes(manifestName)) return {};
  const json = await readJson(folder, manifestName);
  if (isObject(json) && isRecord(json)) return json.model === undefined ? {} : parseManifest(json.model);
  return parseManifest(json);
}

type Reader<Value> = (value: unknown, field: string) => Value;

const readers: { readonly [Field in keyof Manifest]-?: Reader<NonNullable<Manifest[Field]>> } = {
  task: (value, field) => {
    if (typeof value === "string" && isTask(value)) return value;
    throw fault(field, "must be a task by Hugging Face's name, or tensors");
  },
  files: (value, field) => {
    const entries = Object.entries(objectOf(value, field)).map(([key, path]) => {
      const role = key === "model" ? "whole" : fileRoles.find((name) => name === key && name !== "whole");
      if (role === undefined)
        throw fault(`${field}.${short(key)}`, `is not a file of a model; ${roleKeys.join(", ")} are`);
      return [role, insidePath(path, `${field}.${key}`, ".onnx")] as const;
    });
    if (entries.length === 0) throw fault(field, "must name a file");
    return Object.fromEntries(entries);
  },
  weights: (value, field) => insidePath(value, field, ".safetensors"),
  inputs: (value, field) => {
    const named = Object.entries(objectOf(value, field)).map(([name, source]) => {
      const from = isObject(source) && Object.keys(source).length === 1 ? source.from : source;
      return [nameOf(from, `${field}.${short(name)}`), name] as const;
    });
    return unique(named, field);
  },
  outputs: (value, field) =>
    unique(
      Object.entries(objectOf(value, field)).map(([name, own]) => [name, nameOf(own, `${field}.${short(name)}`)]),
      field,
    ),
  labels: (value, field) => {
    const rule = "must be a list of 1 to 100000 names";
    if (!Array.isArray(value) || value.length < 1 || value.length > 100_000) throw fault(field, rule);
    return value.map((label, index) => nameOf(label, `${field}[${index}]`));
  },
  pooling: (value, field) => oneOf(plainPoolings, value, field),
  normalize: booleanOf,
  threshold: (value, field) => {
    if (typeof value === "number" && value >= 0 && value <= 1) return value;
    throw fault(field, "must be a number from 0 to 1");
  },
  scores: (value, field) => oneOf(scoreKinds, value, field),
  foldedNorms: (value, field) => {
    if (value === false) return value;
    throw fault(
      field,
      "must be false, where no normalization was folded; a checkpoint beside the file tells the factors of others",
    );
  },
  rename: (value, field) =>
    new Map(Object.entries(objectOf(value, field)).map(([key, path]) => [key, nameOf(path, `${field}.${short(key)}`)])),
};

const roleKeys = ["model", ...fileRoles.filter((role) => role !== "whole")];

/** Throws LorikeetError `model_invalid` with the field that is wrong. */
export function parseManifest(json: unknown): Manifest {
  if (!isObject(json)) throw fault(null, "must be an object");
  const entries = Object.entries(json).map(([field, value]) => {
    const read = Object.hasOwn(readers, field) ? readers[field as keyof Manifest] : undefined;
    if (!read) throw fault(short(field), `is not known; ${Object.keys(readers).join(", ")} are`);
    return [field, read(value, field)] as const;
  });
  return Object.fromEntries(entries);
}

function objectOf(value: unknown, field: string): Json {
  if (isObject(value)) return value;
  throw fault(field, "must be an object");
}

function booleanOf(value: unknown, field: string): boolean {
  if (typeof value === "boolean") return value;
  throw fault(field, "must be true or false");
}

function oneOf<const Name extends string>(names: readonly Name[], value: unknown, field: string): Name {
  const found = names.find((name) => name === value);
  if (found !== undefined) return found;
  throw fault(field, `must be one of ${names.join(", ")}`);
}

function nameOf(value: unknown, field: string): string {
  if (typeof value === "string" && value.length >= 1 && value.length <= 512) return value;
  throw fault(field, "must be a name of 1 to 512 characters");
}

/** A file below the folder: no part of the path leaves it. */
function insidePath(value: unknown, field: string, ending: string): string {
  const rule = `must be the path of a ${ending} file below the folder`;
  const path = nameOf(value, field);
  const isInside = path.split(/[/\\]/).every((part) => part !== "" && part !== "." && part !== "..");
  if (isInside && !path.includes("\\") && !path.includes("\0") && path.endsWith(ending)) return path;
  throw fault(field, rule);
}

/** Names by others, each of which occurs once. */
function unique(entries: readonly (readonly [string, string])[], field: string): ReadonlyMap<string, string> {
  const twice = entries.find(([key, name], index) =>
    entries.slice(index + 1).some((other) => other[0] === key || other[1] === name),
  );
  if (twice) throw fault(field, `names ${JSON.stringify(short(twice[1]))} twice`);
  return new Map(entries);
}

const short = (key: string): string => (key.length <= 64 ? key : `${key.slice(0, 64)}…`);

function fault(field: string | null, clause: string): LorikeetError {
  const where = field === null ? manifestName : `\`${field}\` of ${manifestName}`;
  return new LorikeetError("model_invalid", `${where} ${clause}.`, { param: field ?? manifestName });
}
