/** JPEG (ITU-T T.81): its header, whether it is whole, and what the codec does not decode. */

import { orientationOf } from "./exif.js";
import { checkSize, invalidImage, truncatedImage, unsupportedImage } from "./faults.js";
import type { ImageHeader } from "./types.js";

/** A scan costs time for every pixel; encoders write about ten. */
const maxScans = 64;

const [sos, eoi, app1] = [0xda, 0xd9, 0xe1];
const exifMark = "Exif\0\0";

/** Baseline, extended and progressive, all with Huffman codes. */
const supportedFrames = [0xc0, 0xc1, 0xc2];
/** Not frames: Huffman tables, JPEG extensions, arithmetic conditioning. */
const otherInRange = [0xc4, 0xc8, 0xcc];

/** Reads the markers to the end. Throws LorikeetError `image_invalid`, `image_unsupported` or `image_too_large`. */
export function readJpegHeader(bytes: Uint8Array, maxPixels: number): ImageHeader {
  let size: { width: number; height: number } | null = null;
  let orientation = 1;
  let scans = 0;
  for (let at = 2; ; ) {
    const marker = nextMarker(bytes, at);
    if (marker.code === eoi) break;
    const length = ((bytes[marker.end] ?? 0) << 8) | (bytes[marker.end + 1] ?? 0);
    const end = marker.end + length;
    if (length < 2 || end > bytes.length) throw truncatedImage();
    const content = bytes.subarray(marker.end + 2, end);
    at = end;
    if (marker.code === app1 && startsWith(content, exifMark))
      orientation = orientationOf(content.subarray(exifMark.length));
    if (isFrame(marker.code)) size = readFrame(content, marker.code, maxPixels);
    if (marker.code === sos && ++scans > maxScans)
      throw invalidImage(`is a JPEG with more than ${maxScans} scans, which is the most allowed`);
  }
  if (size === null || scans === 0) throw invalidImage("is not a valid JPEG: it has no picture");
  return { format: "JPEG", ...size, orientation };
}

/** The next marker from `at` on, past the data of a scan and fill bytes. */
function nextMarker(bytes: Uint8Array, at: number): { code: number; end: number } {
  for (let i = bytes.indexOf(0xff, at); i >= 0; i = bytes.indexOf(0xff, i + 1)) {
    const code = bytes[i + 1];
    if (code === undefined) break;
    const isData = code === 0x00 || code === 0xff || code === 0x01 || (code >= 0xd0 && code <= 0xd8);
    if (!isData) return { code, end: i + 2 };
  }
  throw truncatedImage();
}

const isFrame = (code: number): boolean => code >= 0xc0 && code <= 0xcf && !otherInRange.includes(code);

function readFrame(content: Uint8Array, code: number, maxPixels: number): { width: number; height: number } {
  const [precision, h1 = 0, h0 = 0, w1 = 0, w0 = 0, components] = content;
  if (components === undefined) throw truncatedImage();
  const [width, height] = [(w1 << 8) | w0, (h1 << 8) | h0];
  checkSize(width, height, maxPixels);
  if (!supportedFrames.includes(code))
    throw unsupportedImage("a JPEG with lossless, hierarchical or arithmetic coding");
  if (precision !== 8) throw unsupportedImage(`a JPEG with ${precision} bits a sample instead of 8`);
  if (components === 4) throw unsupportedImage("a JPEG in CMYK colours; convert it to RGB");
  if (components !== 1 && components !== 3) throw unsupportedImage(`a JPEG with ${components} colour components`);
  return { width, height };
}

const startsWith = (bytes: Uint8Array, text: string): boolean =>
  bytes.length >= text.length && Array.from(text).every((character, i) => bytes[i] === character.charCodeAt(0));
