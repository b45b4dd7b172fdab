/** How well a detector finds objects: the average precision at an overlap of one half (AP50). */
import { type Box, iou } from "./boxes.js";

export interface LabelledBox {
  readonly label: number;
  readonly box: Box;
}

export interface ScoredBox extends LabelledBox {
  readonly score: number;
}

export interface SeenPicture {
  readonly found: readonly ScoredBox[];
  readonly objects: readonly LabelledBox[];
}

/**
 * The mean over labels that occur of the area under precision by recall. A detection is right if it overlaps an object of its label
 * by `overlap` or more that no detection of a higher score has claimed. At each recall the precision is the best at that recall or a higher one,
 * as in PASCAL VOC since 2010.
 */
export function averagePrecision(pictures: readonly SeenPicture[], overlap = 0.5): number {
  const labels = new Set(pictures.flatMap(({ objects }) => objects.map(({ label }) => label)));
  const areas = Array.from(labels, (label) => areaOf(pictures, label, overlap));
  return areas.length === 0 ? 0 : areas.reduce((sum, area) => sum + area, 0) / areas.length;
}

function areaOf(pictures: readonly SeenPicture[], label: number, overlap: number): number {
  const hits: { readonly score: number; readonly isRight: boolean }[] = [];
  let total = 0;
  for (const { found, objects } of pictures) {
    const open = new Set(objects.filter((object) => object.label === label));
    total += open.size;
    const candidates = found.filter((each) => each.label === label).toSorted((a, b) => b.score - a.score);
    for (const { score, box } of candidates) {
      const best = Array.from(open, (object) => ({ object, shared: iou(box, object.box) }))
        .filter(({ shared }) => shared >= overlap)
        .sort((a, b) => b.shared - a.shared)[0];
      if (best) open.delete(best.object);
      hits.push({ score, isRight: best !== undefined });
    }
  }
  hits.sort((a, b) => b.score - a.score);
  const precisions: number[] = [];
  let right = 0;
  for (const [i, { isRight }] of hits.entries()) {
    if (!isRight) continue;
    right += 1;
    precisions.push(right / (i + 1));
  }
  let area = 0;
  let best = 0;
  for (const precision of precisions.toReversed()) {
    best = Math.max(best, precision);
    area += best;
  }
  return total === 0 ? 0 : area / total;
}
