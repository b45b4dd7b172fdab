/**
 * Quantizes weights for ONNX Runtime's kernels, and back. Each scale is searched for the least squared error, not just derived
 * from the maximum. Pure arithmetic on typed arrays: every entry asserts their lengths once, and inner loops then read without a
 * check, which would cost them a tenth.
 *
 * Blocks (`MatMulNBits`): W[n,k] = (q - 2^(bits-1)) * scale[n, floor(k/128)], symmetric; scales may be negative, so that
 * the element of greatest magnitude can use the longer, negative side. Rows (`MatMulIntegerToFloat`): W[n,k] = q[k,n] * scale[n].
 */

import { assert } from "../base/errors.js";
import { float32At } from "../base/list.js";

/** Elements of one row that share a scale. */
export const blockSize = 128;

/** Sums over all weights: of the squared errors and of the squared weights. */
export interface SquaredError {
  readonly error: number;
  readonly norm: number;
}

/** ‖W - W'‖ / ‖W‖ (Frobenius); 0 for an all-zero W. */
export function relativeError({ error, norm }: SquaredError): number {
  return norm === 0 ? 0 : Math.sqrt(error / norm);
}

/** The number of blocks in a row. */
export function blockCount(columns: number): number {
  return Math.ceil(columns / blockSize);
}

/** A range of integers: q in [0, top] stands for q - zero. */
interface Grid {
  readonly zero: number;
  readonly top: number;
  /** Candidate positions of the element of greatest magnitude, in steps from zero; beyond the range it is clipped. */
  readonly trials: readonly number[];
  /** How often the best trial's scale may be refined by another rounding and fit. */
  readonly refinements: number;
}

// Few trials, since each is a pass over the weights. More trials or refinements reduce the error by less than 0.3 %.
const grids = {
  int4: { zero: 8, top: 15, trials: [-8.1, -9, 7], refinements: 1 },
  int8: { zero: 128, top: 255, trials: [-128.4, 127], refinements: 0 },
} as const satisfies Record<string, Grid>;

/** Steps of a row's weights in [-limit, limit]. */
function rowGrid(limit: number): Grid {
  return { zero: limit, top: 2 * limit, trials: [limit + 0.4, 1.08 * limit, 1.18 * limit], refinements: 0 };
}

/**
 * The two limits of rows: all of int8, or the largest that keeps the pair sums of uint8·int8 kernels exact in 16 bits:
 * 2 · 255 · 64 = 32,640 < 2^15.
 */
export const rowLimits = { full: 127, reduced: 64 } as const;

const smallest = 1e-30; // a smaller block counts as zero: its inverse scale would overflow float32

/**
 * Quantizes [rows, columns] in blocks of 128 along the columns. Fills `data` [rows, blocks, 128 * bits / 8] (low nibble
 * first, padded with zeros of the weight) and `scales` [rows, blocks].
 */
export function quantizeBlocks(
  weights: Float32Array,
  rows: number,
  columns: number,
  bits: 4 | 8,
  data: Uint8Array,
  scales: Float32Array,
): SquaredError {
  const blocks = blockCount(columns);
  const bytes = (blockSize * bits) / 8;
  assert(weights.length === rows * columns, `${weights.length} weights are not [${rows}, ${columns}]`);
  assert(
    data.length === rows * blocks * bytes && scales.length === rows * blocks,
    "the outputs have the blocks' sizes",
  );
  const grid = bits === 4 ? grids.int4 : grids.int8;
  const steps = new Uint8Array(blockSize);
  let error = 0;
  let norm = 0;
  for (let row = 0, block = 0; row < rows; row++) {
    for (let column = 0; column < columns; column += blockSize, block++) {
      const begin = row * columns + column;
      const end = begin + Math.min(blockSize, columns - column);
      const scale = bestScale(weights, begin, end, grid);
      scales[block] = scale;
      steps.fill(grid.zero);
      error += roundTo(weights, begin, end, scale, grid, steps);
      norm += squares;
      if (bits === 8) data.set(steps, block * bytes);
      else packNibbles(steps, data, block * bytes);
    }
  }
  return { error, norm };
}

function packNibbles(steps: Uint8Array, data: Uint8Array, offset: number): void {
  for (let i = 0; i < blockSize; i += 2) {
    data[offset + (i >> 1)] = (steps[i] as number) | ((steps[i + 1] as number) << 4);
  }
}

const panelRows = 64;

/**
 * Quantizes [rows, columns] with one symmetric scale per row to steps in [-limit, limit], limit at most 127. Fills `data`
 * [columns, rows], transposed as the kernel expects, and `scales` [rows].
 */
export function quantizeRows(
  weights: Float32Array,
  rows: number,
  columns: number,
  limit: number,
  data: Int8Array,
  scales: Float32Array,
): SquaredError {
  assert(weights.length === rows * columns, `${weights.length} weights are not [${rows}, ${columns}]`);
  assert(data.length === rows * columns && scales.length === rows, "the outputs have the rows' sizes");
  assert(Number.isInteger(limit) && limit >= 1 && limit <= 127, `${limit} is a limit of int8 steps`);
  const grid = rowGrid(limit);
  const panel = new Uint8Array(panelRows * columns); // transposed in panels, so that writes run along a row
  let error = 0;
  let norm = 0;
  for (let first = 0; first < rows; first += panelRows) {
    const count = Math.min(panelRows, rows - first);
    for (let i = 0; i < count; i++) {
      const begin = (first + i) * columns;
      const scale = bestScale(weights, begin, begin + columns, grid);
      scales[first + i] = scale;
      const steps = panel.subarray(i * columns, (i + 1) * columns).fill(grid.zero);
      error += roundTo(weights, begin, begin + columns, scale, grid, steps);
      norm += squares;
    }
    for (let column = 0; column < columns; column++) {
      for (let i = 0, to = column * rows + first; i < count; i++, to++) {
        data[to] = (panel[i * columns + column] as number) - grid.zero;
      }
    }
  }
  return { error, norm };
}

