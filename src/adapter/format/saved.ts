/** Modules that an adapter replaces: saved whole (`modules_to_save`), or with a trained bias. */

import type { StoredTensor } from "../../tensor/safetensors.js";
import { formatShape, sameShape } from "../../tensor/shape.js";
import type { ModuleIndex, ModuleSpec, ResolvedModule } from "./base.js";
import { type Faults, quote } from "./faults.js";
import type { SavedKey } from "./keys.js";
import type { MatrixDtype, RepeatPlan, SavedPlan, StoredArray } from "./module-plan.js";

interface Draft {
  readonly resolved: ResolvedModule;
  /** Whether `modules_to_save` names it, so that its weight must be there. */
  isWhole: boolean;
  /** Whether its bias can only be the base's. */
  isFixed: boolean;
  /** Whether a name of its bias may be a second one. */
  isRepeated: boolean;
  weight?: StoredArray;
  bias?: StoredArray;
}

/** Collects a file's tensors of such modules. */
export class SavedModules {
  readonly #index: ModuleIndex;
  readonly #faults: Faults;
  readonly #drafts = new Map<string, Draft>();
  readonly #repeats: RepeatPlan[] = [];

  constructor(index: ModuleIndex, faults: Faults) {
    this.#index = index;
    this.#faults = faults;
  }

  /** `isFixed`: whether it is a bias that can only be the base's. */
  add(name: string, { shape }: StoredTensor, dtype: MatrixDtype, key: SavedKey, isFixed: boolean): void {
    const { path, part, as, isRepeat } = key;
    if (as === "copy" && part === "bias") {
      this.#faults.invalid(untrainedBias(name));
      return;
    }
    if (as === "copy") {
      this.#faults.unsupported(
        `tensor ${quote(name)} is a copy of the base's own weight, and this base has no such weight to compare it with; put the model.safetensors of the export next to the base's config.json, or save the adapter with save_embedding_layers=False`,
      );
      return;
    }
    const ifUnknown = `tensor ${quote(name)} is the trained bias of a layer that cannot be found in the base; put the model.safetensors of the export next to the base's config.json, or train with bias "lora_only"`;
    const named = { path, tensor: name, isTable: null, ...(as === "bias" && { ifUnknown }) };
    const resolved = this.#index.resolve(named, this.#faults);
    if (!resolved) return;
    const draft = this.#drafts.get(resolved.path) ?? { resolved, isWhole: false, isRepeated: false, isFixed: false };
    this.#drafts.set(resolved.path, draft);
    draft.isWhole ||= as === "whole";
    draft.isFixed ||= isFixed;
    const own = { name, dtype, shape };
    const other = draft[part];
    if (other && part === "bias" && (isRepeat || draft.isRepeated)) this.#repeats.push({ one: other, other: own });
    else if (other) {
      this.#faults.invalid(`tensors ${quote(other.name)} and ${quote(name)} are both the ${part} of ${resolved.path}`);
    } else draft[part] = own;
    draft.isRepeated ||= isRepeat;
  }

  /** Biases that the file holds twice. */
  get repeats(): readonly RepeatPlan[] {
    return this.#repeats;
  }

  /** The modules without a fault. `adapted`: those that LoRA adapts. */
  finish(adapted: ReadonlySet<string>): SavedPlan[] {
    const positions = this.#index.positions();
    return [...this.#drafts.values()]
      .flatMap((draft) => this.#check(draft, adapted))
      .sort((left, right) => (positions.get(left.path) ?? 0) - (positions.get(right.path) ?? 0));
  }

  #check(
    { resolved: { path, module }, isWhole, isFixed, weight, bias }: Draft,
    adapted: ReadonlySet<string>,
  ): SavedPlan[] {
    const faults = this.#faults;
    const before = faults.count;
    if (isWhole && !weight) faults.invalid(`module ${path} is saved whole, but its weight is missing`);
    if (weight && adapted.has(path)) faults.invalid(`module ${path} is both adapted by LoRA and saved whole`);
    // Without a base, a weight of one axis may be a decoder's normalization.
    const isNorm = module ? module.isNorm : weight?.shape.length === 1;
    if (weight && weight.shape.length < 2 && !isNorm) {
      faults.invalid(
        `tensor ${quote(weight.name)} has shape ${formatShape(weight.shape)}; two axes or more are allowed`,
      );
    }
    const axis = module?.kind === "table" ? 1 : 0;
    if (weight?.shape.includes(0)) {
      faults.invalid(
        `tensor ${quote(weight.name)} has shape ${formatShape(weight.shape)}; sizes of at least 1 are allowed`,
      );
    }
    const outFeatures = weight?.shape[axis] ?? module?.outFeatures ?? bias?.shape[0] ?? 0;
    if (bias && !sameShape(bias.shape, [outFeatures])) {
      faults.invalid(
        `tensor ${quote(bias.name)} has shape ${formatShape(bias.shape)}; ${formatShape([outFeatures])} is allowed`,
      );
    }
    if (module) checkFit(module, weight ?? null, (!isFixed && bias) || null, faults);
    if (faults.count > before) return [];
    const kind = module?.kind ?? (weight && weight.shape.length > 2 ? "convolution" : "linear");
    return [{ path, kind, outFeatures, weight: weight ?? null, bias: bias ?? null, isNorm, isFixed }];
  }
}

