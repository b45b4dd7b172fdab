/** A classification head: the scores of one text, from the last hidden state of one of its tokens. Each row has its own, so none is padded. */

import type { HostHead } from "../adapter/types.js";
import { float32At } from "../base/list.js";
import { scoreWeight } from "../model/modules.js";
import type { DecoderConfig } from "../model/types.js";
import { type WeightSource, weightOf } from "../model/weights.js";
import { readSegment, toFloat32 } from "../weights/convert/task.js";

/** W x + b, [labels]; sums are in float64. */
export function scoresOf({ weight, bias, outFeatures }: HostHead, state: Float32Array): Float32Array {
  return Float32Array.from({ length: outFeatures }, (_, label) => {
    let sum = bias ? float32At(bias, label) : 0;
    for (let i = 0; i < state.length; i++) sum += float32At(weight, label * state.length + i) * float32At(state, i);
    return sum;
  });
}

/** The layer of a base that is a classifier; null of any other. */
export function readScoreHead({ classifier }: DecoderConfig, weights: WeightSource): HostHead | null {
  if (!classifier) return null;
  const { data } = weightOf(weights, scoreWeight);
  return { weight: toFloat32(data.dtype, readSegment(data)), bias: null, ...classifier, labels: null };
}
