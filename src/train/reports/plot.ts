/** Draws `training.svg`, in the style of the page's charts: losses over steps, and the learning rate below them. */
import { isStepRow, type JournalRow } from "./journal.js";

/** Narrow, with large type: on a phone its text is 12 pixels high. `shown` is how many times larger it is by itself. */
const size = { width: 400, height: 366, left: 82, right: 380, shown: 1.2, fontSize: 14.5 } as const;
const lossPanel = { top: 32, bottom: 202 } as const;
const ratePanel = { top: 262, bottom: 318 } as const;
const colours = { loss: "#86a6ee", main: "#2458d3", text: "#565e6c", grid: "#dde1e7" } as const;
const dashes = "6 4";

/** For a reader whose system or page is dark. Each colour above is named by the attribute that it is written in. */
const darkStyle = [
  "<style>@media (prefers-color-scheme: dark) {",
  "rect { fill: #171b21 }",
  `[fill="${colours.text}"] { fill: #9fa8b5 } [stroke="${colours.grid}"] { stroke: #2c323c }`,
  `[stroke="${colours.loss}"] { stroke: #5078cc } [stroke="${colours.main}"] { stroke: #7ea6ff } [fill="${colours.main}"] { fill: #7ea6ff }`,
  "}</style>",
].join("\n");

interface Point {
  readonly x: number;
  readonly y: number;
}

/** An SVG document without a title, because an adapter may be served under any name; empty axes without rows. */
export function drawTraining(rows: readonly JournalRow[]): string {
  const steps = rows.filter(isStepRow);
  const losses = steps.map(({ step, loss }) => ({ x: step, y: loss }));
  const validation = rows.flatMap((row) => (isStepRow(row) ? [] : [{ x: row.step, y: row.validation_loss }]));
  const rates = steps.map((row) => ({ x: row.step, y: row.learning_rate }));
  const most = Math.max(1, ...rows.map(({ step }) => step));
  const loss = panelOf(lossPanel, most, [...losses, ...validation], 5);
  const rate = panelOf(ratePanel, most, rates, 2);
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${size.width} ${size.height}" width="${size.width * size.shown}" height="${size.height * size.shown}" font-family="sans-serif" font-size="${size.fontSize}">`,
    darkStyle,
    `<rect width="${size.width}" height="${size.height}" fill="white"/>`,
    legend(18, [
      ["training loss", colours.loss, ""],
      ["smoothed", colours.main, ""],
      ...(validation.length > 0 ? [["validation loss", colours.main, dashes] as const] : []),
    ]),
    axes(loss, "Loss"),
    line(losses, loss, colours.loss, 1.2),
    line(smoothed(losses), loss, colours.main, 2),
    line(validation, loss, colours.main, 2, dashes),
    ...validation.filter(isFinitePoint).map((point) => dot(loss.at(point))),
    ...bestOf(validation, loss),
    legend(248, [["learning rate", colours.main, ""]]),
    axes(rate, "Rate"),
    line(rates, rate, colours.main, 2),
    label(`x="${(size.left + size.right) / 2}" y="${size.height - 8}" text-anchor="middle"`, "step"),
    "</svg>",
    "",
  ].join("\n");
}

interface Panel {
  readonly top: number;
  readonly bottom: number;
  /** Values to mark, the ends of the scale among them. */
  readonly values: readonly number[];
  readonly steps: readonly number[];
  at(point: Point): Point;
}

/** A scale from 0, or from the least value below it, to a round number above all. */
function panelOf(
  { top, bottom }: Pick<Panel, "top" | "bottom">,
  most: number,
  points: readonly Point[],
  count: number,
): Panel {
  const finite = points.filter(isFinitePoint).map(({ y }) => y);
  const least = finite.reduce((a, b) => Math.min(a, b), 0);
  const largest = finite.reduce((a, b) => Math.max(a, b), least);
  const step = roundStep((largest > least ? largest - least : 1) / count);
  const values = multiples(step, Math.floor(least / step), Math.ceil((largest > least ? largest : least + 1) / step));
  const [low, high] = [values[0] ?? 0, values.at(-1) ?? 1];
  const stepBetween = Math.max(1, roundStep(most / 5));
  return {
    ...{ top, bottom, values, steps: multiples(stepBetween, 0, Math.floor(most / stepBetween)) },
    at: ({ x, y }) => ({
      x: size.left + (x / most) * (size.right - size.left),
      y: bottom - ((y - low) / (high - low)) * (bottom - top),
    }),
  };
}

