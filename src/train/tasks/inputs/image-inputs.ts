/** Pictures as a model's inputs, prepared as the model's folder says. */

import { createHash } from "node:crypto";
import { readFile } from "node:fs/promises";
import { dirname, resolve } from "node:path";
import { assert, LorikeetError } from "../../../base/errors.js";
import type { Graph, Shape, Value } from "../../../graph/types.js";
import type { PreparedImage } from "../../../image/prepare.js";
import type { ImagePreprocessor } from "../../../image/preprocessor.js";
import { Tensor } from "../../../runtime/tensor.js";
import type { RowPlace } from "../../data/faults.js";
import { RowFault, shown } from "../../data/rows.js";
import type { TaskExample, TaskInputs } from "../types.js";

/** A picture of the data: where its bytes are, and what the model sees once it was prepared. */
export interface ImageSource {
  /** The file and its folder, for people; of a picture within the data, its line. */
  readonly name: string;
  readonly sha256: string;
  prepared(): Promise<PreparedImage>;
}

/** Bytes of prepared pictures that are kept. Further ones are prepared again whenever they are needed. */
const maxKeptBytes = 2 ** 29;

export class ImageReader {
  readonly #preprocessor: ImagePreprocessor;
  /** [channels, height, width]; a name or nothing for a size that the model leaves open. */
  readonly #expected: Shape;
  #kept = 0;

  constructor(preprocessor: ImagePreprocessor, graph: Graph) {
    this.#preprocessor = preprocessor;
    const image = pixelsOf(graph);
    this.#expected = image === undefined || image.unknown ? [] : image.shape.slice(1);
  }

  /** `value`: a path relative to the data's file, or a data URL. Throws RowFault for what is not a picture, or not one of the model's size. */
  async read(value: unknown, place: RowPlace): Promise<ImageSource> {
    if (typeof value !== "string" || value === "") {
      throw new RowFault(`must have a path or a data URL as \`image\`, not ${shown(value)}`);
    }
    const load = loaderOf(value, place);
    const bytes = await load();
    const sha256 = createHash("sha256").update(bytes).digest("hex");
    const named = place.line === null ? null : value; // the place of a picture in a folder names it
    const first = await this.#prepare(bytes, named);
    this.#requireSize(first, named);
    const size = first.pixels.byteLength + first.mask.byteLength;
    const isKept = this.#kept + size <= maxKeptBytes;
    if (isKept) this.#kept += size;
    const end = named === null ? value : named.split(/[/\\]/).slice(-2).join("/");
    const name = named?.startsWith("data:") ? `line ${place.line}` : end;
    return { name, sha256, prepared: async () => (isKept ? first : await this.#prepare(await load(), named)) };
  }

  /** `value`: null for a row that is a picture. */
  #requireSize({ shape }: PreparedImage, value: string | null): void {
    if (this.#expected.every((size, i) => typeof size !== "number" || size === shape[i])) return;
    throw new RowFault(
      `${value === null ? "is a picture" : `has a picture (${short(value)})`} that the model's preprocessor makes [${shape.join(", ")}]; the model takes [${this.#expected.join(", ")}] (channels, height, width)`,
    );
  }

  async #prepare(bytes: Uint8Array, value: string | null): Promise<PreparedImage> {
    try {
      return await this.#preprocessor.prepare(bytes);
    } catch (cause) {
      if (!(cause instanceof LorikeetError)) throw cause;
      const what = value === null ? "cannot be read" : `has a picture that cannot be read (${short(value)})`;
      throw new RowFault(`${what}: ${cause.message}`);
    }
  }
}

/** What a picture is called in sample answers. */
export const describePicture = ({ source }: TaskExample): string => (source as ImageSource).name;

/** The input of pixels. */
const pixelsOf = ({ inputs }: Graph): Value | undefined =>
  inputs.find(({ type, shape }) => type === "float32" && shape.length === 4);

const short = (value: string): string => (value.length > 80 ? `${value.slice(0, 77)}...` : value);

function loaderOf(value: string, { file, line }: RowPlace): () => Promise<Uint8Array> {
  const inline = line === null ? undefined : /^data:image\/[a-z+]+;base64,(.*)$/s.exec(value)?.[1];
  if (inline !== undefined) return async () => Buffer.from(inline, "base64");
  const path = line === null ? file : resolve(dirname(file), value);
  return async () => {
    try {
      return await readFile(path);
    } catch (cause) {
      const code = cause instanceof Error && "code" in cause ? cause.code : cause;
      throw new RowFault(`names a picture that cannot be read (${short(value)}: ${String(code)})`);
    }
  };
}

/** Pictures of different sizes are padded to the largest, which a model with a mask ignores. */
export function imageInputs(graph: Graph): TaskInputs<ImageSource> {
  const { inputs } = graph;
  const image = pixelsOf(graph);
  const mask = inputs.find(({ type, shape }) => type === "int64" && shape.length === 3);
  const other = inputs.find((input) => input !== image && input !== mask);
  if (!image || other) {
    const message = `The model has an input ${JSON.stringify(other?.name ?? "")}; models of pictures with pixel_values and pixel_mask are trained.`;
    throw new LorikeetError("model_unsupported", message, { param: "--task" });
  }
  return {
    async feeds(sources, rows) {
      const pictures: PreparedImage[] = [];
      for (const source of sources) pictures.push(await source.prepared());
      const [first] = pictures;
      assert(first, "a batch has a row");
      const height = Math.max(...pictures.map(({ shape }) => shape[1]));
      const width = Math.max(...pictures.map(({ shape }) => shape[2]));
      const uneven = pictures.some(({ shape }) => shape[1] !== height || shape[2] !== width);
      if (uneven && !mask) {
        const message =
          "The model's preprocessor leaves pictures of different sizes, which can only be trained with --batch-size 1.";
        throw new LorikeetError("invalid_value", message, { param: "--batch-size" });
      }
      const [channels] = first.shape;
      const pixels = Tensor.zeros("float32", [rows, channels, height, width]);
      const seen = Tensor.zeros("int64", [rows, height, width]);
      for (let row = 0; row < rows; row++) place(pictures[row] ?? first, row, pixels, seen);
      return new Map<string, Tensor>([[image.name, pixels], ...(mask ? [[mask.name, seen] as const] : [])]);
    },
  };
}

/** Copies a picture to the top left of its row. */
function place(
  { pixels, mask, shape: [channels, height, width] }: PreparedImage,
  row: number,
  into: Tensor<"float32">,
  seen: Tensor<"int64">,
): void {
  const [, , rowHeight = 0, rowWidth = 0] = into.shape;
  for (let channel = 0; channel < channels; channel++) {
    for (let y = 0; y < height; y++) {
      const from = (channel * height + y) * width;
      into.data.set(pixels.subarray(from, from + width), ((row * channels + channel) * rowHeight + y) * rowWidth);
    }
  }
  for (let y = 0; y < height; y++) {
    seen.data.set(mask.subarray(y * width, (y + 1) * width), (row * rowHeight + y) * rowWidth);
  }
}
