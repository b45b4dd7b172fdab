// Writes GGUF files, version 3: metadata, then tensors in F32, Q8_0 or Q4_0. The format is described in ggml's docs/gguf.md.

import { open } from "node:fs/promises";

const alignment = 32;
const { fround } = Math;
const aligned = (bytes) => Math.ceil(bytes / alignment) * alignment;

/** Elements per block, bytes per block, and the encoding of values. Block layouts are those of ggml-common.h. */
const types = {
  F32: {
    code: 0,
    elements: 1,
    bytes: 4,
    encode: (values) => new Uint8Array(values.buffer, values.byteOffset, values.byteLength),
  },
  Q4_0: { code: 2, elements: 32, bytes: 18, encode: encodeQ4 },
  Q8_0: { code: 8, elements: 32, bytes: 34, encode: encodeQ8 },
};

/** Metadata values with their types. */
export const u32 = (value) => ({ code: 4, bytes: number("writeUInt32LE", 4, value) });
export const f32 = (value) => ({ code: 6, bytes: number("writeFloatLE", 4, value) });
export const text = (value) => ({ code: 8, bytes: string(value) });
export const texts = (values) => list(8, values.map(string));
export const i32s = (values) =>
  list(
    5,
    values.map((value) => number("writeInt32LE", 4, value)),
  );

/**
 * @param metadata [key, value] pairs
 * @param tensors `{name, type, dims, read}`: dims in GGUF's order (the contiguous one first), `read` resolves with float32
 */
export async function writeGguf(path, metadata, tensors) {
  const file = await open(path, "w");
  try {
    const header = [Buffer.from("GGUF"), number("writeUInt32LE", 4, 3), u64(tensors.length), u64(metadata.length)];
    for (const [key, { code, bytes }] of metadata) header.push(string(key), number("writeUInt32LE", 4, code), bytes);
    let offset = 0;
    for (const { name, type, dims } of tensors) {
      header.push(string(name), number("writeUInt32LE", 4, dims.length), ...dims.map(u64));
      header.push(number("writeUInt32LE", 4, types[type].code), u64(offset));
      offset += aligned(sizeOf(type, dims));
    }
    const head = Buffer.concat(header);
    await file.write(pad(head));
    for (const { name, type, dims, read } of tensors) {
      const bytes = types[type].encode(await read());
      if (bytes.length !== sizeOf(type, dims))
        throw new Error(`${name}: ${bytes.length} bytes, not ${sizeOf(type, dims)}`);
      await file.write(pad(bytes));
    }
  } finally {
    await file.close();
  }
}

function sizeOf(type, dims) {
  const { elements, bytes } = types[type];
  if (dims[0] % elements !== 0) throw new Error(`rows of ${dims[0]} are not whole blocks of ${type}`);
  return (dims.reduce((product, dim) => product * dim, 1) / elements) * bytes;
}

function pad(bytes) {
  const padded = Buffer.alloc(aligned(bytes.length));
  padded.set(bytes);
  return padded;
}

/**
 * d = (the value of largest magnitude) / -8; q = x / d + 8, four bits; values 0 to 15 in the low halves. All in float32,
 * so that ties round as in ggml.
 */
function encodeQ4(values) {
  const blocks = values.length / 32;
  const out = Buffer.alloc(blocks * 18);
  for (let block = 0; block < blocks; block++) {
    let extreme = 0;
    for (let i = 0; i < 32; i++)
      if (Math.abs(values[block * 32 + i]) > Math.abs(extreme)) extreme = values[block * 32 + i];
    const scale = extreme / -8;
    const inverse = scale === 0 ? 0 : fround(1 / scale);
    const quantum = (i) => Math.min(15, Math.trunc(fround(fround(values[block * 32 + i] * inverse) + 8.5)));
    out.writeUInt16LE(toHalf(scale), block * 18);
    for (let i = 0; i < 16; i++) out[block * 18 + 2 + i] = quantum(i) | (quantum(i + 16) << 4);
  }
  return out;
}

/** d = max |x| / 127; q = x / d, eight bits, ties away from zero. */
function encodeQ8(values) {
  const blocks = values.length / 32;
  const out = Buffer.alloc(blocks * 34);
  for (let block = 0; block < blocks; block++) {
    let largest = 0;
    for (let i = 0; i < 32; i++) largest = Math.max(largest, Math.abs(values[block * 32 + i]));
    const scale = fround(largest / 127);
    const inverse = scale === 0 ? 0 : fround(1 / scale);
    out.writeUInt16LE(toHalf(scale), block * 34);
    for (let i = 0; i < 32; i++) {
      const exact = fround(values[block * 32 + i] * inverse);
      out.writeInt8(Math.sign(exact) * Math.round(Math.abs(exact)), block * 34 + 2 + i);
    }
  }
  return out;
}

const single = new Float32Array(1);
const singleBits = new Uint32Array(single.buffer);

/** The bits of the nearest float16, ties to even. */
function toHalf(value) {
  single[0] = value;
  const bits = singleBits[0];
  const sign = (bits >>> 16) & 0x8000;
  const magnitude = Math.abs(single[0]);
  if (magnitude >= 65520) return sign | 0x7c00;
  if (magnitude < 2 ** -14) return sign | toEven(magnitude * 2 ** 24);
  const kept = (bits & 0x7fffffff) - 0x38000000;
  return sign | ((kept + 0x0fff + ((kept >>> 13) & 1)) >>> 13);
}

function toEven(value) {
  const floor = Math.floor(value);
  const rest = value - floor;
  return rest > 0.5 || (rest === 0.5 && floor % 2 === 1) ? floor + 1 : floor;
}

function u64(value) {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64LE(BigInt(value));
  return bytes;
}

function number(method, size, value) {
  const bytes = Buffer.alloc(size);
  bytes[method](value);
  return bytes;
}

function string(value) {
  const bytes = Buffer.from(value);
  return Buffer.concat([u64(bytes.length), bytes]);
}

function list(code, items) {
  return { code: 9, bytes: Buffer.concat([number("writeUInt32LE", 4, code), u64(items.length), ...items]) };
}
