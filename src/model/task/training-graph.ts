/**
 * The graph of a task model with trained tensors as inputs, over a graph whose sizes are all numbers. Adapters compute what PEFT
 * computes; `autodiff` differentiates what comes out.
 */

import { assert } from "../../base/errors.js";
import { GraphBuilder } from "../../graph/builder.js";
import type { CustomGradient } from "../../graph/gradient.js";
import { Ops } from "../../graph/ops.js";
import type { Graph, Node, Shape, Value } from "../../graph/types.js";
import type { FoldedNorm, TaskModule } from "./target-modules.js";
import {
  type BiasForm,
  biasName,
  type LoraForm,
  type TrainedTarget,
  tensorNames,
  trainedTensors,
  type WholeForm,
} from "./trained-modules.js";
import { biasInput, type WeightedNode } from "./weighted-nodes.js";

export interface TrainableGraph {
  readonly builder: GraphBuilder;
  /** The inputs of the trained tensors, by the tensors' names. */
  readonly parameters: ReadonlyMap<string, Value>;
  /** The model's outputs, by name. */
  readonly outputs: ReadonlyMap<string, Value>;
  /** Masks of dropout: bool inputs. */
  readonly masks: readonly Value[];
  /** Where the backward pass ends: norms of weights count as constants. */
  readonly custom: readonly CustomGradient[];
}

export interface TrainableOptions {
  readonly targets: readonly TrainedTarget[];
  /** The names of initializers that are trained themselves. */
  readonly initializers?: ReadonlySet<string>;
  readonly dropout: boolean;
}

/** `graph`: with numbers as sizes, see `train/tasks/static-graph`. The nodes of target modules are found by their outputs. */
export function buildTrainable(graph: Graph, options: TrainableOptions): TrainableGraph {
  return new Trainable(graph, options).build();
}

/** One application of a target module. */
interface Use {
  readonly target: TrainedTarget & { readonly form: LoraForm | WholeForm };
  readonly node: WeightedNode;
}

/** A trained bias, and the input of a node that it takes. */
interface BiasUse {
  readonly input: number;
  readonly module: TaskModule;
  readonly form: BiasForm;
}

const outputName = (node: Node): string => node.outputs[0]?.name ?? "";

class Trainable {
  readonly #graph: Graph;
  readonly #options: TrainableOptions;
  readonly #builder: GraphBuilder;
  readonly #op: Ops;
  readonly #parameters = new Map<string, Value>();
  readonly #masks: Value[] = [];
  readonly #custom: CustomGradient[] = [];
  /** What stands for a value of the graph. */
  readonly #replaced = new Map<string, Value>();
  /** Values with the width of a head of another size. */
  readonly #resized = new Set<string>();

  constructor(graph: Graph, options: TrainableOptions) {
    this.#graph = graph;
    this.#options = options;
    const { initializers: trained = new Set() } = options;
    const initializers = graph.initializers.filter(({ value }) => !trained.has(value.name));
    this.#builder = GraphBuilder.from({ ...graph, nodes: [], initializers });
    this.#op = new Ops(this.#builder);
    for (const { value } of graph.initializers) {
      if (trained.has(value.name)) this.#parameter(value.name, value.shape, value.name);
    }
    for (const target of options.targets) {
      for (const { name, shape } of trainedTensors(target)) this.#parameter(name, shape);
    }
  }

  build(): TrainableGraph {
    const uses = new Map<string, Use>();
    const skipped = new Set<string>();
    const biases = this.#biasUses();
    for (const { module, form } of this.#options.targets) {
      if (form.kind === "bias") continue;
      const target = { module, form };
      for (const { target: node } of module.uses) {
        uses.set(outputName(node.node), { target, node });
        if (form.kind === "whole" && node.bias?.add) skipped.add(outputName(node.bias.add));
      }
    }
    for (const node of this.#graph.nodes) {
      if (skipped.has(outputName(node))) continue;
      const use = uses.get(outputName(node));
      const trained = biases.get(outputName(node)) ?? [];
      const inputs = node.inputs.map((value, i): Value | null => {
        const bias = trained.find(({ input }) => input === i);
        return value && (bias ? this.#bias(bias, value.shape) : this.#now(value));
      });
      const current = { ...node, inputs };
      if (use) this.#builder.scope(`lora.${use.target.module.path}`, () => this.#adapt(use, current));
      else this.#copy(current);
    }
    const outputs = this.#graph.outputs.map((value): [string, Value] => [value.name, this.#now(value)]);
    return {
      builder: this.#builder,
      parameters: this.#parameters,
      outputs: new Map(outputs),
      masks: this.#masks,
      custom: this.#custom,
    };
  }

  /** By the output of the node that adds the bias. */
  #biasUses(): Map<string, BiasUse[]> {
    const uses = new Map<string, BiasUse[]>();
    for (const { module, form } of this.#options.targets) {
      if (form.kind !== "bias") continue;
      for (const layer of form.layers) {
        assert(layer.bias, "a layer whose bias is trained has one");
        const { node, input } = biasInput(layer, layer.bias);
        const name = outputName(node);
        uses.set(name, [...(uses.get(name) ?? []), { input, module, form }]);
      }
    }
    return uses;
  }