/** The fault of a layer's bias in a file whose config says that none was trained. */
export const untrainedBias = (name: string): string =>
  `tensor ${quote(name)} is the bias of a layer, but bias in the config is "none" or missing; set it to "lora_only" or "all" if the bias was trained, or else leave the tensor out`;

function checkFit(module: ModuleSpec, weight: StoredArray | null, bias: StoredArray | null, faults: Faults): void {
  const { path, kind, inFeatures, outFeatures, kernel, groups, hasBias, isOutput, hasFoldedNorm, knowsBias } = module;
  if (bias && hasFoldedNorm && !knowsBias) {
    faults.unsupported(
      `tensor ${quote(bias.name)} is the bias of ${path}, into which a batch normalization was folded, so that the base's own is not known; put the model.safetensors of the export next to the base's config.json, or train it without biases`,
    );
  }
  if (bias && kind === "table") faults.invalid(`tensor ${quote(bias.name)} is the bias of ${path}, which is a table`);
  if (bias && !weight && !hasBias && kind !== "table" && !hasFoldedNorm) {
    faults.invalid(`tensor ${quote(bias.name)} is the bias of ${path}, which has none in the base`);
  }
  if (!weight) return;
  if (module.isNorm) {
    if (!sameShape(weight.shape, [outFeatures])) {
      const fault = `tensor ${quote(weight.name)} has shape ${formatShape(weight.shape)}; ${formatShape([outFeatures])} is allowed for ${path}`;
      faults.otherShape(path, fault);
    }
    if (hasBias && !bias) faults.invalid(`module ${path} is saved whole without its bias, which it has in the base`);
    if (bias && !hasBias)
      faults.invalid(`tensor ${quote(bias.name)} is the bias of ${path}, which has none in the base`);
    return;
  }
  const found = kind === "table" ? (weight.shape[1] ?? 0) : (weight.shape[0] ?? 0);
  if (found !== outFeatures && !isOutput) {
    faults.otherShape(
      path,
      `module ${path} gives ${outFeatures} outputs in the base, but ${found} in the file; only a module whose outputs are the model's own may have another number`,
    );
    return;
  }
  const expected = kind === "table" ? [inFeatures, outFeatures] : [found, inFeatures / groups, ...kernel];
  if (!sameShape(weight.shape, expected)) {
    faults.otherShape(
      path,
      `tensor ${quote(weight.name)} has shape ${formatShape(weight.shape)}; ${formatShape(expected)} is allowed for ${path}`,
    );
  }
  if (hasBias && !bias && !hasFoldedNorm) {
    faults.invalid(`module ${path} is saved whole without its bias, which it has in the base`);
  }
}
