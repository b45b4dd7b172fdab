/** Pictures as rooms above see them. */

/** In pixels. */
export interface Size {
  readonly width: number;
  readonly height: number;
}

/** Rows of pixels from the top left, three bytes each. */
export interface RgbImage extends Size {
  /** [height, width, 3] */
  readonly data: Uint8Array<ArrayBuffer>;
}

export type ImageFormat = "PNG" | "JPEG" | "WebP";

/** What a file says about itself before anything is decoded. */
export interface ImageHeader {
  readonly format: ImageFormat;
  readonly width: number;
  readonly height: number;
  /** EXIF's, 1 to 8: how the picture must be turned. */
  readonly orientation: number;
}
