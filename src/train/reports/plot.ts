/** Draws `training.svg`: loss, validation loss and learning rate over steps. */
import { isStepRow, type JournalRow } from "./journal.js";

const size = { width: 800, height: 400, left: 60, right: 60, top: 30, bottom: 50 } as const;
const colours = {
  loss: "#9ecae1",
  smooth: "#1f77b4",
  validation: "#d62728",
  rate: "#7f7f7f",
  grid: "#e8e8e8",
} as const;

/** For a reader whose system or page is dark. Each colour above is named by the attribute that it is written in. */
const darkStyle = [
  "<style>@media (prefers-color-scheme: dark) {",
  "rect { fill: #16191d } text:not([fill]) { fill: #d9dde2 }",
  `[stroke="black"] { stroke: #8b939c } [stroke="${colours.grid}"] { stroke: #2e343b }`,
  `[stroke="${colours.loss}"] { stroke: #2f5f7f } [stroke="${colours.smooth}"] { stroke: #6db3e8 }`,
  `[stroke="${colours.validation}"] { stroke: #ff7b72 } [fill="${colours.validation}"] { fill: #ff7b72 }`,
  `[stroke="${colours.rate}"] { stroke: #a0a7af } [fill="${colours.rate}"] { fill: #a0a7af }`,
  "}</style>",
].join("\n");

interface Point {
  readonly x: number;
  readonly y: number;
}

/** An SVG document without a title, because an adapter may be served under any name; an empty frame without rows. */
export function drawTraining(rows: readonly JournalRow[]): string {
  const steps = rows.filter(isStepRow);
  const losses = steps.map(({ step, loss }) => ({ x: step, y: loss }));
  const validation = rows.flatMap((row) => (isStepRow(row) ? [] : [{ x: row.step, y: row.validation_loss }]));
  const rates = steps.map((row) => ({ x: row.step, y: row.learning_rate }));
  const most = Math.max(1, ...rows.map(({ step }) => step));
  const [low, high] = rangeOf([...losses, ...validation]);
  const topRate = Math.max(1e-12, ...rates.map(({ y }) => y));
  const loss = scaler(most, low, high);
  const lines = [
    line(rates, scaler(most, 0, topRate), colours.rate, 1, "4 3"),
    line(losses, loss, colours.loss, 1),
    line(smoothed(losses), loss, colours.smooth, 2),
    line(validation, loss, colours.validation, 2),
    ...validation.map((point) => dot(loss(point))),
    ...bestOf(validation, loss),
  ];
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${size.width} ${size.height}" font-family="sans-serif" font-size="12">`,
    darkStyle,
    `<rect width="${size.width}" height="${size.height}" fill="white"/>`,
    axes(most, low, high, topRate),
    ...lines,
    legend(),
    "</svg>",
    "",
  ].join("\n");
}

/** Marks the lowest validation loss with a circle and its value, placed where there is room. */
function bestOf(validation: readonly Point[], scale: Scale): string[] {
  const [first, ...others] = validation.filter(({ y }) => Number.isFinite(y));
  if (!first) return [];
  const best = others.reduce((least, point) => (point.y < least.y ? point : least), first);
  const { x, y } = scale(best);
  const anchor = x > size.width / 2 ? "end" : "start";
  const at = `x="${x.toFixed(1)}" y="${(y - 10).toFixed(1)}"`;
  return [
    `<circle cx="${x.toFixed(1)}" cy="${y.toFixed(1)}" r="6" fill="none" stroke="${colours.validation}"/>`,
    `<text ${at} text-anchor="${anchor}" fill="${colours.validation}">${best.y.toPrecision(4)} at step ${best.x}</text>`,
  ];
}

function rangeOf(points: readonly Point[]): [number, number] {
  const values = points.map(({ y }) => y).filter(Number.isFinite);
  if (values.length === 0) return [0, 1];
  const low = values.reduce((a, b) => Math.min(a, b));
  const high = values.reduce((a, b) => Math.max(a, b));
  return high > low ? [low, high] : [low - 0.5, high + 0.5];
}

