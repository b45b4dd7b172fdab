/** The columns of the table of adapters, and how each orders it. */
import type { AdapterInfo, Tier } from "../client/types.js";
import { formatAgo, formatBytes, formatCount } from "../parts/format.js";

export interface TableColumn {
  readonly name: string;
  /** What the stylesheet calls it. */
  readonly key: "name" | "base" | "rank" | "modules" | "bytes" | "tier" | "flight" | "requests" | "used";
  readonly isNumber: boolean;
  /** Explains the name. */
  readonly help: string;
  show(adapter: AdapterInfo): string;
  compare(a: AdapterInfo, b: AdapterInfo): number;
}

const tiers: readonly Tier[] = ["device", "host", "disk"];

const numeric = (
  name: string,
  help: string,
  key: TableColumn["key"],
  read: (adapter: AdapterInfo) => number,
  show: (value: number) => string = formatCount,
): TableColumn => ({
  ...{ name, help, key, isNumber: true },
  show: (adapter) => show(read(adapter)),
  compare: (a, b) => read(b) - read(a),
});

/** Shown where a server has several bases. */
const baseColumn: TableColumn = {
  name: "Base",
  help: "The model that it adapts",
  key: "base",
  isNumber: false,
  show: ({ base }) => base ?? "",
  compare: (a, b) => (a.base ?? "").localeCompare(b.base ?? "", "en"),
};

const columns: readonly TableColumn[] = [
  {
    name: "Name",
    help: "What requests name as their model",
    key: "name",
    isNumber: false,
    show: ({ name }) => name,
    compare: (a, b) => (a.name < b.name ? -1 : 1),
  },
  numeric(
    "Rank",
    "The largest rank of its matrices: more can change more, and takes more memory",
    "rank",
    (each) => each.rank,
  ),
  numeric("Modules", "How many layers of the base it changes", "modules", (each) => each.modules),
  numeric("Size", "Its size in memory", "bytes", (each) => each.bytes, formatBytes),
  {
    name: "Tier",
    help: "Where its weights are: on the device that computes, in memory, or only on disk",
    key: "tier",
    isNumber: false,
    show: ({ tier }) => tier,
    compare: (a, b) => tiers.indexOf(a.tier) - tiers.indexOf(b.tier),
  },
  numeric("In flight", "Requests that run now", "flight", ({ in_flight }) => in_flight),
  numeric("Requests", "Since the server was started", "requests", ({ counts }) => counts.requests),
  numeric(
    "Last used",
    "When its last request began",
    "used",
    ({ last_used }) => last_used ?? 0,
    (at) => formatAgo(at === 0 ? null : at),
  ),
];

export const columnsOf = (hasBases: boolean): readonly TableColumn[] =>
  hasBases ? columns.flatMap((column) => (column.key === "name" ? [column, baseColumn] : [column])) : columns;

/** Figures begin with the largest. */
export const isDescending = ({ isNumber }: TableColumn, isReversed: boolean): boolean => isNumber !== isReversed;

/** Those whose names contain a text, in the order of a column; of equal ones, by name. */
export function ordered(
  adapters: readonly AdapterInfo[],
  wanted: string,
  column: TableColumn | undefined,
  isReversed: boolean,
): readonly AdapterInfo[] {
  const text = wanted.trim().toLowerCase();
  const kept = adapters.filter(({ name }) => name.toLowerCase().includes(text));
  const sign = isReversed ? -1 : 1;
  return kept.sort((a, b) => sign * (column?.compare(a, b) ?? 0) || (a.name < b.name ? -1 : 1));
}