/** 1, 2 or 5 times a power of ten, at least as large. */
function roundStep(rough: number): number {
  const power = 10 ** Math.floor(Math.log10(rough));
  return power * ([1, 2, 5].find((factor) => factor * power >= rough) ?? 10);
}

const multiples = (step: number, first: number, last: number): number[] =>
  Array.from({ length: last - first + 1 }, (_, i) => (first + i) * step);

/** Marks the lowest validation loss with a circle and its value, placed where there is room. */
function bestOf(validation: readonly Point[], panel: Panel): string[] {
  const [first, ...others] = validation.filter(isFinitePoint);
  if (!first) return [];
  const best = others.reduce((least, point) => (point.y < least.y ? point : least), first);
  const { x, y } = panel.at(best);
  const anchor = x > size.width / 2 ? "end" : "start";
  const at = `x="${x.toFixed(1)}" y="${(y - 11).toFixed(1)}"`;
  return [
    `<circle cx="${x.toFixed(1)}" cy="${y.toFixed(1)}" r="6" fill="none" stroke="${colours.main}"/>`,
    `<text ${at} text-anchor="${anchor}" fill="${colours.main}">${best.y.toPrecision(4)} at step ${best.x}</text>`,
  ];
}

const isFinitePoint = ({ y }: Point): boolean => Number.isFinite(y);

/** A running mean whose strength depends on the number of points. */
function smoothed(points: readonly Point[]): Point[] {
  const share = Math.min(1, 2 / (1 + points.length / 20)); // as a mean over a twentieth of them
  let mean: number | null = null;
  return points.map(({ x, y }) => {
    mean = mean === null ? y : mean + share * (y - mean);
    return { x, y: mean };
  });
}

function line(points: readonly Point[], panel: Panel, colour: string, width: number, dash = ""): string {
  const places = points.filter(isFinitePoint).map((point) => show(panel.at(point)));
  return `<polyline fill="none" stroke="${colour}" stroke-width="${width}"${dashed(dash)} points="${places.join(" ")}"/>`;
}

const dashed = (dash: string): string => (dash === "" ? "" : ` stroke-dasharray="${dash}"`);
const show = ({ x, y }: Point): string => `${x.toFixed(1)},${y.toFixed(1)}`;
const dot = ({ x, y }: Point): string =>
  `<circle cx="${x.toFixed(1)}" cy="${y.toFixed(1)}" r="3" fill="${colours.main}"/>`;
const label = (place: string, text: string): string => `<text ${place} fill="${colours.text}">${text}</text>`;

/** Without the dust of binary fractions. */
const numberText = (value: number): string => String(Number(value.toPrecision(6)));

function axes(panel: Panel, title: string): string {
  const { top, bottom, values, steps } = panel;
  const { left, right } = size;
  const middle = (top + bottom) / 2;
  const levels = values.map((value) => {
    const y = panel.at({ x: 0, y: value }).y.toFixed(1);
    return `<path d="M${left} ${y}H${right}" stroke="${colours.grid}"/>\n${label(`x="${left - 6}" y="${y}" dy="5" text-anchor="end"`, numberText(value))}`;
  });
  const marks = steps.map((step) =>
    label(`x="${panel.at({ x: step, y: 0 }).x.toFixed(1)}" y="${bottom + 18}" text-anchor="middle"`, numberText(step)),
  );
  const turned = label(`transform="translate(15 ${middle}) rotate(-90)" text-anchor="middle"`, title);
  return [...levels, ...marks, turned].join("\n");
}

/** Lines and their names, one beside the other. */
function legend(y: number, entries: readonly (readonly [name: string, colour: string, dash: string])[]): string {
  const gap = 14;
  let x = 6;
  return entries
    .map(([name, colour, dash]) => {
      const stroke = `<path d="M${x} ${y - 5}h20" stroke="${colour}" stroke-width="2"${dashed(dash)}/>`;
      const text = label(`x="${x + 25}" y="${y}"`, name);
      x += 25 + widthOf(name) + gap;
      return `${stroke}\n${text}`;
    })
    .join("\n");
}

/** About how wide a text is in the usual sans-serif, so that what follows it keeps its distance. */
const widthOf = (text: string): number =>
  [...text].reduce((sum, letter) => sum + (/[filjrt ]/.test(letter) ? 5.5 : /[mw]/.test(letter) ? 14 : 9), 0);
