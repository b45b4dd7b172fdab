/** The shapes of a benchmark: those of real models, and one for testing the benchmark itself. */

import { isShapeName, modelShapes, type ShapeName } from "../model/shapes.js";

export type BenchShape = ShapeName | "tiny";

/** All kinds of layers of the other shapes, at a size that takes no time. */
const tiny = {
  ...modelShapes["135M"],
  hidden_size: 128,
  intermediate_size: 256,
  num_hidden_layers: 2,
  num_attention_heads: 4,
  num_key_value_heads: 2,
  head_dim: 32,
  vocab_size: 1024,
};

/** The config.json of a shape. */
export function shapeConfig(shape: BenchShape): object {
  return shape === "tiny" ? tiny : modelShapes[shape];
}

export function isBenchShape(value: string): value is BenchShape {
  return value === "tiny" || isShapeName(value);
}
