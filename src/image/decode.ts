/** A picture's file to RGB, turned as its EXIF data says. Everything a file claims is checked before it is decoded. */

import { assert } from "../base/errors.js";
import { uint8At } from "../base/list.js";
import { type CodecName, decodeWith } from "./codecs.js";
import { invalidImage, unsupportedImage } from "./faults.js";
import { readJpegHeader } from "./jpeg.js";
import { orient } from "./orient.js";
import { decodePng, pngSignature, readPngHeader } from "./png.js";
import type { ImageFormat, ImageHeader, RgbImage } from "./types.js";
import { readWebpHeader } from "./webp.js";

/** The first bytes of formats, supported or not; null stands for any byte. */
const signatures: readonly (readonly [name: string, bytes: readonly (number | null)[]])[] = [
  ["PNG", pngSignature],
  ["JPEG", [0xff, 0xd8, 0xff]],
  ["WebP", [...ascii("RIFF"), null, null, null, null, ...ascii("WEBP")]],
  ["a GIF", ascii("GIF8")],
  ["a BMP", ascii("BM")],
  ["a TIFF", [0x49, 0x49, 0x2a, 0x00]],
  ["a TIFF", [0x4d, 0x4d, 0x00, 0x2a]],
  ["an AVIF or HEIC", [null, null, null, null, ...ascii("ftyp")]],
  ["a PDF", ascii("%PDF")],
  ["an SVG or XML file", ascii("<")],
];

const readers: Readonly<Record<ImageFormat, (bytes: Uint8Array, maxPixels: number) => ImageHeader>> = {
  PNG: readPngHeader,
  JPEG: readJpegHeader,
  WebP: readWebpHeader,
};

/** Reads what a file claims. Throws LorikeetError `image_invalid`, `image_unsupported` or `image_too_large`. */
export function readImageHeader(bytes: Uint8Array, maxPixels: number): ImageHeader {
  if (bytes.length === 0) throw invalidImage("is empty");
  const found = signatures.find(([, signature]) =>
    signature.every((byte, i) => byte === null || bytes[i] === byte),
  )?.[0];
  if (found === undefined && lacksLineEnds(bytes)) {
    throw invalidImage("is a PNG that lost its line ends, as by `curl -d`; `curl --data-binary` sends every byte");
  }
  if (found === undefined) throw unsupportedImage("not a picture of a known format");
  if (isSupported(found)) return readers[found](bytes, maxPixels);
  throw unsupportedImage(found);
}

/** The signature of PNG is made to show it. */
function lacksLineEnds(bytes: Uint8Array): boolean {
  const kept = pngSignature.filter((byte) => byte !== 13 && byte !== 10);
  return kept.every((byte, i) => bytes[i] === byte);
}

/** Throws as `readImageHeader` does. */
export async function decodeImage(bytes: Uint8Array, maxPixels: number): Promise<RgbImage> {
  const header = readImageHeader(bytes, maxPixels);
  const image = header.format === "PNG" ? decodePng(bytes, maxPixels) : await decodeRgba(header.format, header, bytes);
  return orient(image, header.orientation);
}

async function decodeRgba(name: CodecName, header: ImageHeader, bytes: Uint8Array): Promise<RgbImage> {
  const { width, height, data } = await decodeWith(name, bytes);
  if (width !== header.width || height !== header.height)
    throw invalidImage(`is damaged: it says ${header.width}x${header.height} pixels and has ${width}x${height}`);
  assert(data.length === width * height * 4, "a decoded picture has four bytes for each pixel");
  const rgb = new Uint8Array(width * height * 3);
  const rgba = new Uint8Array(data.buffer, data.byteOffset, data.length);
  for (let from = 0, to = 0; from < rgba.length; from += 4) {
    rgb[to++] = uint8At(rgba, from);
    rgb[to++] = uint8At(rgba, from + 1);
    rgb[to++] = uint8At(rgba, from + 2);
  }
  return { width, height, data: rgb };
}

const isSupported = (name: string): name is ImageFormat => name in readers;

function ascii(text: string): number[] {
  return Array.from(text, (character) => character.charCodeAt(0));
}
