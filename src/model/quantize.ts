/**
 * Weights to integers and back, exactly as ONNX Runtime's kernels understand them. Every scale is found by search for the
 * least squared error, not only from the maximum. Pure arithmetic on typed arrays: no files, no threads.
 *
 * Blocks (`MatMulNBits`): W[n,k] = (q - 2^(bits-1)) * scale[n, floor(k/128)], symmetric; scales may be negative, which lets
 * the element of greatest magnitude have the longer, negative side. Rows (`MatMulIntegerToFloat`): W[n,k] = q[k,n] * scale[n].
 */

import { assert } from "../base/errors.js";

/** Elements of one row that share a scale. */
export const blockSize = 128;

/** Sums over all weights: of the squared differences, and of the squared weights themselves. */
export interface SquaredError {
  readonly error: number;
  readonly norm: number;
}

/** ‖W - W'‖ / ‖W‖ (Frobenius); 0 for an all-zero W. */
export function relativeError({ error, norm }: SquaredError): number {
  return norm === 0 ? 0 : Math.sqrt(error / norm);
}

export function blockCount(columns: number): number {
  return Math.ceil(columns / blockSize);
}

/** The integers a scale is searched for: q in [0, top], standing for q - zero. */
interface Grid {
  readonly zero: number;
  readonly top: number;
  /** Where the element of greatest magnitude is tried, in steps from zero; beyond the grid's end it is clipped. */
  readonly trials: readonly number[];
}

const grids = {
  int4: { zero: 8, top: 15, trials: [-7.4, -8, -8.8, 7, 7.7] },
  int8: { zero: 128, top: 255, trials: [-127.5, -129, 127] },
  int8row: { zero: 127, top: 254, trials: [127, 135, 147] },
} as const satisfies Record<string, Grid>;

const refinements = 2;
const smallest = 1e-30; // below this a block counts as zero: its inverse scale would leave float32

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
 * Quantizes [rows, columns] with one symmetric scale a row. Fills `data` [columns, rows], transposed as the product wants
 * it, and `scales` [rows].
 */
export function quantizeRows(
  weights: Float32Array,
  rows: number,
  columns: number,
  data: Int8Array,
  scales: Float32Array,
): SquaredError {
  assert(weights.length === rows * columns, `${weights.length} weights are not [${rows}, ${columns}]`);
  assert(data.length === rows * columns && scales.length === rows, "the outputs have the rows' sizes");
  const grid = grids.int8row;
  const panel = new Uint8Array(panelRows * columns); // transposed panel by panel, so that writes run along a row
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
 * The scale of least squared error that the search finds. For steps q fixed, the best scale is Σxq / Σqq and the error
 * Σxx - (Σxq)² / Σqq: so each trial is judged by (Σxq)² / Σqq, and the best is refined by rounding again with its scale.
 */
function bestScale(weights: Float32Array, begin: number, end: number, grid: Grid): number {
  let extreme = 0;
  squares = 0;
  for (let i = begin; i < end; i++) {
    const x = weights[i] as number;
    if (Math.abs(x) > Math.abs(extreme)) extreme = x;
    squares += x * x;
  }
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
  for (let i = 0; i < refinements; i++) {
    fit(weights, begin, end, 1 / scale, grid);
    if (!(fitGain > gain)) break;
    const isSettled = squares - gain < 1.002 * (squares - fitGain);
    gain = fitGain;
    scale = fitScale;
    if (isSettled) break;
  }
  return Math.fround(scale);
}

// What `bestScale` and `fit` found besides: variables of the module, since an object a call would be most of its cost.
let squares = 0;
let fitScale = 0;
let fitGain = 0;

/** Rounds a block with an inverse scale and fits the scale to the steps. */
function fit(weights: Float32Array, begin: number, end: number, inverse: number, { zero, top }: Grid): void {
  const shift = zero + 0.5;
  let xq = 0;
  let qq = 0;
  for (let i = begin; i < end; i++) {
    const x = weights[i] as number;
    let step = (x * inverse + shift) | 0; // rounds to nearest; what lies outside is clipped next
    step = ((step < 0 ? 0 : step > top ? top : step) - zero) | 0;
    xq += x * step;
    qq += Math.imul(step, step); // a plain product would be checked for -0
  }
  fitScale = qq === 0 ? 0 : xq / qq;
  fitGain = qq === 0 ? 0 : xq * fitScale;
}

/** Writes the steps of a block at its final scale and gives the squared error. */
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

/** What `MatMulNBits` multiplies with: `data` [rows, blocks, 128 * bits / 8] and `scales` [rows, blocks] to [rows, columns]. */
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

/** What `MatMulIntegerToFloat` multiplies with: `data` [columns, rows] and `scales` [rows] to [rows, columns]. */
export function dequantizeRows(data: Int8Array, scales: Float32Array, rows: number, columns: number): Float32Array {
  assert(data.length === rows * columns && scales.length === rows, "the inputs have the rows' sizes");
  const weights = new Float32Array(rows * columns);
  for (let row = 0, to = 0; row < rows; row++) {
    const scale = scales[row] as number;
    for (let column = 0; column < columns; column++, to++) {
      weights[to] = (data[column * rows + row] as number) * scale;
    }
  }
  return weights;
}

/** [rows, columns] to [columns, rows]. */
export function transpose(values: Float32Array, rows: number, columns: number): Float32Array {
  assert(values.length === rows * columns, `${values.length} values are not [${rows}, ${columns}]`);
  const turned = new Float32Array(values.length);
  for (let row = 0, from = 0; row < rows; row++) {
    for (let column = 0; column < columns; column++, from++) turned[column * rows + row] = values[from] as number;
  }
  return turned;
}
