/** vLLM's two calls: an adapter from a folder of this machine, below the one folder that the operator allowed. */
import { realpath, stat } from "node:fs/promises";
import { join, resolve, sep } from "node:path";
import * as v from "valibot";
import { LorikeetError } from "../base/errors.js";
import type { Adapters, StorePort } from "./adapters.js";
import { flag } from "./body/field-kinds.js";
import { type BodyFormat, parse } from "./body/parse.js";

const nameRule = "must be an adapter's name";
const pathRule = "must be the path of a folder, a string of 1 to 4096 characters";
const name = v.pipe(v.string(nameRule), v.minLength(1, nameRule), v.maxLength(512, nameRule));
const loadSchema = v.object(
  {
    lora_name: name,
    lora_path: v.pipe(v.string(pathRule), v.minLength(1, pathRule), v.maxLength(4096, pathRule)),
    load_inplace: v.optional(flag, false),
  },
  "is required",
);
const unloadSchema = v.object({ lora_name: name }, "is required");

const loadFormat: BodyFormat<typeof loadSchema> = {
  schema: loadSchema,
  known: ["lora_name", "lora_path", "load_inplace"],
  ignored: {},
};
const unloadFormat: BodyFormat<typeof unloadSchema> = {
  schema: unloadSchema,
  known: ["lora_name"],
  ignored: { lora_int_id: { allowed: "an integer", accepts: Number.isInteger } },
};

export class LoraPaths {
  readonly #root: string | null;
  readonly #store: Pick<StorePort, "resolve" | "stageCopy">;
  readonly #adapters: Adapters;

  constructor(root: string | null, store: Pick<StorePort, "resolve" | "stageCopy">, adapters: Adapters) {
    this.#root = root;
    this.#store = store;
    this.#adapters = adapters;
  }

  /** Stores a copy of a folder under a name; gives vLLM's line. Throws LorikeetError `already_loaded`, `adapter_not_found`, `route_not_found`, or what storing throws. */
  async load(body: unknown): Promise<string> {
    const { lora_name, lora_path, load_inplace } = parse(loadFormat, body);
    if (this.#root === null) {
      const message = "Loading adapters by path is off; the operator turns it on with `--lora-path-root <dir>`.";
      throw new LorikeetError("route_not_found", message);
    }
    if (!load_inplace && this.#store.resolve(lora_name)) throw alreadyLoaded(lora_name);
    const { root, folder } = await folderBelow(this.#root, lora_path);
    const staged = await this.#store.stageCopy(folder, { within: root });
    try {
      await this.#adapters.store(lora_name, staged, !load_inplace);
    } catch (error) {
      if (error instanceof LorikeetError && error.code === "precondition_failed") throw alreadyLoaded(lora_name);
      throw error;
    }
    return `Success: LoRA adapter '${lora_name}' added successfully.`;
  }

  /** Takes a name away; gives vLLM's line. Throws LorikeetError `adapter_not_found` or `conflict`. */
  async unload(body: unknown): Promise<string> {
    const { lora_name } = parse(unloadFormat, body);
    if (!this.#store.resolve(lora_name)) {
      throw new LorikeetError("adapter_not_found", `The lora adapter '${lora_name}' cannot be found.`, {
        param: "lora_name",
      });
    }
    await this.#adapters.remove(lora_name);
    return `Success: LoRA adapter '${lora_name}' removed successfully.`;
  }
}

/** Real paths of both; one fault for all that is outside, missing or no folder, so that nothing is learned of the rest of the disk. */
async function folderBelow(allowed: string, path: string): Promise<{ root: string; folder: string }> {
  try {
    const root = await realpath(allowed);
    const folder = await realpath(resolve(root, path));
    if (folder !== root && folder.startsWith(join(root, sep)) && (await stat(folder)).isDirectory())
      return { root, folder };
  } catch {
    // Falls through to the one fault.
  }
  throw new LorikeetError(
    "adapter_not_found",
    "No adapter found: `lora_path` is not a folder below the one that the operator allowed with `--lora-path-root`.",
    { param: "lora_path" },
  );
}

function alreadyLoaded(name: string): LorikeetError {
  return new LorikeetError(
    "already_loaded",
    `The lora adapter '${name}' has already been loaded. If you want to load the adapter in place, set 'load_inplace' to True.`,
    { param: "lora_name" },
  );
}
