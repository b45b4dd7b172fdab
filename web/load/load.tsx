/** How busy the server is, from its own metrics. */
import { useEffect } from "preact/hooks";
import { formatBytes, formatNumber, formatSeconds } from "../parts/format.js";
import { Chart, type ChartProps } from "./chart.js";
import { loadFault, points, watchLoad } from "./history.js";

const percent = (value: number): string => `${formatNumber(value)} %`;

const charts: readonly Omit<ChartProps, "points">[] = [
  {
    title: "Tokens a second",
    help: "Tokens that were generated, and prompt tokens of requests that ended",
    show: formatNumber,
    lines: [
      { name: "generated", read: (point) => point.tokensPerSecond },
      { name: "prompt", read: (point) => point.promptTokensPerSecond },
    ],
  },
  {
    title: "Requests a second",
    help: "Requests that ended, and those refused for lack of capacity or time",
    show: formatNumber,
    lines: [
      { name: "ended", read: (point) => point.requestsPerSecond },
      { name: "refused", read: (point) => point.rejectionsPerSecond },
    ],
  },
  {
    title: "Batch",
    help: "Sequences in a decode step or rows of a task model's run, and different adapters among them, on average",
    show: formatNumber,
    lines: [
      { name: "rows", read: (point) => point.rows },
      { name: "adapters", read: (point) => point.adapters },
    ],
  },
  {
    title: "Slots and queue",
    help: "Sequences that run, slots of the KV cache, and requests that wait for one",
    show: formatNumber,
    lines: [
      { name: "running", read: (point) => point.running },
      { name: "slots", read: (point) => point.slots },
      { name: "waiting", read: (point) => point.waiting },
    ],
  },
  {
    title: "First token",
    help: "Time from queueing a request to its first token, over the last minute",
    show: formatSeconds,
    lines: [
      { name: "p50", read: (point) => point.firstToken50 },
      { name: "p99", read: (point) => point.firstToken99 },
    ],
  },
  {
    title: "Between tokens",
    help: "Time between two tokens of a sequence, over the last minute",
    show: formatSeconds,
    lines: [
      { name: "p50", read: (point) => point.interToken50 },
      { name: "p99", read: (point) => point.interToken99 },
    ],
  },
  {
    title: "Adapters by tier",
    help: "Where the adapters are: on the device, in the host's memory, on disk",
    show: formatNumber,
    lines: [
      { name: "device", read: (point) => point.device },
      { name: "host", read: (point) => point.host },
      { name: "disk", read: (point) => point.disk },
    ],
  },
  {
    title: "Cache hits",
    help: "Share of adapters that were in memory when they were needed, over the last minute",
    show: percent,
    lines: [{ name: "hits", read: (point) => point.hits }],
  },
  {
    title: "Adapter cache",
    help: "Bytes of adapters in the host's memory",
    show: formatBytes,
    lines: [{ name: "memory", read: (point) => point.cacheBytes }],
  },
];

export function Load() {
  useEffect(watchLoad, []);
  return (
    <section aria-label="Load">
      <div class="toolbar">
        <h1>Load</h1>
        <span class="muted">
          {points.value.length === 0 ? "The first numbers come in a few seconds." : "Read every two seconds."}
        </span>
      </div>
      {loadFault.value === null ? null : (
        <p class="fault" role="alert">
          {loadFault.value}
        </p>
      )}
      <div class="charts">
        {charts.map((chart) => (
          <Chart key={chart.title} {...chart} points={points.value} />
        ))}
      </div>
    </section>
  );
}
