/**
 * Composable optimizers: `chain(clipByGlobalNorm(1), scaleByAdam(), addDecayedWeights(0.01), scaleByRate(rate))`. Each part
 * transforms gradients into updates, over flat float32 arrays, and keeps its own state.
 */
import { assert } from "../../base/errors.js";
import { float32At as at } from "../../base/list.js";

/** Transforms updates in place. Parameters are only read. */
export interface Transform {
  readonly name: string;
  /** Whether `begin` reads the updates, which must then be complete. */
  readonly readsAll?: boolean;
  /** State for `count` parameters: arrays that checkpoints save by name. */
  init(count: number): State;
  /** A step's pass over the updates, or null. All passes run on one block before the next, while it is in the CPU cache. */
  begin(updates: Float32Array, state: State, context: UpdateContext): Pass | null;
}

/** Processes the updates in [begin, end). */
export type Pass = (begin: number, end: number) => void;

/** State of a part between steps. Updated in place. */
export interface State {
  readonly arrays: Readonly<Record<string, Float32Array>>;
  readonly numbers: Record<string, number>;
}

export interface UpdateContext {
  readonly parameters: Float32Array;
  /** Steps done before this one. */
  readonly step: number;
}

export interface Optimizer {
  readonly state: readonly { readonly name: string; readonly state: State }[];
  /** Applies one step: overwrites `gradients` and updates `parameters`. */
  step(parameters: Float32Array, gradients: Float32Array, step: number): void;
}

/** Elements of a block: its updates, parameters and Adam's two arrays fit into a core's cache. */
const stretch = 16384;

/** An optimizer of `count` parameters that applies the parts in order and adds the result to the parameters. */
export function chain(count: number, ...pieces: readonly Transform[]): Optimizer {
  const held = pieces.map((piece) => ({ piece, name: piece.name, state: piece.init(count) }));
  return {
    state: held,
    step(parameters, gradients, step) {
      let passes: Pass[] = [];
      for (const { piece, state } of held) {
        if (piece.readsAll) {
          runPasses(passes, gradients.length);
          passes = [];
        }
        const pass = piece.begin(gradients, state, { parameters, step });
        if (pass) passes.push(pass);
      }
      const add: Pass = (begin, end) => {
        for (let i = begin; i < end; i++) parameters[i] = at(parameters, i) + at(gradients, i);
      };
      runPasses([...passes, add], parameters.length);
    },
  };
}

function runPasses(passes: readonly Pass[], length: number): void {
  for (let begin = 0; begin < length; begin += stretch) {
    const end = Math.min(begin + stretch, length);
    for (const pass of passes) pass(begin, end);
  }
}

const stateless = (): State => ({ arrays: {}, numbers: {} });

/** The norm of a vector, summed in float64. NaN if an element is NaN. */
export function globalNorm(values: Float32Array): number {
  let sum = 0;
  for (let i = 0; i < values.length; i++) sum += at(values, i) ** 2;
  return Math.sqrt(sum);
}

/** Clips gradients to the norm `limit`, as torch's clip_grad_norm_ does. */
export function clipByGlobalNorm(limit: number): Transform {
  return {
    name: "clip",
    readsAll: true,
    init: stateless,
    begin(updates) {
      const factor = limit / (globalNorm(updates) + 1e-6);
      if (factor >= 1) return null;
      return (begin, end) => {
        for (let i = begin; i < end; i++) updates[i] = at(updates, i) * factor;
      };
    },
  };
}

export interface AdamOptions {
  readonly beta1?: number;
  readonly beta2?: number;
  readonly epsilon?: number;
}

/** m̂ / (√v̂ + ε) (Adam, arXiv:1412.6980), in torch's order of operations. */
export function scaleByAdam({ beta1 = 0.9, beta2 = 0.999, epsilon = 1e-8 }: AdamOptions = {}): Transform {
  return {
    name: "adam",
    init: (count) => ({ arrays: { m: new Float32Array(count), v: new Float32Array(count) }, numbers: { t: 0 } }),
    begin(updates, { arrays, numbers }) {
      const { m, v } = arrays;
      assert(m && v && numbers.t !== undefined, "the state of adam has both means and its step");
      const t = ++numbers.t;
      const scale1 = 1 / (1 - beta1 ** t);
      const scale2 = 1 / Math.sqrt(1 - beta2 ** t);
      return (begin, end) => {
        for (let i = begin; i < end; i++) {
          const g = at(updates, i);
          const mean = at(m, i) + (1 - beta1) * (g - at(m, i));
          const square = beta2 * at(v, i) + (1 - beta2) * g * g;
          m[i] = mean;
          v[i] = square;
          updates[i] = (mean * scale1) / (Math.sqrt(square) * scale2 + epsilon);
        }
      };
    },
  };
}

/** Decoupled weight decay (arXiv:1711.05101): adds `decay` times the parameter, before the rate is applied. */
export function addDecayedWeights(decay: number): Transform {
  return {
    name: "decay",
    init: stateless,
    begin(updates, _, { parameters }) {
      if (decay === 0) return null;
      return (begin, end) => {
        for (let i = begin; i < end; i++) updates[i] = at(updates, i) + decay * at(parameters, i);
      };
    },
  };
}

/** Parameters [begin, end) whose rate is multiplied by `factor`. */
export interface RateGroup {
  readonly begin: number;
  readonly end: number;
  readonly factor: number;
}

/** Multiplies by minus the schedule's rate. Groups have their own rates (LoRA+, arXiv:2402.12354). */
export function scaleByRate(rate: (step: number) => number, groups: readonly RateGroup[] = []): Transform {
  return {
    name: "rate",
    init: stateless,
    begin(updates, _, { step }) {
      const base = -rate(step);
      return (begin, end) => {
        for (let i = begin; i < end; i++) updates[i] = at(updates, i) * base;
        for (const group of groups) {
          const last = Math.min(end, group.end);
          for (let i = Math.max(begin, group.begin); i < last; i++) updates[i] = at(updates, i) * group.factor;
        }
      };
    },
  };
}
