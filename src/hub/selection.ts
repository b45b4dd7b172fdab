/** Selects the files to download: those that a model or an adapter is read from, in one precision, never a pickle. */

import type { LorikeetError } from "../base/errors.js";
import { isObject, shown } from "../base/json.js";
import { hubFault } from "./faults.js";
import type { ListedFile, Listing } from "./listing.js";
import { type Kind, type Repository, shownName } from "./repository.js";

export const modelConfig = "config.json";
export const adapterConfig = "adapter_config.json";
export const singleWeights = "model.safetensors";
export const weightsIndex = "model.safetensors.index.json";
export const tokenizerFile = "tokenizer.json";
export const adapterWeights = ["adapter_model.safetensors", "adapters.safetensors"] as const;

const besideModel =
  /^(config|generation_config|tokenizer|tokenizer_config|special_tokens_map|added_tokens|vocab|chat_template)\.json$|^tokenizer\.model$|^(merges|vocab)\.txt$|^chat_template\.jinja$|^additional_chat_templates\/tool_use\.jinja$/;
/** Of a model in ONNX files: how pictures are prepared, and what its other files do not say. */
const besideOnnx = /^(preprocessor_config|processor_config|lorikeet)\.json$/;
/** How sentence-transformers prepares texts and makes vectors. */
const ofVectors =
  /^(modules|sentence_bert_config|config_sentence_transformers)\.json$|^\d+_\w+\/(config\.json|model\.safetensors)$/;
const besideAdapter =
  /^adapter_config\.json$|^README\.md$|^chat_template\.jinja$|^lorikeet\.json$|^training\.svg$|^labels\.json$|^config\.json$/;
const pickle = /\.(bin|pt|pth|ckpt|pkl)$/i;

/** What of a repository's ONNX files makes a model, and when its safetensors do instead. */
export interface OnnxChoice {
  /** The one file that is wanted, by its path or its own name; null leaves the choice to the others. */
  readonly file: string | null;
  /** Those of a repository's ONNX files that can be served, by their place in it. */
  served(names: readonly string[]): readonly string[];
  /** Whether a model with this config.json is read from its safetensors. */
  readsSafetensors(config: unknown): boolean;
  /** The files of the model that a file belongs to, itself among them. */
  beside(names: readonly string[], file: string): readonly string[];
  /** Whether a file is a part of a model by its name. */
  isPart(name: string): boolean;
  /** The files that make one model; empty if the names do not say which. */
  choose(names: readonly string[]): readonly string[];
}

/** The kind of a repository; `wanted` decides if it could be both. Throws a LorikeetError that says what it is instead. */
export function kindOf(listing: Listing, repository: Repository, wanted: Kind | null): Kind {
  const has = (name: string): boolean => listing.files.some((file) => file.name === name);
  const [isModel, isAdapter] = [has(modelConfig), has(adapterConfig)];
  if (wanted === "model" && !isModel) throw notAModel(listing, repository, isAdapter);
  if (wanted === "adapter" && !isAdapter) throw notAnAdapter(repository, isModel);
  if (!isModel && !isAdapter) throw notAModel(listing, repository, false);
  return wanted ?? (isModel ? "model" : "adapter");
}

/** Names of the ONNX files. */
export const onnxNames = (names: readonly string[]): string[] => names.filter((name) => name.endsWith(".onnx"));

/** The ONNX file that is wanted, by its path or its own name; undefined if it is not there. */
export const wantedAmong = (served: readonly string[], wanted: string): string | undefined =>
  served.find((name) => name === wanted) ?? served.find((name) => name.endsWith(`/${wanted}`));

/** Like `wantedAmong`, but throws `model_invalid` with those that exist if it is not there. `owner`: whose files they are. */
export function wantedFile(served: readonly string[], wanted: string, owner: string): string {
  const file = wantedAmong(served, wanted);
  if (file !== undefined) return file;
  const names = [...served].sort();
  const has = names.length === 0 ? "it has none" : `it has ${names.join(", ")}`;
  const message = `${owner} has no ONNX file ${shown(wanted)}: ${has}.`;
  throw hubFault("model_invalid", message, { param: "onnx-file", found: wanted, allowed: names });
}

/** Whether the files at the top level include a checkpoint. */
export const hasCheckpoint = ({ files }: Listing): boolean => checkpointsOf(files).length > 0;

const checkpointsOf = (files: readonly ListedFile[]): ListedFile[] =>
  files.filter(({ name }) => isTopLevel(name) && name.endsWith(".safetensors") && !isAdapterWeights(name));

const isTopLevel = (name: string): boolean => !name.includes("/");

/** The chosen ONNX files with their external data, and what lies beside them: the checkpoint too, which names their layers. */
export function selectOnnx({ files }: Listing, chosen: readonly string[]): ListedFile[] {
  const isData = (name: string): boolean =>
    chosen.some((file) => {
      const stem = file.slice(0, -".onnx".length);
      return name.startsWith(`${file}_data`) || name.startsWith(`${file}.data`) || name === `${stem}.data`;
    });
  return files.filter(
    ({ name }) =>
      chosen.includes(name) ||
      isData(name) ||
      besideModel.test(name) ||
      besideOnnx.test(name) ||
      ofVectors.test(name) ||
      name === singleWeights,
  );
}

