/** Losses of the training graph, as functions of the token losses. Each documents the graph inputs that it reads. */
import type { Ops } from "../graph/ops.js";
import type { Value } from "../graph/types.js";

/** tokenLosses [labelled] to a scalar. */
export type Loss = (op: Ops, tokenLosses: Value) => Value;

/**
 * Σ weight · -log p. Input `label_weights` float32 [labelled]: one over the number of labels that the whole effective batch
 * holds makes it a mean, however the batch is split into runs.
 */
export const weightedSum: Loss = (op, tokenLosses) => {
  const weights = op.builder.input("label_weights", "float32", ["labelled"]);
  return op.sum(op.mul(tokenLosses, weights), [0], false);
};

/**
 * Direct preference optimization (arXiv:2305.18290): Σ -log σ(β (margin - reference margin)) times a weight. Inputs:
 * `pair_signs` [pairs, labelled], 1 for the tokens of a pair's chosen answer and -1 for those of the rejected one;
 * `reference_margins` [pairs], the same difference of log-likelihoods by the reference; `pair_weights` [pairs].
 */
export function preference(beta: number): Loss {
  return (op, tokenLosses) => {
    const { builder } = op;
    const signs = builder.input("pair_signs", "float32", ["pairs", "labelled"]);
    const reference = builder.input("reference_margins", "float32", ["pairs"]);
    const weights = builder.input("pair_weights", "float32", ["pairs"]);
    const less = op.squeeze(op.matMul(signs, op.unsqueeze(tokenLosses, 1)), 1); // minus the margins
    const rewards = op.scale(op.add(less, reference), beta); // -β (margin - reference)
    return op.sum(op.mul(op.unary("Softplus", rewards), weights), [0], false);
  };
}
