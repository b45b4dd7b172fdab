/**
 * Which layers have a sliding window: `layer_types` of transformers 5, or else the family's rule (every layer, every other one, or those
 * from `max_window_layers` on if `use_sliding_window` is set).
 */

import { shown } from "../../base/json.js";
import type { ConfigFields } from "./fields.js";

export type LayerType = "full_attention" | "sliding_attention";

/** Which layers of a family have sliding windows, if `layer_types` is missing. */
export interface WindowRules {
  readonly layers: "never" | "every" | "late" | "alternate" | "threeOfFour" | ((layer: number) => boolean);
  /** The default of `sliding_window`. */
  readonly slidingWindow: number | null;
  /** Whether `use_sliding_window` must be true. It always must for `late`. */
  readonly isSwitched?: boolean;
}

export interface LayerWindows {
  readonly types: readonly LayerType[];
  /** One entry per layer: its window in tokens, or null for full attention. */
  readonly windows: readonly (number | null)[];
}

/** Reads the window of every layer. Faults go to `fields.faults`. */
export function readWindows(fields: ConfigFields, rules: WindowRules, layerCount: number): LayerWindows {
  const window = readWindow(fields, rules);
  const late = rules.layers === "late" ? fields.integer("max_window_layers", 28, { min: 0 }) : 0;
  const byRule = Array.from({ length: layerCount }, (_, layer) => typeByRule(rules.layers, layer, window, late));
  const types = readLayerTypes(fields, layerCount) ?? byRule;
  if (rules.layers === "never" || rules.layers === "every") {
    const odd = types.findIndex((type, layer) => type !== byRule[layer]);
    if (odd >= 0) {
      fields.faults.unsupported(
        `${fields.name("layer_types")} makes layer ${odd} ${shown(types[odd])}, but this family's layers are all ${shown(byRule[odd])}`,
      );
    }
  }
  if (window === null && types.includes("sliding_attention")) {
    fields.faults.invalid(
      `${fields.name("layer_types")} has sliding_attention, but no sliding window is set (sliding_window, use_sliding_window)`,
    );
  }
  return { types, windows: types.map((type) => (type === "sliding_attention" ? window : null)) };
}

function readWindow(fields: ConfigFields, rules: WindowRules): number | null {
  const { layers, slidingWindow, isSwitched = layers === "late" } = rules;
  if (layers === "never") return null; // keys for windows are refused elsewhere
  const window = fields.integerOrNull("sliding_window", slidingWindow, null);
  const isUsed = fields.boolean("use_sliding_window", !isSwitched);
  if (isUsed || window === null) return window;
  if (!isSwitched) {
    fields.faults.unsupported(
      `${fields.name("use_sliding_window")} is false with a sliding_window of ${window}, but this family ignores it`,
    );
  }
  return null;
}

function typeByRule(rule: WindowRules["layers"], layer: number, window: number | null, late: number): LayerType {
  if (typeof rule === "function") return window !== null && rule(layer) ? "sliding_attention" : "full_attention";
  switch (rule) {
    case "never":
      return "full_attention";
    case "every":
      return window === null ? "full_attention" : "sliding_attention";
    case "late":
      return window !== null && layer >= late ? "sliding_attention" : "full_attention";
    case "alternate":
      return layer % 2 === 0 ? "sliding_attention" : "full_attention";
    case "threeOfFour":
      return layer % 4 === 3 ? "full_attention" : "sliding_attention";
  }
}

function readLayerTypes(fields: ConfigFields, layerCount: number): LayerType[] | null {
  const value = fields.raw("layer_types");
  if (value === undefined || value === null) return null;
  if (!Array.isArray(value) || value.length !== layerCount) {
    const found = Array.isArray(value) ? `a list of ${value.length}` : shown(value);
    fields.faults.invalid(`${fields.name("layer_types")} is ${found}, but must list ${layerCount} layers`);
    return null;
  }
  const named: unknown[] = value;
  const types = named.map(layerType);
  const unknown = [...new Set(named.filter((_, layer) => types[layer] === null).map(shown))];
  if (unknown.length > 0) {
    fields.faults.unsupported(
      `${fields.name("layer_types")} has ${unknown.join(", ")}, which is not implemented; full_attention and sliding_attention are`,
    );
    return null;
  }
  return types.flatMap((type) => type ?? []);
}

function layerType(name: unknown): LayerType | null {
  if (name === "full_attention" || name === "attention") return "full_attention";
  return name === "sliding_attention" ? name : null;
}