  /** In the shape of the base's. */
  #bias({ module, form }: BiasUse, shape: Shape): Value {
    const op = this.#op;
    const own = this.#trained(biasName(module, form));
    const { offset } = form;
    const whole = offset ? op.add(own, op.builder.constant("float32", [offset.length], [...offset])) : own;
    return shape.length === 1 ? whole : op.reshape(whole, shape);
  }

  /** The base may have an initializer of the same name. */
  #parameter(name: string, shape: Shape, input = `trained.${name}`): void {
    this.#parameters.set(name, this.#builder.input(input, "float32", shape));
  }

  #trained(name: string): Value {
    const value = this.#parameters.get(name);
    assert(value, `${name} is trained`);
    return value;
  }

  #now(value: Value): Value {
    return this.#replaced.get(value.name) ?? value;
  }

  /** The node as it is. Behind a head of another size its outputs are as wide as its input. */
  #copy(node: Node): void {
    const wide = node.inputs.find((value) => value && this.#resized.has(value.name));
    const specs = node.outputs.map(({ name, type, shape }) =>
      name === "" ? null : { name, type, shape: wide ? wide.shape : shape },
    );
    const made = this.#builder.node(node.op, node.inputs, specs, node.attributes, node.domain);
    for (const value of made) {
      if (value.name === "") continue;
      this.#replaced.set(value.name, value);
      if (wide) this.#resized.add(value.name);
    }
  }

  #adapt({ target, node }: Use, current: Node): void {
    const { form } = target;
    if (form.kind === "whole") {
      const y = this.#whole(target, node, current, form);
      const replaced = node.bias?.add ? outputName(node.bias.add) : outputName(node.node);
      this.#replaced.set(replaced, y);
      if (isResized(target, form)) this.#resized.add(y.name);
      return;
    }
    this.#replaced.set(outputName(node.node), this.#withProduct(target, node, current, form));
  }

  #whole({ module }: TrainedTarget, { kind }: WeightedNode, node: Node, form: WholeForm): Value {
    const op = this.#op;
    const { inputs, attributes, outputs } = node;
    const names = tensorNames(module);
    const weight = this.#trained(names.weight);
    const bias = form.hasBias ? this.#trained(names.bias) : null;
    if (kind === "table") return op.gather(weight, valueAt(inputs, 1));
    const x = valueAt(inputs, 0);
    if (kind === "convolution") {
      const [rows = 1, , ...places] = outputs[0]?.shape ?? [];
      const folded = this.#folded(weight, module.foldedNorm);
      const shape = [rows, weight.shape[0] ?? 1, ...places];
      return op.one("Conv", [x, folded, bias ?? inputs[2] ?? null], "float32", shape, attributes);
    }
    const y = op.matMul(x, op.transpose(weight, [1, 0]));
    return bias ? op.add(y, bias) : y;
  }

  /** A weight [out, ...] with the normalization that was folded into the base's. */
  #folded(weight: Value, norm: FoldedNorm): Value {
    if (norm.kind !== "measured") return weight;
    const shape = [norm.factors.length, ...weight.shape.slice(1).map(() => 1)];
    return this.#op.mul(weight, this.#op.builder.constant("float32", shape, [...norm.factors]));
  }

  /** y + s B A x, or with a magnitude g W x + g s B A x + b with g = m / |W + s B A|. */
  #withProduct(target: TrainedTarget, node: WeightedNode, current: Node, form: LoraForm): Value {
    const op = this.#op;
    const { module } = target;
    const names = tensorNames(module);
    const y = current.outputs[0];
    assert(y, "a layer has an output");
    // A magnitude scales the product alone, without the layer's own bias.
    const bias = form.dora && node.kind !== "table" ? (current.inputs[2] ?? null) : null;
    const inputs = bias ? current.inputs.slice(0, 2) : current.inputs;
    const apply = (x: Value): Value =>
      op.one(current.op, [x, ...inputs.slice(1)], y.type, y.shape, current.attributes, current.domain);
    const x = valueAt(current.inputs, node.kind === "table" ? 1 : 0);
    const base = node.kind === "table" ? op.one(current.op, inputs, y.type, y.shape, current.attributes) : apply(x);
    const dropped = this.#dropped(node, x, names.mask, form);
    const low = this.#product(target, node, dropped, y, current);
    const product = this.#scaled(low, form.scale, module.foldedNorm, module.kernel.length);
    if (!form.dora) return op.add(base, product);
    const gain = this.#gain(target, form, node, current);
    const own = dropped === x ? base : apply(dropped);
    // PEFT leaves the base's own product undropped: W x + (g - 1) W x' + g s B A x', with x' the dropped x.
    const widened = op.add(base, op.add(op.mul(op.sub(gain, op.like(gain, 1)), own), op.mul(gain, product)));
    if (!bias) return widened;
    const spread = node.kind === "convolution" ? this.#channels(bias, module.kernel.length) : bias;
    return op.add(widened, spread);
  }

  #dropped({ kind }: WeightedNode, x: Value, name: string, { dropout }: LoraForm): Value {
    if (dropout === 0 || !this.#options.dropout || kind === "table") return x;
    const known = this.#masks.find((mask) => mask.name === name);
    const mask = known ?? this.#builder.input(name, "bool", x.shape);
    if (!known) this.#masks.push(mask);
    return this.#op.scale(this.#op.where(mask, x, this.#op.like(x, 0)), 1 / (1 - dropout));
  }

  /** B A x. PEFT's A has the kernel, strides and padding of the base, without its groups; B has its groups. */
  #product({ module }: TrainedTarget, { kind, groups, kernel }: WeightedNode, x: Value, y: Value, node: Node): Value {
    const op = this.#op;
    const names = tensorNames(module);
    const [a, b] = [this.#trained(names.a), this.#trained(names.b)];
    if (kind === "table") return op.matMul(op.gather(op.transpose(a, [1, 0]), x), op.transpose(b, [1, 0]));
    if (kind === "linear") return op.matMul(op.matMul(x, op.transpose(a, [1, 0])), op.transpose(b, [1, 0]));
    const [rows = 1, , ...places] = y.shape;
    const attributes = { ...node.attributes, group: { kind: "int", value: 1 } as const };
    const low = op.one("Conv", [x, a], "float32", [rows, a.shape[0] ?? 1, ...places], attributes);
    return op.one("Conv", [low, b], "float32", y.shape, { group: groups, kernel_shape: kernel.map(() => 1) });
  }

  /** A normalization folded into the base's weight scales the product too. */
  #scaled(product: Value, scale: number, norm: FoldedNorm, axes: number): Value {
    const op = this.#op;
    const scaled = op.scale(product, scale);
    if (norm.kind !== "measured") return scaled;
    const { factors } = norm;
    return op.mul(scaled, this.#channels(op.builder.constant("float32", [factors.length], [...factors]), axes));
  }

  /** [channels] as [1, channels, 1, ...]. */
  #channels(values: Value, axes: number): Value {
    const shape = [1, values.shape[0] ?? 1, ...Array.from({ length: axes }, () => 1)];
    return this.#op.reshape(values, shape);
  }

  /** m / |W + s B A|, with W as it was before a normalization was folded into it. */
  #gain({ module }: TrainedTarget, form: LoraForm, node: WeightedNode, reader: Node): Value {
    const op = this.#op;
    const weight = valueAt(reader.inputs, 1);
    const names = tensorNames(module);
    const [a, b] = [this.#trained(names.a), this.#trained(names.b)];
    const { outFeatures, kernel, foldedNorm } = module;
    const outFirst = node.kind === "convolution" || reader.attributes.transB?.value === 1;
    const stored = outFirst ? weight : op.transpose(weight, [1, 0]);
    const inputs = weight.shape.reduce<number>((count, size) => count * Number(size), 1) / outFeatures;
    let flat = op.reshape(stored, [outFeatures, inputs]);
    if (foldedNorm.kind === "measured") {
      const { factors } = foldedNorm;
      flat = op.div(flat, op.builder.constant("float32", [outFeatures, 1], [...factors]));
    }
    const product = op.matMul(op.reshape(b, [outFeatures, form.rank]), op.reshape(a, [form.rank, inputs]));
    const adapted = op.add(flat, op.scale(product, form.scale));
    const norm = op.sqrt(op.sum(op.mul(adapted, adapted), [1], false));
    this.#custom.push({ inputs: [a, b], outputs: [norm], vjp: () => [null, null] });
    const length = node.kind === "convolution" ? this.#channels(norm, kernel.length) : norm;
    return op.div(this.#trained(names.magnitude), length);
  }
}

const isResized = ({ module }: TrainedTarget, { outFeatures }: WholeForm): boolean =>
  outFeatures !== module.outFeatures;

function valueAt(inputs: readonly (Value | null)[], index: number): Value {
  const value = inputs[index];
  assert(value, "a layer has its inputs");
  return value;
}
