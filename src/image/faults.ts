/** The faults of pictures. A client sees them, so they name no package and no path. */

import { LorikeetError } from "../base/errors.js";

/** `clause` continues "The image ...". */
export const invalidImage = (clause: string, cause?: unknown): LorikeetError =>
  new LorikeetError("image_invalid", `The image ${clause}.`, { param: "image", cause });

/** `found` is a noun. */
export const unsupportedImage = (found: string): LorikeetError =>
  new LorikeetError("image_unsupported", `The image is ${found}; PNG, JPEG and WebP pictures are supported.`, {
    param: "image",
    found,
    allowed: ["PNG", "JPEG", "WebP"],
  });

export const truncatedImage = (): LorikeetError => invalidImage("is truncated: its data ends before the picture does");

/** @throws LorikeetError `image_invalid` for an empty picture, `image_too_large` for one beyond the bound. */
export function checkSize(width: number, height: number, maxPixels: number): void {
  if (width === 0 || height === 0) throw invalidImage(`has a size of ${width}x${height}; both must be above zero`);
  const found = width * height;
  if (found <= maxPixels) return;
  throw new LorikeetError(
    "image_too_large",
    `The image has ${width}x${height} pixels, ${found} together; at most ${maxPixels} are allowed.`,
    { param: "image", found, allowed: maxPixels },
  );
}
