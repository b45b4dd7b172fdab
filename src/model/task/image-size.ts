/** The size of the images that a model was made for, where its configuration says it. */

import { isObject } from "../../base/json.js";
import { readJson } from "../checkpoint/files.js";

export type ImageSize = readonly [height: number, width: number];

/** From config.json, else from preprocessor_config.json: what an image is cropped to, or resized to. null: neither says. */
export async function readImageSize(folder: string, names: readonly string[]): Promise<ImageSize | null> {
  const read = async (name: string) => {
    const json = names.includes(name) ? await readJson(folder, name) : null;
    return isObject(json) ? json : {};
  };
  const config = await read("config.json");
  const processor = await read("preprocessor_config.json");
  const vision = isObject(config.vision_config) ? config.vision_config : {};
  const pretrained = isObject(config.pretrained_cfg) ? config.pretrained_cfg : {};
  const stated = [config.image_size, vision.image_size, pretrained.input_size, processor.crop_size, processor.size];
  return stated.map(sizeOf).find((size) => size !== null) ?? null;
}

/** 224, [224, 224], [3, 224, 224], or an object with height and width, or with the shorter side alone. */
function sizeOf(value: unknown): ImageSize | null {
  if (isSize(value)) return [value, value];
  if (Array.isArray(value)) {
    const [height, width]: unknown[] = value.slice(-2);
    return isSize(height) && isSize(width) ? [height, width] : null;
  }
  if (!isObject(value)) return null;
  const { height, width, shortest_edge: edge } = value;
  if (isSize(height) && isSize(width)) return [height, width];
  return isSize(edge) ? [edge, edge] : null;
}

const isSize = (value: unknown): value is number =>
  Number.isInteger(value) && (value as number) > 0 && (value as number) <= 4096;
