/** Adapters of any bytes for the tests of stores, and a check that passes them. */
import { createHash } from "node:crypto";
import { readdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { isKeptFile } from "../../src/adapter/format.js";
import type { AdapterStore } from "../../src/adapter/store/store.js";
import { versionDigest } from "../../src/adapter/store/version-digest.js";
import type { AdapterSummary } from "../../src/adapter/types.js";
import { LorikeetError } from "../../src/base/errors.js";

/** A check that knows nothing of tensors: the digest of weights is of both files; `{"bad":...}` is refused. */
export async function fakeCheck(folder: string): Promise<{ readonly summary: AdapterSummary }> {
  const names = (await readdir(folder)).sort();
  const hash = createHash("sha256");
  let bytes = 0;
  for (const name of ["adapter_config.json", "adapter_model.safetensors"]) {
    const content = await readFile(join(folder, name)).catch(() => null);
    if (content === null) throw new LorikeetError("adapter_invalid", `${name} is missing.`);
    if (content.includes('"bad"'))
      throw new LorikeetError("adapter_invalid", "The config is bad.", { faults: ["bad"] });
    hash.update(content).update("\0");
    bytes += content.length;
  }
  const weightsDigest = `sha256:${hash.digest("hex")}`;
  const digest = await versionDigest(folder);
  const ignored = names.filter((name) => !isKeptFile(name));
  const sizes = { rank: 8, modules: 4, bytes, activeBytes: 2 * bytes, scales: { min: 2, max: 2 } };
  return { summary: { digest, weightsDigest, dora: false, ...sizes, warnings: [], ignored } };
}

/** Stages an adapter of this content. */
export async function stageText(
  store: Pick<AdapterStore, "stage">,
  text: string,
  more: Record<string, string> = {},
): Promise<string> {
  const staged = await store.stage();
  const files = { "adapter_config.json": "{}", "adapter_model.safetensors": text, ...more };
  for (const [name, content] of Object.entries(files)) await writeFile(join(staged, name), content);
  return staged;
}
