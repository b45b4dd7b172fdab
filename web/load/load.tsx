/** How busy the server is, from its own metrics. */
import { useEffect } from "preact/hooks";
import { Fault } from "../parts/fault.js";
import { formatBytes, formatNumber, formatSeconds } from "../parts/format.js";
import { Chart, type ChartProps } from "./chart.js";
import { loadFault, points, watchLoad } from "./history.js";
import type { BaseLoad, Point } from "./reading.js";
import type { Unit } from "./scale.js";

const tokens: Unit = { show: formatNumber, least: 10 };
const requests: Unit = { show: formatNumber, least: 1 };
const counts: Unit = { show: formatNumber, least: 4 };
const seconds: Unit = { show: formatSeconds, least: 0.1 };
const percents: Unit = { show: (value) => `${formatNumber(value)} %`, least: 100 };
const bytes: Unit = { show: formatBytes, least: 2 ** 20, isBinary: true };

type LoadChart = Omit<ChartProps, "points">;

const stepCharts: readonly LoadChart[] = [
  {
    title: "Tokens a second",
    help: "Tokens written, and prompt tokens of requests that ended.",
    unit: tokens,
    lines: [
      { name: "written", read: (point) => point.tokensPerSecond },
      { name: "prompt", read: (point) => point.promptTokensPerSecond },
    ],
  },
  {
    title: "Requests a second",
    help: "Requests that ended, and those refused because the server was full or they had waited too long.",
    unit: requests,
    lines: [
      { name: "ended", read: (point) => point.requestsPerSecond },
      { name: "refused", read: (point) => point.rejectionsPerSecond },
    ],
  },
  {
    title: "Batch",
    help: "Requests that a base computes together in one step, on average, and how many different adapters they use.",
    unit: counts,
    lines: [
      { name: "requests", read: (point) => point.rows },
      { name: "adapters", read: (point) => point.adapters },
    ],
  },
];

const answerCharts: readonly LoadChart[] = [
  {
    title: "First token",
    help: "From a request's arrival to its first token, over the last minute: half took at most p50, 99 of 100 at most p99.",
    unit: seconds,
    lines: [
      { name: "p50", read: (point) => point.firstToken50 },
      { name: "p99", read: (point) => point.firstToken99 },
    ],
  },
  {
    title: "Between tokens",
    help: "Time between two tokens of an answer, over the last minute: half took at most p50, 99 of 100 at most p99.",
    unit: seconds,
    lines: [
      { name: "p50", read: (point) => point.interToken50 },
      { name: "p99", read: (point) => point.interToken99 },
    ],
  },
  {
    title: "Adapters by tier",
    help: "Where adapters are: on the device that computes, in the host's memory, or only on disk until a request names them.",
    unit: counts,
    lines: [
      { name: "device", read: (point) => point.device },
      { name: "host", read: (point) => point.host },
      { name: "disk", read: (point) => point.disk },
    ],
  },
  {
    title: "Cache hits",
    help: "How often, over the last minute, a request's adapter was in memory already.",
    unit: percents,
    lines: [{ name: "hits", read: (point) => point.hits }],
  },
  {
    title: "Adapter cache",
    help: "Host memory that adapters take, and the most that they may take.",
    unit: bytes,
    lines: [
      { name: "taken", read: (point) => point.cacheBytes },
      { name: "most", isLimit: true, read: (point) => point.cacheMaxBytes },
    ],
  },
];

/** A slot of one base is of no use to another, so each base has a chart of its own. */
function chartOf(base: string, { slots }: BaseLoad, isOnly: boolean): LoadChart {
  const load = (point: Point): BaseLoad | undefined => point.bases.get(base);
  const what = slots === null ? "Running and queue" : "Slots and queue";
  return {
    title: isOnly ? what : `${what} of ${base}`,
    help:
      slots !== null
        ? "Each running request takes one of the base's slots; others wait until a slot is free."
        : "Requests that the base computes now, and those that wait for its next step.",
    unit: counts,
    lines: [
      { name: "running", read: (point) => load(point)?.running ?? null },
      ...(slots === null ? [] : [{ name: "slots", isLimit: true, read: (point: Point) => load(point)?.slots ?? null }]),
      { name: "waiting", read: (point) => load(point)?.waiting ?? null },
    ],
  };
}

export function Load() {
  useEffect(watchLoad, []);
  const bases = [...(points.value.at(-1)?.bases ?? [])];
  const chartsOf = (hasSlots: boolean): readonly LoadChart[] =>
    bases
      .filter(([, { slots }]) => (slots !== null) === hasSlots)
      .map(([base, load]) => chartOf(base, load, bases.length === 1));
  return (
    <section aria-label="Load">
      <div class="toolbar">
        <h1>Load</h1>
        <span class="muted">
          {points.value.length === 0 ? "The first numbers appear in a few seconds." : "Updated every two seconds."}
        </span>
      </div>
      <Fault text={loadFault.value} />
      <div class="charts">
        {[...stepCharts, ...chartsOf(true), ...answerCharts, ...chartsOf(false)].map((chart) => (
          <Chart key={chart.title} {...chart} points={points.value} />
        ))}
      </div>
    </section>
  );
}
