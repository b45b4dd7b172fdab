/** `lorikeet inspect`: what a model or adapter folder holds, as a table or as JSON. Loads no weights. */

import { access } from "node:fs/promises";
import { join } from "node:path";
import type { Command } from "commander";
import { openCheckpoint } from "../model/checkpoint.js";
import { type CheckpointDescription, describeCheckpoint } from "../model/describe.js";
import { formatFields } from "./table.js";
import { printJson, printLine, type Terminal } from "./terminal.js";
import { formatBytes, formatCount } from "./units.js";
import { UsageError } from "./usage.js";

export function addInspect(program: Command, terminal: Terminal): void {
  program
    .command("inspect")
    .description("show what a model or adapter folder holds, without loading it")
    .argument("<folder>", "a model folder (config.json) or an adapter folder (adapter_config.json)")
    .option("--json", "print JSON", false)
    .action(async (folder: string, options: { json: boolean }) => {
      if (await exists(join(folder, "config.json"))) await inspectModel(folder, options.json, terminal);
      else
        throw new UsageError([
          `${folder} is no model folder (config.json) and no adapter folder (adapter_config.json).`,
        ]);
    });
}

async function inspectModel(folder: string, json: boolean, terminal: Terminal): Promise<void> {
  const description = describeCheckpoint(await openCheckpoint(folder));
  if (json) printJson(terminal.stdout, description);
  else printLine(terminal.stdout, formatFields(modelFields(description)));
}

function modelFields(model: CheckpointDescription): [string, string][] {
  const { config, weights, sites } = model;
  const dtypes = Object.entries(weights.dtypes).map(([dtype, count]) => `${count} ${dtype}`);
  return [
    ["model", model.directory],
    ["family", model.family],
    ["parameters", `${formatCount(model.parameters)} (${model.parameters.toLocaleString("en-US")})`],
    ["weights", `${formatBytes(weights.bytes)} in ${weights.files.length} file(s): ${dtypes.join(", ")}`],
    ["as fp32", formatBytes(weights.float32Bytes)],
    ["layers", `${config.layerCount}, ${config.hiddenSize} wide, ${config.intermediateSize} intermediate`],
    ["attention", `${config.headCount} query and ${config.kvHeadCount} KV heads of ${config.headDim}`],
    ["windows", model.slidingLayers === 0 ? "none" : `${model.slidingLayers} of ${config.layerCount} layers`],
    ["positions", config.rope === null ? "learned" : `rope (${config.rope.scaling.kind}), theta ${config.rope.theta}`],
    ["context", `${config.maxPositions.toLocaleString("en-US")} tokens`],
    ["vocabulary", `${config.vocabSize.toLocaleString("en-US")} tokens, ${config.tiedHead ? "tied" : "separate"} head`],
    ["KV cache", `${formatBytes(model.kvBytesPerToken)} a token`],
    ["adapter sites", `${sites.total}: ${sites.names.join(", ")}`],
    ["stop ids", config.stopIds.join(", ") || "none"],
    ["fingerprint", model.fingerprint],
  ];
}

async function exists(path: string): Promise<boolean> {
  return access(path).then(
    () => true,
    () => false,
  );
}
