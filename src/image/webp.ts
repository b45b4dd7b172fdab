/** WebP's container (RFC 9649): the size of the picture and its orientation. */

import { orientationOf } from "./exif.js";
import { checkSize, invalidImage, truncatedImage, unsupportedImage } from "./faults.js";
import type { ImageHeader } from "./types.js";

const animationFlag = 0x02;

/** Throws LorikeetError `image_invalid`, `image_unsupported` or `image_too_large`. */
export function readWebpHeader(bytes: Uint8Array, maxPixels: number): ImageHeader {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const end = 8 + view.getUint32(4, true);
  if (end > bytes.length) throw truncatedImage();
  let size: { width: number; height: number } | null = null;
  let hasPicture = false;
  let orientation = 1;
  for (let at = 12; at + 8 <= end; ) {
    const name = nameAt(bytes, at);
    const length = view.getUint32(at + 4, true);
    if (at + 8 + length > end) throw truncatedImage();
    const content = bytes.subarray(at + 8, at + 8 + length);
    const found = readSize(name, content);
    if (found) checkSize(found.width, found.height, maxPixels);
    size ??= found;
    hasPicture ||= name === "VP8 " || name === "VP8L";
    if (name === "EXIF") orientation = orientationOf(withoutMark(content));
    at += 8 + length + (length % 2);
  }
  if (size === null || !hasPicture) throw invalidImage("is not a valid WebP: it has no picture");
  return { format: "WebP", ...size, orientation };
}

const nameAt = (bytes: Uint8Array, at: number): string => String.fromCharCode(...bytes.subarray(at, at + 4));

function readSize(name: string, content: Uint8Array): { width: number; height: number } | null {
  const view = new DataView(content.buffer, content.byteOffset, content.byteLength);
  if (name === "VP8X") {
    if (content.length < 10) throw truncatedImage();
    if (view.getUint8(0) & animationFlag) throw unsupportedImage("an animated WebP");
    const uint24 = (at: number): number => view.getUint16(at, true) | (view.getUint8(at + 2) << 16);
    return { width: uint24(4) + 1, height: uint24(7) + 1 };
  }
  if (name === "ANIM" || name === "ANMF") throw unsupportedImage("an animated WebP");
  if (name === "VP8 ") {
    if (content.length < 10) throw truncatedImage();
    return { width: view.getUint16(6, true) & 0x3fff, height: view.getUint16(8, true) & 0x3fff };
  }
  if (name !== "VP8L") return null;
  if (content.length < 5) throw truncatedImage();
  const bits = view.getUint32(1, true);
  return { width: (bits & 0x3fff) + 1, height: ((bits >>> 14) & 0x3fff) + 1 };
}

/** Some writers put JPEG's mark in front of the EXIF data. */
const withoutMark = (exif: Uint8Array): Uint8Array => (nameAt(exif, 0) === "Exif" ? exif.subarray(6) : exif);
