/**
 * The weighted mean of two checkpoints of one shape: (1 - share) of the first and share of the second, in the first one's
 * dtypes. Between a base and its continuation it keeps more of the base than either end of a run (arXiv:2109.01903).
 *
 *     node tools/scripts/average-models.mjs <first> <second> <share> <out>
 *
 * Needs a build (`npm ci`).
 */
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { openCheckpoint } from "../../dist/src/model/checkpoint/open.js";
import { writeSafetensors } from "../../dist/src/tensor/safetensors-write.js";
import { copyModelFiles, narrow } from "../../dist/src/train/files/model-files.js";
import { readSegment, toFloat32 } from "../../dist/src/weights/convert/task.js";

const valuesOf = (location) => toFloat32(location.dtype, readSegment(location));

function mean(first, second, share) {
  const other = second.tensors.get(first.name);
  if (!other || String(other.shape) !== String(first.shape)) throw new Error(`${first.name} is not the same in both`);
  const [a, b] = [valuesOf(first.location), valuesOf(other)];
  return a.map((value, i) => value + share * (b[i] - value));
}

const [first, second, shareText, out] = process.argv.slice(2);
const share = Number(shareText);
if (out === undefined || !(share >= 0 && share <= 1)) {
  console.error("usage: node tools/scripts/average-models.mjs <first> <second> <share from 0 to 1> <out>");
  process.exit(2);
}
const [a, b] = [await openCheckpoint(first), await openCheckpoint(second)];
mkdirSync(out, { recursive: true });
await copyModelFiles(a.directory, out, {
  dtype: "same",
  without: ["README.md", "lorikeet.json", "training.jsonl", "training.svg"],
});
const tensors = [...a.tensors.values()].map((location) => {
  const { name, dtype, shape } = location;
  return { name, dtype, shape, data: () => narrow(mean({ name, shape, location }, b, share), dtype) };
});
await writeSafetensors(join(out, "model.safetensors"), tensors, { format: "pt" });
