/** The result of a run, an adapter or a whole checkpoint: writes its parameters to files and reads them back. */
import { join } from "node:path";
import { assert } from "../../base/errors.js";
import { openCheckpoint } from "../../model/checkpoint/open.js";
import type { Checkpoint } from "../../model/types.js";
import type { TensorToWrite } from "../../tensor/safetensors-write.js";
import { writeSafetensors } from "../../tensor/safetensors-write.js";
import { readSegment, toFloat32 } from "../../weights/convert/task.js";
import type { Parameter } from "../step.js";
import { type AdapterFacts, openAdapter, saveAdapter } from "./adapter-files.js";
import { copyModelFiles, floatOf, narrow } from "./model-files.js";

export interface Product {
  /** Whether `write` rounds, so that the served weights differ slightly from the trained ones. */
  readonly rounds: boolean;
  /** Writes the parameters exactly, for checkpoints, and flushes them. */
  save(folder: string): Promise<void>;
  /** Reads files of `save` or `write` into the parameters. */
  load(folder: string): Promise<void>;
  /** Writes the result and flushes it. */
  write(folder: string): Promise<void>;
}

/** A PEFT folder: checkpoints in float32, the result in `dtype`. */
export function adapterProduct(
  { config }: Checkpoint,
  facts: AdapterFacts,
  parameters: readonly Parameter[],
  dtype: "fp32" | "bf16",
): Product {
  const rounds = dtype === "bf16";
  return {
    rounds,
    save: (folder) => saveAdapter(folder, facts, parameters),
    write: (folder) => saveAdapter(folder, facts, parameters, rounds ? "BF16" : "F32"),
    async load(folder) {
      await (await openAdapter(folder, config)).readInto(parameters);
    },
  };
}

/** A run writes its own records. Those of the base model's run are not copied. */
export const recordsOfRuns = ["README.md", "lorikeet.json", "training.jsonl", "training.svg"];

/** A checkpoint directory: checkpoints in float32, the result with each tensor in the type of the base model's. */
export function checkpointProduct(base: Checkpoint, parameters: readonly Parameter[]): Product {
  const put = async (folder: string, dtype: "same" | "fp32"): Promise<void> => {
    await copyModelFiles(base.directory, folder, { dtype, without: recordsOfRuns });
    const tensors = tensorsOf(base, parameters, dtype);
    await writeSafetensors(join(folder, "model.safetensors"), tensors, { format: "pt" }, { fsync: true });
  };
  return {
    rounds: [...base.tensors.values()].some(({ dtype }) => dtype !== "F32"),
    save: (folder) => put(folder, "fp32"),
    load: async (folder) => readWeights(await openCheckpoint(folder), parameters),
    write: (folder) => put(folder, "same"),
  };
}

/** Copies a checkpoint's tensors into the parameters of the same names. */
export function readWeights({ tensors }: Pick<Checkpoint, "tensors">, parameters: readonly Parameter[]): void {
  for (const { name, data } of parameters) {
    const location = tensors.get(name);
    assert(location, `the checkpoint has the trained tensor ${name}`);
    data.set(toFloat32(location.dtype, readSegment(location)));
  }
}

function tensorsOf(base: Checkpoint, parameters: readonly Parameter[], dtype: "same" | "fp32"): TensorToWrite[] {
  const trained = new Map(parameters.map((parameter) => [parameter.name, parameter]));
  return [...base.tensors.values()].map(({ name, shape, dtype: stored }): TensorToWrite => {
    const parameter = trained.get(name);
    assert(parameter, `the step trains ${name}`);
    const kept = dtype === "same" ? floatOf(stored) : "F32";
    return { name, dtype: kept, shape, data: () => narrow(parameter.data, kept) };
  });
}
