import assert from "node:assert/strict";
import { describe, it } from "node:test";
import fc from "fast-check";
import {
  blockCount,
  dequantizeBlocks,
  dequantizeRows,
  quantizeBlocks,
  quantizeRows,
  relativeError,
  transpose,
} from "../../src/weights/quantize.js";
import { gaussian } from "../support/synthetic-weights.js";

function inBlocks(weights: Float32Array, rows: number, columns: number, bits: 4 | 8) {
  const blocks = blockCount(columns);
  const data = new Uint8Array(rows * blocks * 16 * bits);
  const scales = new Float32Array(rows * blocks);
  const squared = quantizeBlocks(weights, rows, columns, bits, data, scales);
  return { data, scales, squared, back: dequantizeBlocks(data, scales, rows, columns, bits) };
}

function inRows(weights: Float32Array, rows: number, columns: number, limit = 127) {
  const data = new Int8Array(rows * columns);
  const scales = new Float32Array(rows);
  const squared = quantizeRows(weights, rows, columns, limit, data, scales);
  return { data, scales, squared, back: dequantizeRows(data, scales, rows, columns) };
}

function measuredError(weights: Float32Array, back: Float32Array): number {
  let [error, norm] = [0, 0];
  for (const [i, weight] of weights.entries()) {
    error += (weight - (back[i] ?? Number.NaN)) ** 2;
    norm += weight ** 2;
  }
  return relativeError({ error, norm });
}

/** What scales from the maximum alone give: x / max|x| in steps of 1 / top. */
function errorByMaximum(weights: Float32Array, span: number, top: number): number {
  const back = new Float32Array(weights.length);
  for (let begin = 0; begin < weights.length; begin += span) {
    const block = weights.subarray(begin, begin + span);
    const scale = Math.max(...block.map(Math.abs)) / top;
    back.set(
      block.map((x) => Math.round(x / scale) * scale),
      begin,
    );
  }
  return measuredError(weights, back);
}

describe("blocks", () => {
  it("have scales with less error than those from the maximum", () => {
    const weights = gaussian(3, 64 * 256);
    assert(relativeError(inBlocks(weights, 64, 256, 4).squared) < 0.87 * errorByMaximum(weights, 128, 7));
    assert(relativeError(inBlocks(weights, 64, 256, 8).squared) < errorByMaximum(weights, 128, 127));
  });

  it("clip a lone outlier of 4 bits where that costs less than coarse steps for its 127 neighbours", () => {
    const weights = gaussian(4, 128);
    weights[5] = 6;
    assert(relativeError(inBlocks(weights, 1, 128, 4).squared) < 0.9 * errorByMaximum(weights, 128, 7));
  });

  it("keep low nibbles first, and pad a last block with zeros of the weight", () => {
    const weights = new Float32Array(130);
    weights.set([-8, 7, 3, -1]);
    weights[129] = 0.5;
    const { data, scales } = inBlocks(weights, 1, 130, 4);
    assert.equal(data.length, 128);
    const [scale = 0] = scales;
    assert.deepEqual([...data.subarray(0, 3)], scale > 0 ? [0xf0, 0x7b, 0x88] : [0x1f, 0x95, 0x88]);
    assert(data.subarray(65).every((byte) => byte === 0x88));
  });

  it("reproduce values on a grid exactly", () => {
    for (const [bits, top] of [
      [4, 8],
      [8, 128],
    ] as const) {
      const weights = Float32Array.from({ length: 256 }, (_, i) => (((i * 37) % (2 * top)) - top) * 0.25);
      const { back, squared } = inBlocks(weights, 2, 128, bits);
      assert.equal(squared.error, 0);
      assert.deepEqual(
        back.map((x) => x + 0), // a negative scale makes -0
        weights,
      );
    }
  });

  it("reproduce a symmetric grid, as other programs write it", () => {
    for (const [bits, top] of [
      [4, 7],
      [8, 127],
    ] as const) {
      const weights = Float32Array.from({ length: 256 }, (_, i) => (((i * 37) % (2 * top + 1)) - top) * 0.25);
      assert.equal(inBlocks(weights, 2, 128, bits).squared.error, 0);
    }
  });

  it("report the exact error of the values that the kernel uses, for any shape", () => {
    const shape = fc.tuple(fc.integer({ min: 1, max: 5 }), fc.integer({ min: 1, max: 300 }), fc.integer());
    fc.assert(
      fc.property(shape, fc.constantFrom(4 as const, 8 as const), ([rows, columns, seed], bits) => {
        const weights = gaussian(seed, rows * columns, 0.02);
        const { back, squared } = inBlocks(weights, rows, columns, bits);
        assert(Math.abs(measuredError(weights, back) - relativeError(squared)) < 1e-6);
        assert(relativeError(squared) < (bits === 4 ? 0.2 : 0.012));
      }),
      { numRuns: 60 },
    );
  });

  it("handle zeros and the smallest and largest numbers", () => {
    for (const value of [0, 1e-42, -1e-35, 3e38]) {
      for (const bits of [4, 8] as const) {
        const { back, scales } = inBlocks(new Float32Array(128).fill(value), 1, 128, bits);
        assert(scales.every(Number.isFinite));
        assert(back.every((x) => Math.abs(x - value) <= Math.max(1e-30, Math.abs(value) * 1e-6)));
      }
    }
  });

  it("show NaN and infinity in the norm", () => {
    for (const bad of [Number.NaN, Number.POSITIVE_INFINITY]) {
      const weights = new Float32Array(128).fill(1);
      weights[7] = bad;
      assert(!Number.isFinite(inBlocks(weights, 1, 128, 4).squared.norm));
      assert(!Number.isFinite(inRows(weights, 1, 128).squared.norm));
    }
  });
});

describe("rows", () => {
  for (const limit of [127, 64])
    it(`are transposed, with one scale per row, and stay within ±${limit}`, () => {
      const [rows, columns] = [70, 130]; // more than one panel
      const weights = gaussian(6, rows * columns, 0.1);
      const { data, scales, back, squared } = inRows(weights, rows, columns, limit);
      assert(data.every((step) => Math.abs(step) <= limit));
      const [row, column] = [66, 129];
      const expected = (data[column * rows + row] ?? 0) * (scales[row] ?? 0);
      assert(Math.abs((back[row * columns + column] ?? 0) - expected) < 1e-7);
      assert(Math.abs(measuredError(weights, back) - relativeError(squared)) < 1e-6);
      assert(relativeError(squared) <= errorByMaximum(weights, columns, limit));
    });

  it("clip a lone outlier where that costs less than coarse steps for its many neighbours", () => {
    const weights = gaussian(8, 4000);
    weights[5] = 5.2;
    weights[9] = -5.2;
    assert(relativeError(inRows(weights, 1, 4000, 24).squared) < 0.95 * errorByMaximum(weights, 4000, 24));
  });

  it("refuse a limit outside int8", () => {
    for (const limit of [0, 128, 63.5]) assert.throws(() => inRows(new Float32Array(4), 1, 4, limit));
  });
});

describe("transpose", () => {
  it("is its own inverse", () => {
    const values = gaussian(7, 15);
    assert.deepEqual(transpose(transpose(values, 3, 5), 5, 3), values);
    assert.equal(transpose(values, 3, 5)[1], values[5]);
  });
});
