/**
 * The WebAssembly builds of mozjpeg and libwebp: the only file that knows their packages. A codec that fails is thrown away, since its
 * memory may be in any state; so is one whose memory has grown, since it would never shrink.
 */

import { readFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { invalidImage } from "./faults.js";

interface Pixels {
  readonly width: number;
  readonly height: number;
  /** RGBA */
  readonly data: Uint8ClampedArray;
}

interface Codec {
  /** The codecs check the number of arguments; mozjpeg's has one more, which asks it not to turn the picture. */
  decode(bytes: Uint8Array, ...options: readonly boolean[]): Pixels | null;
}

/** As the packages' codecs export it; their declarations need the browser's types. */
type CodecFactory = (overrides: object) => Promise<Codec>;

const sources = {
  JPEG: {
    load: async (): Promise<CodecFactory> => (await import("@jsquash/jpeg/codec/dec/mozjpeg_dec.js")).default,
    binary: "@jsquash/jpeg/codec/dec/mozjpeg_dec.wasm",
    options: [false],
  },
  WebP: {
    load: async (): Promise<CodecFactory> => (await import("@jsquash/webp/codec/dec/webp_dec.js")).default,
    binary: "@jsquash/webp/codec/dec/webp_dec.wasm",
    options: [],
  },
} as const;

export type CodecName = keyof typeof sources;

/** Instances are kept up to this many pixels, about 64 MiB of memory. */
const maxKeptPixels = 4_194_304;

const instances = new Map<CodecName, Codec>();

/** Decodes to RGBA. The size was checked before. @throws LorikeetError `image_invalid` if the codec gives up. */
export async function decodeWith(name: CodecName, bytes: Uint8Array): Promise<Pixels> {
  const codec = instances.get(name) ?? (await instantiate(name));
  instances.delete(name);
  let pixels: Pixels | null;
  try {
    pixels = codec.decode(bytes, ...sources[name].options);
  } catch (cause) {
    throw invalidImage(`is damaged: its ${name} data cannot be decoded`, cause);
  }
  if (pixels === null) throw invalidImage(`is damaged: its ${name} data cannot be decoded`);
  if (pixels.width * pixels.height <= maxKeptPixels) instances.set(name, codec);
  return pixels;
}

async function instantiate(name: CodecName): Promise<Codec> {
  const { load, binary } = sources[name];
  const wasmBinary = await readFile(createRequire(import.meta.url).resolve(binary));
  const create = await load();
  return create({ noInitialRun: true, print: () => {}, printErr: () => {}, wasmBinary });
}
