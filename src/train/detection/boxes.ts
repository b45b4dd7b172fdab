/** Boxes as detectors of DETR's kind give them: center x, center y, width and height, as fractions of the picture. */

export type Box = readonly [x: number, y: number, width: number, height: number];

interface Corners {
  readonly left: number;
  readonly top: number;
  readonly right: number;
  readonly bottom: number;
}

const cornersOf = ([x, y, width, height]: Box): Corners => ({
  left: x - width / 2,
  top: y - height / 2,
  right: x + width / 2,
  bottom: y + height / 2,
});

const area = ({ left, top, right, bottom }: Corners): number => Math.max(right - left, 0) * Math.max(bottom - top, 0);

function joined(a: Box, b: Box): { readonly shared: number; readonly union: number; readonly hull: number } {
  const [p, q] = [cornersOf(a), cornersOf(b)];
  const common: Corners = {
    left: Math.max(p.left, q.left),
    top: Math.max(p.top, q.top),
    right: Math.min(p.right, q.right),
    bottom: Math.min(p.bottom, q.bottom),
  };
  const around: Corners = {
    left: Math.min(p.left, q.left),
    top: Math.min(p.top, q.top),
    right: Math.max(p.right, q.right),
    bottom: Math.max(p.bottom, q.bottom),
  };
  const shared = area(common);
  return { shared, union: area(p) + area(q) - shared, hull: area(around) };
}

/** Intersection over union: 0 for boxes apart, 1 for the same box. */
export function iou(a: Box, b: Box): number {
  const { shared, union } = joined(a, b);
  return union > 0 ? shared / union : 0;
}

/** Generalized IoU (arXiv:1902.09630): IoU minus the share of the common hull that neither box covers; -1 to 1. */
export function generalizedIou(a: Box, b: Box): number {
  const { shared, union, hull } = joined(a, b);
  if (hull <= 0 || union <= 0) return 0;
  return shared / union - (hull - union) / hull;
}

/** The sum of the absolute differences of two boxes' numbers. */
export const distance = (a: Box, b: Box): number => a.reduce((sum, value, i) => sum + Math.abs(value - (b[i] ?? 0)), 0);
