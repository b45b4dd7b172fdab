/** The operators around adapted layers: products, gains and shifts of each row's adapter, and layers that replace the base's. */

import type { Value } from "../../graph/types.js";
import { type AdaptedNode, type RowLayout, stackNames } from "./adapted-node.js";
import type { AdaptedOps } from "./adapted-ops.js";
import { ChannelForm, FeatureForm, type Form } from "./layer-forms.js";
import { LoneChannelForm, LoneFeatureForm } from "./lone-forms.js";
import type { WeightedNode } from "./weighted-nodes.js";

/**
 * Adds a layer's parts to `base`, what its own node computes; of a normalization that others replace, what it computes without its weight and
 * bias. The sum gets the name of `y`.
 */
export function addParts(ops: AdaptedOps, { path, target, layout, parts }: AdaptedNode, base: Value, y: Value): void {
  const names = stackNames(path);
  const form = formOf(ops, target, layout);
  const vector = (name: string): Value => form.vector(ops.ofRows(name, [`out.${path}`], layout));
  if (target.kind === "norm" && parts.whole) {
    const scaled = ops.node("Mul", [form.byRow(base), vector(names.weight)]);
    const sums = [scaled, vector(names.bias), ...(parts.shift ? [vector(names.shift)] : [])];
    const sum = sums.reduce((left, right) => ops.node("Add", [left, right]));
    ops.nodeFor(y, "Identity", [form.shaped(sum, base)]);
    return;
  }
  const own = parts.whole ? form.whole(names.weight, path) : base;
  if (!parts.whole && !parts.product && !parts.gain) {
    const shifted = ops.node("Add", [form.byRow(base), vector(names.shift)]);
    ops.nodeFor(y, "Identity", [form.shaped(shifted, base)]);
    return;
  }
  const sums: Value[] = parts.whole ? [form.byRow(own), vector(names.bias)] : [];
  if (parts.product) sums.push(form.product(names, path));
  if (parts.gain) sums.push(ops.node("Mul", [form.byRow(own), vector(names.gain)]));
  if (parts.shift) sums.push(vector(names.shift));
  const sum = sums.reduce((left, right) => ops.node("Add", [left, right]));
  const added = form.shaped(sum, own);
  const bias = parts.gain && !parts.whole && target.bias?.add === null ? form.ownBias(target.bias.values.value) : null;
  const last = parts.whole ? added : ops.node("Add", [base, added]);
  ops.nodeFor(y, bias ? "Add" : "Identity", bias ? [last, bias] : [last]);
}

function formOf(ops: AdaptedOps, target: WeightedNode, layout: RowLayout): Form {
  const isChannels = target.kind === "convolution" || target.channels !== undefined;
  if (ops.isLone) return isChannels ? new LoneChannelForm(ops, target) : new LoneFeatureForm(ops, target);
  return isChannels ? new ChannelForm(ops, target) : new FeatureForm(ops, target, layout);
}
