/**
 * Composes a mixture by concatenating ranks: with A = [A1 | A2 | ...] and B = [w1 s1 B1; w2 s2 B2; ...], A B is the weighted sum of the
 * parts' products. PEFT does the same with `combination_type="cat"`. Adding A to A and B to B, as its `linear` does, is a different
 * function.
 */
import { setImmediate as nextTurn } from "node:timers/promises";
import { assert, LorikeetError } from "../../base/errors.js";
import { float32At } from "../../base/list.js";
import { bfloat16ToFloat32, float16ToFloat32 } from "../../tensor/half.js";
import type { HostAdapter, HostModule } from "../types.js";

/** A part in host memory, and its weight. */
export interface Weighted {
  readonly adapter: HostAdapter;
  readonly weight: number;
  /** Begins the sentence that refuses it: "The adapter `a`". */
  readonly label: string;
}

/**
 * The mixture in fp32, module after module in turns of the event loop. Throws LorikeetError `adapter_unsupported` for a part with
 * gains (DoRA), whose product is not all it adds.
 */
export async function composeMixture(digest: string, parts: readonly Weighted[]): Promise<HostAdapter> {
  for (const { adapter, label } of parts) {
    if (adapter.changesNorms || [...adapter.modules.values()].some(({ shift }) => shift !== undefined))
      throw shifts(label);
    if (adapter.embedding) throw embeds(label);
    if (adapter.tokens) throw replacesRows(label);
    if (adapter.hasGains) throw notLinear(label);
  }
  const modules = new Map<string, HostModule>();
  for (const path of new Set(parts.flatMap(({ adapter }) => [...adapter.modules.keys()]))) {
    const adapted = parts.flatMap(({ adapter, weight }) => {
      const module = adapter.modules.get(path);
      return module ? [{ module, factor: weight * module.scale }] : [];
    });
    modules.set(path, concatenate(adapted));
    await nextTurn();
  }
  const list = [...modules.values()];
  return {
    digest,
    rank: list.reduce((rank, module) => Math.max(rank, module.rank), 0),
    bytes: list.reduce((bytes, { a, b }) => bytes + a.byteLength + b.byteLength, 0),
    hasGains: false,
    modules,
  };
}

/** `subject` begins the sentence. */
export function notLinear(subject: string): LorikeetError {
  const message = `${subject} is weight-decomposed (DoRA), which is not linear: it cannot be mixed with others.`;
  return new LorikeetError("adapter_unsupported", message, { param: "adapters" });
}

function shifts(subject: string): LorikeetError {
  const message = `${subject} has biases (bias or lora_bias) or normalizations: it cannot be mixed with others.`;
  return new LorikeetError("adapter_unsupported", message, { param: "adapters" });
}

function embeds(subject: string): LorikeetError {
  const message = `${subject} adapts the embeddings: it cannot be mixed with others.`;
  return new LorikeetError("adapter_unsupported", message, { param: "adapters" });
}

function replacesRows(subject: string): LorikeetError {
  const message = `${subject} replaces rows of the embeddings or the head (trainable_token_indices or modules_to_save): it cannot be mixed with others.`;
  return new LorikeetError("adapter_unsupported", message, { param: "adapters" });
}

/** The product of every module is multiplied by its `factor`. */
function concatenate(parts: readonly { readonly module: HostModule; readonly factor: number }[]): HostModule {
  const rank = parts.reduce((sum, { module }) => sum + module.rank, 0);
  const [first] = parts;
  assert(first, "a module of a mixture is some part's");
  const inFeatures = first.module.a.length / first.module.rank;
  const outFeatures = first.module.b.length / first.module.rank;
  const a = new Float32Array(inFeatures * rank); // [inFeatures, rank]
  const b = new Float32Array(rank * outFeatures); // [rank, outFeatures]
  let before = 0;
  for (const { module, factor } of parts) {
    const ownA = widen(module, module.a);
    for (let i = 0; i < inFeatures; i++) {
      a.set(ownA.subarray(i * module.rank, (i + 1) * module.rank), i * rank + before);
    }
    const ownB = widen(module, module.b);
    const start = before * outFeatures;
    for (let i = 0; i < ownB.length; i++) b[start + i] = float32At(ownB, i) * factor;
    before += module.rank;
  }
  return { rank, dtype: "F32", a, b, scale: 1 };
}

function widen({ dtype }: HostModule, elements: Float32Array | Uint16Array): Float32Array {
  if (elements instanceof Float32Array) return elements;
  return dtype === "F16" ? float16ToFloat32(elements) : bfloat16ToFloat32(elements);
}