/**
 * The weights and the files beside them. Sharded weights appear as their index only: read it, then call `shardsOf`. Throws a
 * LorikeetError for a repository without safetensors.
 */
export function selectFiles(listing: Listing, repository: Repository, kind: Kind): ListedFile[] {
  const { files } = listing;
  const named = (name: string): ListedFile[] => files.filter((file) => file.name === name);
  if (kind === "adapter") {
    const weights = adapterWeights.flatMap(named).slice(0, 1);
    if (weights.length === 0) throw safetensorsMissing(listing, repository, kind);
    return [...files.filter(({ name }) => besideAdapter.test(name)), ...weights];
  }
  const beside = files.filter(({ name }) => besideModel.test(name) || ofVectors.test(name));
  const tensors = checkpointsOf(files);
  const weights = [...named(singleWeights), ...named(weightsIndex), ...(tensors.length === 1 ? tensors : [])].slice(
    0,
    1,
  );
  if (weights.length === 0) throw safetensorsMissing(listing, repository, kind);
  return [...beside, ...weights];
}

/** The shards that an index names. Throws `model_invalid` for one that the repository does not have. */
export function shardsOf(index: unknown, listing: Listing, repository: Repository): ListedFile[] {
  const map = isObject(index) ? index.weight_map : null;
  if (!isObject(map)) throw invalid(repository, `${weightsIndex} has no weight_map`);
  const names = [...new Set<unknown>(Object.values(map))];
  return names.map((name) => {
    const file = files(listing, name);
    if (file !== undefined) return file;
    throw invalid(repository, `${weightsIndex} names ${shown(name)}, which is not a file next to it`);
  });
}

function files({ files }: Listing, name: unknown): ListedFile | undefined {
  return typeof name === "string" && isTopLevel(name) && name.endsWith(".safetensors")
    ? files.find((file) => file.name === name)
    : undefined;
}

const isAdapterWeights = (name: string): boolean => adapterWeights.some((weights) => weights === name);

function notAModel(listing: Listing, repository: Repository, isAdapter: boolean): LorikeetError {
  const name = shownName(repository);
  if (isAdapter) {
    const [base = "<its base model>"] = listing.baseModels;
    const how = `give --model ${base}, and add it with: lorikeet adapters add <name> hf://${name}`;
    return hubFault("model_invalid", `${name} is an adapter, not a model: ${how}.`, { param: name });
  }
  const fault = safetensorsMissing(listing, repository, "model");
  if (fault.code === "model_unsupported") return fault;
  return invalid(repository, `it has no ${modelConfig}, so it is not a model in Hugging Face layout`);
}

function notAnAdapter(repository: Repository, isModel: boolean): LorikeetError {
  const name = shownName(repository);
  const what = isModel ? `is a whole model, not an adapter: serve it with --model ${name}` : `has no ${adapterConfig}`;
  return hubFault("adapter_invalid", `${name} ${what}.`, { param: name });
}

function safetensorsMissing(listing: Listing, repository: Repository, kind: Kind): LorikeetError {
  const name = shownName(repository);
  const onnx = kind === "model" ? onnxNames(listing.files.map((file) => file.name)) : [];
  if (onnx.length > 0) {
    const message = `${name} has the ONNX files ${onnx.slice(0, 8).join(", ")}, which do not say which of them make a model; model.onnx is expected.`;
    return hubFault("model_unsupported", message, { param: name, found: onnx, allowed: "model.onnx" });
  }
  const like = (pattern: RegExp): string | undefined => listing.files.find((file) => pattern.test(file.name))?.name;
  const [gguf, bin] = [like(/\.gguf$/i), like(pickle)];
  const code = kind === "model" ? "model_unsupported" : "adapter_unsupported";
  const allowed = kind === "model" ? singleWeights : adapterWeights[0];
  if (gguf !== undefined) {
    const [original = `the ${kind} it was converted from`] = listing.baseModels;
    const message = `${name} has its weights only as GGUF (${gguf}), which is not read: name ${original} instead.`;
    return hubFault(code, message, { param: name, found: gguf, allowed });
  }
  if (bin !== undefined) {
    const how = "name a revision or a repository with safetensors, or convert it with save_pretrained in Python";
    const message = `${name} has its weights only as a Python pickle (${bin}), which is never opened: ${how}.`;
    return hubFault(code, message, { param: name, found: bin, allowed });
  }
  return invalid(repository, `it has no weights as safetensors (${allowed})`);
}

function invalid(repository: Repository, what: string): LorikeetError {
  const name = shownName(repository);
  return hubFault("model_invalid", `${name} cannot be used: ${what}.`, { param: name });
}
