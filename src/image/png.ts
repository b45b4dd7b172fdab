/**
 * PNG (ISO/IEC 15948) to RGB, over Node's zlib. Depths and colours become RGB as Pillow's `convert("RGB")` does it: alpha is dropped,
 * 16-bit colours keep their high byte, 16-bit greys are cut off at 255.
 */

import { crc32, inflateSync } from "node:zlib";
import { at, uint8At } from "../base/list.js";
import { orientationOf } from "./exif.js";
import { checkSize, invalidImage, truncatedImage, unsupportedImage } from "./faults.js";
import type { ImageHeader, RgbImage } from "./types.js";
import { unfilter } from "./unfilter.js";

export const pngSignature = [0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a];

interface Chunks {
  readonly width: number;
  readonly height: number;
  readonly depth: number;
  readonly color: Color;
  readonly isInterlaced: boolean;
  readonly palette: Uint8Array;
  readonly data: readonly Uint8Array[];
  readonly orientation: number;
}

/** Colour types and their samples per pixel. */
const colors = { 0: 1, 2: 3, 3: 1, 4: 2, 6: 4 } as const;
type Color = keyof typeof colors;

/** Bits per sample that a colour type allows. */
const depths: Readonly<Record<Color, readonly number[]>> = {
  0: [1, 2, 4, 8, 16],
  2: [8, 16],
  3: [1, 2, 4, 8],
  4: [8, 16],
  6: [8, 16],
};

/** Throws LorikeetError `image_invalid`, `image_unsupported` or `image_too_large`. */
export function readPngHeader(bytes: Uint8Array, maxPixels: number): ImageHeader {
  const { width, height, orientation } = readChunks(bytes, maxPixels);
  return { format: "PNG", width, height, orientation };
}

/** Throws as `readPngHeader` does. */
export function decodePng(bytes: Uint8Array, maxPixels: number): RgbImage {
  const chunks = readChunks(bytes, maxPixels);
  const passes = chunks.isInterlaced ? adam7 : [whole];
  const sizes = passes.map((pass) => passSize(chunks, pass));
  const bitsPerPixel = chunks.depth * colors[chunks.color];
  const expected = sizes.reduce((sum, { width, height }) => sum + rowBytes(width, bitsPerPixel) * height, 0);
  const raw = inflate(chunks.data, expected);
  const { width, height } = chunks;
  const out = new Uint8Array(width * height * 3);
  const toRgb = createConverter(chunks);
  let offset = 0;
  for (const [index, pass] of passes.entries()) {
    const size = at(sizes, index);
    const bytesOfRow = rowBytes(size.width, bitsPerPixel);
    if (bytesOfRow === 0) continue;
    const rows = raw.subarray(offset, offset + bytesOfRow * size.height);
    offset += rows.length;
    unfilter(rows, bytesOfRow, Math.max(1, bitsPerPixel >> 3));
    for (let y = 0; y < size.height; y++) {
      const row = rows.subarray(y * bytesOfRow + 1, (y + 1) * bytesOfRow);
      if (pass === whole && bitsPerPixel === 24) {
        out.set(row, y * row.length);
        continue;
      }
      const line = (pass.y + y * pass.dy) * width;
      for (let x = 0; x < size.width; x++) toRgb(row, x, out, (line + pass.x + x * pass.dx) * 3);
    }
  }
  return { width, height, data: out };
}

interface Pass {
  readonly x: number;
  readonly y: number;
  readonly dx: number;
  readonly dy: number;
}

const whole: Pass = { x: 0, y: 0, dx: 1, dy: 1 };
const adam7: readonly Pass[] = [
  { x: 0, y: 0, dx: 8, dy: 8 },
  { x: 4, y: 0, dx: 8, dy: 8 },
  { x: 0, y: 4, dx: 4, dy: 8 },
  { x: 2, y: 0, dx: 4, dy: 4 },
  { x: 0, y: 2, dx: 2, dy: 4 },
  { x: 1, y: 0, dx: 2, dy: 2 },
  { x: 0, y: 1, dx: 1, dy: 2 },
];

const passSize = ({ width, height }: Chunks, { x, y, dx, dy }: Pass): { width: number; height: number } => ({
  width: Math.max(0, Math.ceil((width - x) / dx)),
  height: Math.max(0, Math.ceil((height - y) / dy)),
});

/** With the byte that names a row's filter; an empty pass has no rows. */
const rowBytes = (width: number, bits: number): number => (width === 0 ? 0 : 1 + Math.ceil((width * bits) / 8));

