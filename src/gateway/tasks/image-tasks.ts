/** Image tasks of a task model: pictures to tensors, within the bounds of the preparing thread. */

import { LorikeetError } from "../../base/errors.js";
import type { TaskSignature, TaskTensor } from "../../engine/task/types.js";
import type { PreparedImage } from "../../image/prepare.js";
import type { ImagePreprocessor } from "../../image/preprocessor.js";
import type { InferRequest } from "./inference.js";

export interface ImageTaskParts {
  /** null: the folder does not say how pictures are prepared. */
  readonly preprocessor: ImagePreprocessor | null;
  readonly signature: TaskSignature;
}

export interface ImageRequest {
  readonly model: string | null;
  readonly image: Uint8Array;
  /** The client's: pictures of different connections take turns. */
  readonly connection: object;
}

export class ImageTasks {
  readonly #parts: ImageTaskParts;

  constructor(parts: ImageTaskParts) {
    this.#parts = parts;
  }

  /** Throws `model_unsupported` for a model that takes no pictures, and what preparing throws. */
  async request(
    { model, image, connection }: ImageRequest,
    signal: AbortSignal,
  ): Promise<InferRequest & { readonly original: PreparedImage["original"] }> {
    const { preprocessor } = this.#parts;
    if (preprocessor === null) throw notForPictures("has no preprocessor_config.json and no config.json of timm");
    const prepared = await preprocessor.prepare(image, { signal, connection });
    return { model, inputs: [this.#inputsOf(prepared)], original: prepared.original };
  }

  #inputsOf({ pixels, shape, mask }: PreparedImage): ReadonlyMap<string, TaskTensor> {
    const [, height, width] = shape;
    const tensors: Readonly<Record<string, TaskTensor>> = {
      pixel_values: { type: "float32", shape: [1, ...shape], data: pixels },
      pixel_mask: { type: "int64", shape: [1, height, width], data: mask },
    };
    return new Map(
      this.#parts.signature.inputs.map(({ name, type }): [string, TaskTensor] => {
        const tensor = tensors[name];
        if (tensor?.type === type) return [name, tensor];
        throw notForPictures(`has an input ${JSON.stringify(name)} of type ${type}`);
      }),
    );
  }
}

function notForPictures(clause: string): LorikeetError {
  return new LorikeetError(
    "model_unsupported",
    `This pipeline does not fit the model, which ${clause}; /v2/models/{name}/infer takes tensors.`,
  );
}
