/** A model folder with modules of sentence-transformers, and what these compute. */

import { cp, mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { SafetensorsFile } from "../../src/tensor/safetensors.js";
import { taskRoot } from "./task-models.js";

export const moduleRoot = "test/fixtures/sentence-modules";

/** Copies the embedding model, with the modules of the fixture in place of its own. */
export async function withModules(folder: string): Promise<string> {
  await cp(join(taskRoot, "bert-embeddings"), folder, {
    recursive: true,
    filter: (path) => !path.includes("train") && !path.includes("adapters") && !path.includes("1_Pooling"),
  });
  await cp(join(moduleRoot, "bert"), folder, { recursive: true });
  return folder;
}

/** Writes a folder's modules: kinds with their settings. */
export async function writeModules(folder: string, modules: readonly (readonly [string, object])[]): Promise<void> {
  const listed = [["Transformer", {}] as const, ...modules].map(([kind], idx) => {
    const path = idx === 0 ? "" : `${idx}_${kind}`;
    return { idx, name: `${idx}`, path, type: `sentence_transformers.models.${kind}` };
  });
  await writeFile(join(folder, "modules.json"), JSON.stringify(listed));
  for (const [index, [kind, settings]] of modules.entries()) {
    await mkdir(join(folder, `${index + 1}_${kind}`), { recursive: true });
    await writeFile(join(folder, `${index + 1}_${kind}`, "config.json"), JSON.stringify(settings));
  }
}

/** What PyTorch computes, by name. */
export async function readModuleVectors(name: string): Promise<Float32Array> {
  await using file = await SafetensorsFile.open(join(moduleRoot, "expected.safetensors"));
  return await file.readFloat32(name);
}
