/** Helpers of the adapter format's tests: modules from a checkpoint's own header, folders made by rewriting a valid adapter. */

import assert from "node:assert/strict";
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { LorikeetError } from "../../../src/base/errors.js";
import type { BaseModule, TargetModule } from "../../../src/model/blueprint.js";
import { viewAs } from "../../../src/tensor/dtype.js";
import { float32ToBfloat16, float32ToFloat16 } from "../../../src/tensor/half.js";
import { SafetensorsFile } from "../../../src/tensor/safetensors.js";
import { type TensorToWrite, writeSafetensors } from "../../../src/tensor/safetensors-write.js";

export const oracle = "test/fixtures/oracle";
export const valid = `${oracle}/llama/adapters/attn-r8`;

/** A base's linear layers with its head and embeddings beside them, by the names of Llama and GPT-2. */
export function withTables(linears: readonly TargetModule[]): BaseModule[] {
  const [first] = linears;
  const size = { inFeatures: first?.inFeatures ?? 1, outFeatures: first?.inFeatures ?? 1 };
  const isGpt2 = first?.path.startsWith("transformer.") === true;
  const tables = isGpt2 ? ["transformer.wte", "transformer.wpe"] : ["model.embed_tokens"];
  const isHead = ({ path }: TargetModule): boolean => path === "lm_head";
  return [
    ...linears.map((linear): BaseModule => (isHead(linear) ? { ...linear, role: "head" } : linear)),
    ...(linears.some(isHead) ? [] : [{ path: "lm_head", ...size, role: "tied_head" as const }]),
    ...tables.map((path) => ({ path, ...size, role: "embedding" as const })),
  ];
}

/** Every 2-D weight that is not an embedding; gpt2's Conv1D weights are [in, out]. */
export async function modulesOf(checkpoint: string): Promise<BaseModule[]> {
  await using file = await SafetensorsFile.open(join(checkpoint, "model.safetensors"));
  const modules: TargetModule[] = [];
  for (const [name, { shape }] of file.tensors) {
    const [rows = 0, columns = 0] = shape;
    if (shape.length !== 2 || !name.endsWith(".weight") || /embed_tokens|wte|wpe/.test(name)) continue;
    const conv1d = name.startsWith("transformer.");
    const path = name.slice(0, -".weight".length);
    modules.push({ path, inFeatures: conv1d ? rows : columns, outFeatures: conv1d ? columns : rows });
  }
  return withTables(modules);
}

export interface EditableTensor {
  readonly name: string;
  readonly dtype: TensorToWrite["dtype"];
  readonly shape: readonly number[];
  readonly data: Uint8Array;
}

export async function readTensors(path: string): Promise<EditableTensor[]> {
  await using file = await SafetensorsFile.open(path);
  const tensors: EditableTensor[] = [];
  for (const [name, { dtype, shape }] of file.tensors)
    tensors.push({ name, dtype, shape, data: await file.read(name) });
  return tensors;
}

export interface Edit {
  readonly source?: string;
  /** Merged over the config's keys; a string replaces the file, null removes it. */
  readonly config?: Readonly<Record<string, unknown>> | string | null;
  /** Returns the tensors to write. */
  readonly tensors?: (tensors: EditableTensor[]) => readonly (EditableTensor | TensorToWrite)[];
  /** More files by name. */
  readonly files?: Readonly<Record<string, string>>;
  readonly weightsName?: string;
}

const root = mkdtempSync(join(tmpdir(), "lorikeet-format-"));
process.on("exit", () => rmSync(root, { recursive: true, force: true }));

/** A new folder: a copy of a valid adapter with the edit made. */
export async function edited({ source = valid, config, tensors, files = {}, weightsName }: Edit = {}): Promise<string> {
  const folder = mkdtempSync(join(root, "a-"));
  const configPath = join(folder, "adapter_config.json");
  const weights = join(folder, "adapter_model.safetensors");
  cpSync(join(source, "adapter_config.json"), configPath);
  cpSync(join(source, "adapter_model.safetensors"), weights);
  if (config === null) rmSync(configPath);
  else if (typeof config === "string") writeFileSync(configPath, config);
  else if (config)
    writeFileSync(configPath, JSON.stringify({ ...JSON.parse(readFileSync(configPath, "utf8")), ...config }));
  if (tensors || weightsName) {
    const all = await readTensors(weights);
    rmSync(weights);
    await writeSafetensors(join(folder, weightsName ?? "adapter_model.safetensors"), tensors?.(all) ?? all, {
      format: "pt",
    });
  }
  for (const [name, text] of Object.entries(files)) writeFileSync(join(folder, name), text);
  return folder;
}

/** The LorikeetError that a promise rejects with. */
export async function refusalOf(promise: Promise<unknown>): Promise<LorikeetError> {
  try {
    await promise;
  } catch (error) {
    assert.ok(error instanceof LorikeetError, String(error));
    return error;
  }
  assert.fail("the adapter was accepted");
}

export function renamed(rename: (name: string) => string): (tensors: EditableTensor[]) => EditableTensor[] {
  return (tensors) => tensors.map((tensor) => ({ ...tensor, name: rename(tensor.name) }));
}

/** The 16-bit dtypes, and how float32 is rounded to each. */
export const halves = [
  ["F16", float32ToFloat16],
  ["BF16", float32ToBfloat16],
] as const;

/** Rewrites the tensors of a folder in a 16-bit dtype. */
export const narrowed =
  ([dtype, narrow]: (typeof halves)[number]) =>
  (tensors: EditableTensor[]): EditableTensor[] =>
    tensors.map((tensor) => ({ ...tensor, dtype, data: new Uint8Array(narrow(viewAs("F32", tensor.data)).buffer) }));
