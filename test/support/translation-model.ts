/** The tiny translation model in both layouts of its decoder, started with its adapters. */

import assert from "node:assert/strict";
import { cpSync, existsSync, mkdirSync, mkdtempSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { loadTaskAdapter } from "../../src/adapter/format.js";
import type { HostTaskAdapter } from "../../src/adapter/types.js";
import { at } from "../../src/base/list.js";
import { openGraphs, type StartedEncoderDecoder, startEncoderDecoder } from "../../src/engine/seq2seq/start.js";
import { chooseBranch } from "../../src/graph/branches.js";
import { serializeGraph } from "../../src/graph/serialize.js";
import type { Graph, Node } from "../../src/graph/types.js";
import { taskTargetsOf } from "../../src/model/task/adapter-targets.js";
import { readGenerationRules } from "../../src/model/task/generation-rules.js";
import { openTaskModel } from "../../src/model/task/open.js";
import { openGraph, taskRoot } from "./task-models.js";

export const translationModel = join(taskRoot, "marian");
/** A tiny T5, in three files. */
export const t5Model = "test/fixtures/seq2seq/t5";
export const translationAdapters: readonly string[] = readdirSync(join(translationModel, "adapters")).sort();

/**
 * A copy of the model with a file for each of the decoder's graphs, as exporters write them that do not merge. Its softmax is written as two
 * operators, so rows of different lengths cannot share a run.
 */
export async function separateDecoders(parent: string): Promise<string> {
  const folder = mkdtempSync(join(parent, "marian-"));
  mkdirSync(join(folder, "onnx"));
  for (const name of readdirSync(translationModel)) {
    if (name.endsWith(".json") || name.endsWith(".safetensors"))
      cpSync(join(translationModel, name), join(folder, name));
  }
  const [encoder, merged] = ["encoder_model", "decoder_model_merged"].map((name) =>
    join(translationModel, "onnx", `${name}.onnx`),
  );
  assert.ok(encoder && merged);
  cpSync(encoder, join(folder, "onnx", "encoder_model.onnx"));
  const whole = await openGraph(merged);
  for (const [name, usesCache] of [["decoder_model", false] as const, ["decoder_with_past_model", true] as const]) {
    writeFileSync(
      join(folder, "onnx", `${name}.onnx`),
      serializeGraph(withoutSoftmax(chooseBranch(whole, "use_cache_branch", usesCache))),
    );
  }
  return folder;
}

function withoutSoftmax(graph: Graph): Graph {
  const nodes = graph.nodes.flatMap((node): Node[] => {
    const [y] = node.outputs;
    if (node.op !== "Softmax" || !y) return [node];
    const log = { ...y, name: `${y.name}/log` };
    const exp = { ...node, name: `${node.name}/exp`, op: "Exp", inputs: [log], outputs: [y], attributes: {} };
    return [{ ...node, op: "LogSoftmax", outputs: [log] }, exp];
  });
  return { ...graph, nodes };
}

export interface StartedTranslation extends StartedEncoderDecoder {
  /** Those of its folder, by name. */
  readonly adapters: readonly HostTaskAdapter[];
  /** Adapters that are leased. */
  readonly leases: () => number;
}

export async function startTranslation(
  folder: string,
  limits: { readonly maxBatch?: number; readonly activeAdapterBytes?: number } = {},
): Promise<StartedTranslation> {
  const { maxBatch = 4, activeAdapterBytes = 2 ** 26 } = limits;
  const model = await openTaskModel(folder);
  const targets = taskTargetsOf(model.modules);
  const adapters: HostTaskAdapter[] = [];
  const adaptersIn = join(existsSync(join(folder, "adapters")) ? folder : translationModel, "adapters");
  for (const name of readdirSync(adaptersIn).sort()) {
    adapters.push(await loadTaskAdapter(join(adaptersIn, name), targets));
  }
  let leases = 0;
  const graphs = await openGraphs({ model, threads: 1, maxBatch });
  const started = await startEncoderDecoder(
    {
      model,
      rules: await readGenerationRules(folder),
      limits: { maxBatch, maxContext: 48, maxGenerated: 48, maxQueue: 256, maxAdapterQueue: 256 },
      activeAdapterBytes,
      maxStallMs: 100,
      adapters: {
        prefetch: () => {},
        acquire: async (digest) => {
          leases++;
          const index = adapters.findIndex((adapter) => adapter.digest === digest);
          return { adapter: at(adapters, index), from: "host", loadMs: 0, release: () => void leases-- };
        },
      },
    },
    graphs,
  );
  return { ...started, adapters, leases: () => leases };
}
