/** `lorikeet inspect PICTURE --model FOLDER`: what a task model sees of a picture, number by number. */

import { extname } from "node:path";
import { LorikeetError } from "../base/errors.js";
import { readRegular } from "../base/files.js";
import { readImageHeader } from "../image/decode.js";
import { describePlan } from "../image/plan.js";
import { type PreparedImage, prepareImage } from "../image/prepare.js";
import { defaultImageLimits, readPlan } from "../image/preprocessor.js";
import { locate } from "./hub/model-folder.js";
import { formatFields, formatTable } from "./table.js";
import { printJson, printLine, type Terminal } from "./terminal.js";
import { UsageError } from "./usage.js";

const endings = [".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".avif", ".heic"];

/** Whether a path ends as pictures do, those that are refused by name included. */
export const isPicture = (path: string): boolean => endings.includes(extname(path).toLowerCase());

const shownValues = 8;
const colors = ["red", "green", "blue"] as const;

/** Throws UsageError without `model`, `model_unsupported` if that prepares no pictures, and what decoding throws. */
export async function inspectPicture(
  path: string,
  model: string | undefined,
  json: boolean,
  terminal: Terminal,
): Promise<void> {
  if (model === undefined)
    throw new UsageError(["A picture needs --model, the folder of the task model that sees it."]);
  const folder = await locate(model, { option: "--model", kind: "model" }, terminal);
  const plan = await readPlan(folder);
  if (plan === null) {
    const message = `${folder} does not say how pictures are prepared: it has no preprocessor_config.json, and its config.json is not timm's.`;
    throw new LorikeetError("model_unsupported", message, { param: "--model" });
  }
  const bytes = await readPicture(path);
  const { maxPixels } = defaultImageLimits;
  const { format, orientation } = readImageHeader(bytes, maxPixels);
  const image = await prepareImage(bytes, plan, maxPixels);
  const { original, shape } = image;
  const channels = colors.map((color, index) =>
    describeChannel(image, plan.isBgr ? (colors[2 - index] ?? color) : color, index),
  );
  if (json) return printJson(terminal.stdout, { path, format, orientation, original, shape, channels, plan });
  const turned = orientation === 1 ? "" : `, turned as its EXIF orientation ${orientation} says`;
  const fields: [string, string][] = [
    ["picture", path],
    ["format", `${format}, ${original.width}x${original.height}${turned}`],
    ["model", folder],
    ["steps", describePlan(plan)],
    ["pixel_values", `[1, ${shape.join(", ")}]`],
  ];
  printLine(terminal.stdout, formatFields(fields));
  const rows = channels.map(({ color, min, max, mean, first }) => [
    color,
    ...[min, max, mean].map(shown),
    first.map(shown).join(" "),
  ]);
  printLine(terminal.stdout, `\n${formatTable(["channel", "smallest", "largest", "mean", "first values"], rows)}`);
}

async function readPicture(path: string): Promise<Uint8Array> {
  try {
    return await readRegular(path);
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw new UsageError([`The picture ${path} cannot be read: ${reason}.`]);
  }
}

function describeChannel({ pixels, shape }: PreparedImage, color: string, channel: number) {
  const size = shape[1] * shape[2];
  const values = pixels.subarray(channel * size, (channel + 1) * size);
  let [min, max, sum] = [Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY, 0];
  for (const value of values) {
    min = Math.min(min, value);
    max = Math.max(max, value);
    sum += value;
  }
  return { color, min, max, mean: sum / size, first: Array.from(values.subarray(0, shownValues)) };
}

const shown = (value: number): string => value.toFixed(6);