/**
 * Searches the scale of least squared error. For fixed steps q the best scale is Σxq / Σqq with the error Σxx - (Σxq)² / Σqq. So
 * trials are compared by (Σxq)² / Σqq, and the best is refined by rounding with its fitted scale.
 */
function bestScale(weights: Float32Array, begin: number, end: number, grid: Grid): number {
  const extreme = measure(weights, begin, end);
  if (!(Math.abs(extreme) > smallest)) return 0;
  let scale = 0;
  let gain = 0;
  for (const trial of grid.trials) {
    fit(weights, begin, end, trial / extreme, grid);
    if (fitGain > gain) {
      gain = fitGain;
      scale = fitScale;
    }
  }
  for (let i = 0; i < grid.refinements; i++) {
    fit(weights, begin, end, 1 / scale, grid);
    if (!(fitGain > gain)) break;
    const isSettled = squares - gain < 1.002 * (squares - fitGain);
    gain = fitGain;
    scale = fitScale;
    if (isSettled) break;
  }
  return Math.fround(scale);
}

// Further results of `measure` and `fit`. Module variables, since allocating an object per call would dominate their cost. Never
// written inside a loop: a write costs as much as several elements.
let squares = 0;
let fitScale = 0;
let fitGain = 0;

/** The element of greatest magnitude, the positive one in a tie. Leaves the sum of squares in `squares`. */
function measure(weights: Float32Array, begin: number, end: number): number {
  let lowest = 0;
  let highest = 0;
  let sum = 0;
  for (let i = begin; i < end; i++) {
    const x = weights[i] as number;
    if (x > highest) highest = x;
    else if (x < lowest) lowest = x;
    sum += x * x;
  }
  squares = sum;
  return highest >= -lowest ? highest : lowest;
}

/** Rounds a block with an inverse scale and fits the scale to the steps. */
function fit(weights: Float32Array, begin: number, end: number, inverse: number, { zero, top }: Grid): void {
  const shift = zero + 0.5;
  let xq = 0;
  let qq = 0;
  for (let i = begin; i < end; i++) {
    const x = weights[i] as number;
    let step = (x * inverse + shift) | 0; // rounds to nearest; clipped in the next line
    step = ((step < 0 ? 0 : step > top ? top : step) - zero) | 0;
    xq += x * step;
    qq += Math.imul(step, step); // a plain product would need a check for -0
  }
  fitScale = qq === 0 ? 0 : xq / qq;
  fitGain = qq === 0 ? 0 : xq * fitScale;
}

/** Writes the steps of a block at its final scale and returns the squared error. */
function roundTo(
  weights: Float32Array,
  begin: number,
  end: number,
  scale: number,
  { zero, top }: Grid,
  steps: Uint8Array,
): number {
  const inverse = scale === 0 ? 0 : 1 / scale;
  const shift = zero + 0.5;
  let error = 0;
  for (let i = begin; i < end; i++) {
    const x = weights[i] as number;
    let step = (x * inverse + shift) | 0;
    step = step < 0 ? 0 : step > top ? top : step;
    steps[i - begin] = step;
    const difference = x - (step - zero) * scale;
    error += difference * difference;
  }
  return error;
}

/** The values that `MatMulNBits` multiplies by: `data` [rows, blocks, 128 * bits / 8] and `scales` [rows, blocks] to [rows, columns]. */
export function dequantizeBlocks(
  data: Uint8Array,
  scales: Float32Array,
  rows: number,
  columns: number,
  bits: 4 | 8,
): Float32Array {
  const blocks = blockCount(columns);
  const width = blocks * blockSize;
  assert(
    data.length === (rows * width * bits) / 8 && scales.length === rows * blocks,
    "the inputs have the blocks' sizes",
  );
  const zero = 2 ** (bits - 1);
  const weights = new Float32Array(rows * columns);
  for (let row = 0, to = 0; row < rows; row++) {
    for (let column = 0; column < columns; column++, to++) {
      const at = row * width + column;
      const step = bits === 8 ? (data[at] as number) : ((data[at >> 1] as number) >> ((at & 1) * 4)) & 15;
      weights[to] = (step - zero) * (scales[row * blocks + Math.floor(column / blockSize)] as number);
    }
  }
  return weights;
}

/** The values that `MatMulIntegerToFloat` multiplies by: `data` [columns, rows] and `scales` [rows] to [rows, columns]. */
export function dequantizeRows(data: Int8Array, scales: Float32Array, rows: number, columns: number): Float32Array {
  assert(data.length === rows * columns && scales.length === rows, "the inputs have the rows' sizes");
  const weights = new Float32Array(rows * columns);
  for (let row = 0, to = 0; row < rows; row++) {
    const scale = float32At(scales, row);
    for (let column = 0; column < columns; column++, to++) {
      weights[to] = (data[column * rows + row] as number) * scale;
    }
  }
  return weights;
}

/** Transposes [rows, columns] to [columns, rows]. */
export function transpose(values: Float32Array, rows: number, columns: number): Float32Array {
  assert(values.length === rows * columns, `${values.length} values are not [${rows}, ${columns}]`);
  const transposed = new Float32Array(values.length);
  for (let row = 0, from = 0; row < rows; row++) {
    for (let column = 0; column < columns; column++, from++) transposed[column * rows + row] = values[from] as number;
  }
  return transposed;
}