/** Reads the chunks up to the end, whose checksums must be right where they hold the picture. */
function readChunks(bytes: Uint8Array, maxPixels: number): Chunks {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  let head: ReturnType<typeof readHead> | null = null;
  let palette = new Uint8Array();
  let orientation = 1;
  const data: Uint8Array[] = [];
  for (let at = pngSignature.length; ; ) {
    if (at + 12 > bytes.length) throw truncatedImage();
    const length = view.getUint32(at);
    const name = String.fromCharCode(...bytes.subarray(at + 4, at + 8));
    const content = bytes.subarray(at + 8, at + 8 + length);
    const end = at + 8 + length;
    if (end + 4 > bytes.length) throw truncatedImage();
    if (isCritical(name) && crc32(bytes.subarray(at + 4, end)) !== view.getUint32(end))
      throw invalidImage(`is damaged: the checksum of its part ${JSON.stringify(name)} is wrong`);
    if (name === "IEND") break;
    if (head === null && name !== "IHDR") throw invalidImage("is not a valid PNG: it does not begin with its header");
    if (name === "IHDR") head = readHead(content, maxPixels);
    else if (name === "PLTE") palette = Uint8Array.from(content);
    else if (name === "IDAT") data.push(content);
    else if (name === "acTL") throw unsupportedImage("an animated PNG");
    else if (name === "eXIf") orientation = orientationOf(content);
    at = end + 4;
  }
  if (head === null || data.length === 0) throw invalidImage("is not a valid PNG: it has no picture");
  if (head.color === 3 && palette.length < 3) throw invalidImage("is not a valid PNG: it has no palette");
  return { ...head, palette, data, orientation };
}

/** A name whose first letter is a capital. */
const isCritical = (name: string): boolean => name.charCodeAt(0) < 0x60;

function readHead(
  content: Uint8Array,
  maxPixels: number,
): Pick<Chunks, "width" | "height" | "depth" | "color" | "isInterlaced"> {
  if (content.length !== 13) throw invalidImage(`is not a valid PNG: its header has ${content.length} bytes, not 13`);
  const view = new DataView(content.buffer, content.byteOffset, content.byteLength);
  const [width, height] = [view.getUint32(0), view.getUint32(4)];
  const [depth, color, compression, filter, interlace] = [8, 9, 10, 11, 12].map((index) => view.getUint8(index));
  checkSize(width, height, maxPixels);
  if (depth === undefined || !isColor(color) || !depths[color].includes(depth))
    throw invalidImage(`is not a valid PNG: it says colour type ${color} with ${depth} bits`);
  if (compression !== 0 || filter !== 0 || (interlace !== 0 && interlace !== 1))
    throw invalidImage("is not a valid PNG: it names an unknown compression, filter or interlacing");
  return { width, height, depth, color, isInterlaced: interlace === 1 };
}

const isColor = (color: number | undefined): color is Color => color !== undefined && color in colors;

/** The rows, bounded by what the header says. */
function inflate(data: readonly Uint8Array[], expected: number): Uint8Array {
  let rows: Uint8Array;
  try {
    rows = inflateSync(Buffer.concat(data), { maxOutputLength: expected });
  } catch (cause) {
    const code = cause instanceof Error && "code" in cause ? cause.code : null;
    if (code === "Z_BUF_ERROR") throw truncatedImage();
    if (code === "ERR_BUFFER_TOO_LARGE")
      throw invalidImage("is not a valid PNG: it has more data than its size needs", cause);
    throw invalidImage("is damaged: its data cannot be decompressed", cause);
  }
  if (rows.length < expected) throw truncatedImage();
  return rows;
}

/** Writes the pixel `x` of a row as three bytes. */
type Converter = (row: Uint8Array, x: number, out: Uint8Array, to: number) => void;

function createConverter({ depth, color, palette }: Chunks): Converter {
  const step = (depth === 16 ? 2 : 1) * colors[color];
  const write = (out: Uint8Array, to: number, red: number, green: number, blue: number): void => {
    out[to] = red;
    out[to + 1] = green;
    out[to + 2] = blue;
  };
  if (color === 2 || color === 6) {
    const next = depth >> 3;
    return (row, x, out, to) => {
      const from = x * step;
      write(out, to, uint8At(row, from), uint8At(row, from + next), uint8At(row, from + 2 * next));
    };
  }
  const sample = sampler(depth, step);
  if (color === 3) {
    return (row, x, out, to) => {
      const from = sample(row, x) * 3;
      write(out, to, palette[from] ?? 0, palette[from + 1] ?? 0, palette[from + 2] ?? 0);
    };
  }
  const scale = depth < 8 ? 255 / (2 ** depth - 1) : 1;
  return (row, x, out, to) => {
    const grey = sample(row, x) * scale;
    write(out, to, grey, grey, grey);
  };
}

/** The first sample of a pixel, in 8 bits or less. */
function sampler(depth: number, step: number): (row: Uint8Array, x: number) => number {
  if (depth === 8) return (row, x) => uint8At(row, x * step);
  // Grey with alpha keeps its high byte; grey alone is an integer image, which conversion cuts off.
  if (depth === 16 && step > 2) return (row, x) => uint8At(row, x * step);
  if (depth === 16) return (row, x) => (uint8At(row, x * step) > 0 ? 255 : uint8At(row, x * step + 1));
  const [perByte, mask] = [8 / depth, 2 ** depth - 1];
  return (row, x) => (uint8At(row, Math.floor(x / perByte)) >> (8 - depth - (x % perByte) * depth)) & mask;
}
