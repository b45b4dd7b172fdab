/** Where the labels of boxes stand: outside their boxes and clear of others, as far as there is room. All in pixels of the shown picture. */

export interface Area {
  readonly x: number;
  readonly y: number;
  readonly width: number;
  readonly height: number;
}

interface Extent {
  readonly width: number;
  readonly height: number;
}

/** Covering another label hides both; covering a box hides what the box is about. */
const labelWeight = 4;

/** A place in the picture for each label, in the order of the boxes. `sizes`: of the labels. */
export function placeLabels(boxes: readonly Area[], sizes: readonly Extent[], picture: Extent): readonly Area[] {
  const placed: Area[] = [];
  for (const [index, box] of boxes.entries()) {
    const size = sizes[index] ?? { width: 0, height: 0 };
    const costOf = (area: Area): number =>
      sumOf(boxes, (other) => overlapOf(area, other)) + labelWeight * sumOf(placed, (other) => overlapOf(area, other));
    const places = placesAround(box, size).map((area) => within(area, picture));
    const [first = { ...size, x: box.x, y: box.y }, ...others] = places;
    placed.push(others.reduce((best, area) => (costOf(area) < costOf(best) ? area : best), first));
  }
  return placed;
}

/** Above, below and beside the box, the usual ones first. */
function placesAround({ x, y, width, height }: Area, size: Extent): readonly Area[] {
  const [right, bottom] = [x + width, y + height];
  const [fromRight, fromBottom] = [right - size.width, bottom - size.height];
  const corners = [
    [x, y - size.height],
    [fromRight, y - size.height],
    [x, bottom],
    [fromRight, bottom],
    [right, y],
    [x - size.width, y],
    [right, fromBottom],
    [x - size.width, fromBottom],
  ] as const;
  return corners.map(([x, y]) => ({ ...size, x, y }));
}

/** Moved into the picture. */
function within(area: Area, picture: Extent): Area {
  const inside = (at: number, size: number, whole: number): number => Math.max(0, Math.min(at, whole - size));
  return { ...area, x: inside(area.x, area.width, picture.width), y: inside(area.y, area.height, picture.height) };
}

const sumOf = (areas: readonly Area[], of: (area: Area) => number): number =>
  areas.reduce((sum, area) => sum + of(area), 0);

function overlapOf(a: Area, b: Area): number {
  const width = Math.min(a.x + a.width, b.x + b.width) - Math.max(a.x, b.x);
  const height = Math.min(a.y + a.height, b.y + b.height) - Math.max(a.y, b.y);
  return Math.max(0, width) * Math.max(0, height);
}
