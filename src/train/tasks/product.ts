/** The result of a run over a task model, an adapter or a whole model, and its checkpoints. */

import { mkdir, open, writeFile } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { assert, LorikeetError } from "../../base/errors.js";
import { only } from "../../base/list.js";
import { openOnnx } from "../../graph/open.js";
import { serializeGraph } from "../../graph/serialize.js";
import type { Graph, Initializer, InitializerData } from "../../graph/types.js";
import type { TaskModel } from "../../model/task/open.js";
import { floatsOf } from "../../model/task/weight-values.js";
import { copyModelFiles } from "../files/model-files.js";

import type { Product } from "../files/product.js";
import type { Parameter } from "../step.js";
import { type OpenedTaskAdapter, saveTaskAdapter, type TaskAdapterFacts } from "./task-adapter.js";

/** A PEFT folder: checkpoints in float32, the result in `dtype`. */
export function taskAdapterProduct(
  facts: TaskAdapterFacts,
  parameters: readonly Parameter[],
  dtype: "fp32" | "bf16",
  reopen: (folder: string) => Promise<OpenedTaskAdapter>,
): Product {
  const rounds = dtype === "bf16";
  return {
    rounds,
    save: (folder) => saveTaskAdapter(folder, facts, parameters),
    write: (folder) => saveTaskAdapter(folder, facts, parameters, rounds ? "BF16" : "F32"),
    load: async (folder) => await (await reopen(folder)).readInto(parameters),
  };
}

/** A run writes its own records, and labels.json belongs to adapters. Those of the base's run are not copied. */
const notCopied = ["README.md", "lorikeet.json", "training.jsonl", "training.svg"];

/** Protobuf's limit: a file with its weights inside. */
const mostBytes = 2 ** 31 - 2 ** 20;

/** A model's folder with one new ONNX file, which holds all weights; checkpoints are such folders as well. */
export function taskModelProduct({ folder, opened }: TaskModel, parameters: readonly Parameter[]): Product {
  const { label, graphs } = only(opened);
  const { graph } = only(graphs);
  const put = async (to: string): Promise<void> => {
    const whole = await withWeights(graph, parameters);
    await copyModelFiles(folder, to, { dtype: "same", without: notCopied });
    await mkdir(dirname(join(to, label)), { recursive: true });
    await writeFile(join(to, label), serializeGraph(whole), { flush: true });
  };
  return {
    rounds: false,
    save: put,
    write: put,
    async load(from) {
      const { graph: saved } = await openOnnx(join(from, label), basename(label));
      const byName = new Map(saved.initializers.map((initializer) => [initializer.value.name, initializer]));
      for (const { name, data } of parameters) {
        const initializer = byName.get(name);
        assert(initializer, `the saved model has the trained weight ${name}`);
        data.set(await floatsOf(initializer));
      }
    },
  };
}

/** Throws `model_unsupported` for more weights than one file can hold. */
async function withWeights(graph: Graph, parameters: readonly Parameter[]): Promise<Graph> {
  const trained = new Map(parameters.map(({ name, data }) => [name, data]));
  const sizes = graph.initializers.map(({ data }) =>
    data.kind === "inline" ? data.bytes.byteLength : data.byteLength,
  );
  const total = sizes.reduce((sum, size) => sum + size, 0);
  if (total > mostBytes) {
    throw new LorikeetError(
      "model_unsupported",
      `The model has ${total} bytes of weights; one ONNX file holds ${mostBytes}.`,
      {
        ...{ param: "--method", found: total, allowed: mostBytes },
      },
    );
  }
  const initializers: Initializer[] = [];
  for (const initializer of graph.initializers) {
    const { value, data } = initializer;
    const values = trained.get(value.name);
    const bytes = values ? new Uint8Array(values.buffer, values.byteOffset, values.byteLength) : await bytesOf(data);
    initializers.push({ value, data: { kind: "inline", bytes } });
  }
  return { ...graph, initializers };
}

/** Throws `model_invalid` if the file has become shorter. */
async function bytesOf(data: InitializerData): Promise<Uint8Array> {
  if (data.kind === "inline") return data.bytes;
  const bytes = new Uint8Array(data.byteLength);
  await using handle = await open(data.file);
  const { bytesRead } = await handle.read(bytes, 0, bytes.length, data.offset);
  if (bytesRead === bytes.length) return bytes;
  throw new LorikeetError("model_invalid", "The external data of the model became shorter while it was read.");
}
