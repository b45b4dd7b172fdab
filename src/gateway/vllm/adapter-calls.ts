/** vLLM's two calls about adapters, `load_lora_adapter` and `unload_lora_adapter`: their bodies, lines and faults. */
import * as v from "valibot";
import { LorikeetError } from "../../base/errors.js";
import type { Adapters } from "../adapters.js";
import { flag } from "../body/field-kinds.js";
import { type BodyFormat, parse } from "../body/parse.js";

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

export class AdapterCalls {
  readonly #adapters: Adapters;

  constructor(adapters: Adapters) {
    this.#adapters = adapters;
  }

  /** Stores a copy of a folder under a name, of the base that is given or found; returns vLLM's line. Throws LorikeetError `already_loaded`, `adapter_not_found`, `route_not_found`, or what storing throws. */
  async load(body: unknown, base: string | null = null): Promise<string> {
    const { lora_name, lora_path, load_inplace } = parse(loadFormat, body);
    try {
      await this.#adapters.copyFolder(lora_name, lora_path, !load_inplace, base);
    } catch (error) {
      throw asLoadFault(error, lora_name);
    }
    return `Success: LoRA adapter '${lora_name}' added successfully.`;
  }

  /** Removes a name; returns vLLM's line. Throws LorikeetError `adapter_not_found` or `conflict`. */
  async unload(body: unknown): Promise<string> {
    const { lora_name } = parse(unloadFormat, body);
    if (!this.#adapters.has(lora_name)) {
      throw new LorikeetError("adapter_not_found", `The lora adapter '${lora_name}' cannot be found.`, {
        param: "lora_name",
      });
    }
    await this.#adapters.remove(lora_name);
    return `Success: LoRA adapter '${lora_name}' removed successfully.`;
  }
}

/** A fault of loading in vLLM's words. */
function asLoadFault(error: unknown, name: string): unknown {
  if (!(error instanceof LorikeetError)) return error;
  if (error.code === "precondition_failed") {
    return new LorikeetError(
      "already_loaded",
      `The lora adapter '${name}' has already been loaded. If you want to load the adapter in place, set 'load_inplace' to True.`,
      { param: "lora_name" },
    );
  }
  if (error.code !== "adapter_not_found" || error.param !== "path") return error;
  return new LorikeetError(
    "adapter_not_found",
    "No adapter found: `lora_path` is not a folder below the one that the operator allowed with `--lora-path-root`.",
    { param: "lora_path" },
  );
}