type Scale = (point: Point) => Point;

function scaler(most: number, low: number, high: number): Scale {
  const width = size.width - size.left - size.right;
  const height = size.height - size.top - size.bottom;
  return ({ x, y }) => ({ x: size.left + (x / most) * width, y: size.top + (1 - (y - low) / (high - low)) * height });
}

/** A running mean whose strength depends on the number of points. */
function smoothed(points: readonly Point[]): Point[] {
  const share = Math.min(1, 2 / (1 + points.length / 20)); // as a mean over a twentieth of them
  let mean: number | null = null;
  return points.map(({ x, y }) => {
    mean = mean === null ? y : mean + share * (y - mean);
    return { x, y: mean };
  });
}

function line(points: readonly Point[], scale: Scale, colour: string, width: number, dashes = ""): string {
  const places = points.filter(({ y }) => Number.isFinite(y)).map((point) => show(scale(point)));
  const dash = dashes === "" ? "" : ` stroke-dasharray="${dashes}"`;
  return `<polyline fill="none" stroke="${colour}" stroke-width="${width}"${dash} points="${places.join(" ")}"/>`;
}

const show = ({ x, y }: Point): string => `${x.toFixed(1)},${y.toFixed(1)}`;
const dot = ({ x, y }: Point): string =>
  `<circle cx="${x.toFixed(1)}" cy="${y.toFixed(1)}" r="3" fill="${colours.validation}"/>`;

function axes(most: number, low: number, high: number, topRate: number): string {
  const { width, height, left, right, top, bottom } = size;
  const [x0, x1, y0, y1] = [left, width - right, height - bottom, top];
  const place = scaler(most, low, high);
  const losses = ticks(low, high).map((loss) => {
    const y = place({ x: 0, y: loss }).y.toFixed(1);
    const text = `<text x="${x0 - 6}" y="${y}" dy="4" text-anchor="end">${Number(loss.toPrecision(6))}</text>`;
    return `<path d="M${x0} ${y}H${x1}" stroke="${colours.grid}"/>\n${text}`;
  });
  const steps = ticks(0, most)
    .filter(Number.isInteger)
    .map((step) => {
      const x = place({ x: step, y: low }).x.toFixed(1);
      return `<path d="M${x} ${y0}v4" stroke="black"/>\n<text x="${x}" y="${y0 + 16}" text-anchor="middle">${step}</text>`;
    });
  return [
    ...losses,
    ...steps,
    `<path d="M${x0} ${y1}V${y0}H${x1}V${y1}" fill="none" stroke="black"/>`,
    `<text x="${x1 + 6}" y="${y0}" fill="${colours.rate}">0</text>`,
    `<text x="${x1 + 6}" y="${y1 + 4}" fill="${colours.rate}">${topRate.toExponential(1)}</text>`,
    `<text x="${x1}" y="${height - 8}" text-anchor="end">${most} steps</text>`,
  ].join("\n");
}

/** About five round numbers (1, 2 or 5 times a power of ten apart) from `low` to `high`. */
function ticks(low: number, high: number): number[] {
  const rough = (high - low) / 5;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = power * ([1, 2, 5].find((factor) => factor * power >= rough) ?? 10);
  const first = Math.ceil(low / step);
  return Array.from({ length: Math.floor(high / step) - first + 1 }, (_, i) => (first + i) * step);
}

function legend(): string {
  const entries = [
    ["loss", colours.loss, ""],
    ["its mean", colours.smooth, ""],
    ["validation loss", colours.validation, ""],
    ["learning rate", colours.rate, ' stroke-dasharray="4 3"'],
  ] as const;
  const y = size.height - 12;
  return entries
    .map(([name, colour, dash], i) => {
      const x = size.left + 140 * i;
      const line = `<path d="M${x} ${y - 4}h22" stroke="${colour}" stroke-width="2"${dash}/>`;
      return `${line}\n<text x="${x + 28}" y="${y}">${name}</text>`;
    })
    .join("\n");
}
