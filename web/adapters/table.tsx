/**
 * The table of adapters. Only the rows in view are elements, so that ten thousand scroll like ten. Rows are placed by a transform, and the
 * element of a row that leaves the view takes the one that enters it: a frame of a scroll writes a few texts and lays out nothing else.
 */
import { Component } from "preact";
import { useCallback, useEffect, useMemo, useRef, useState } from "preact/hooks";
import type { AdapterInfo } from "../client/types.js";
import { Icon } from "../parts/icon.js";
import { hrefOf } from "../route.js";
import { server } from "../session.js";
import { checkpointCounts, checkpointOf, folded } from "./checkpoints.js";
import { adapters as listed } from "./live.js";
import { columnsOf, isDescending, ordered, type TableColumn } from "./order.js";
import { adapterSummaries, wantSummaries } from "./summaries.js";
import { checkpointWords, halvesOf, pinnedWith, tierWords } from "./words.js";

/** Rows beyond the edges, so that a fast scroll meets rows. */
const margin = 6;

interface Sort {
  readonly key: string;
  readonly isReversed: boolean;
}

export function AdapterTable({ adapters, wanted }: { adapters: readonly AdapterInfo[]; wanted: string }) {
  const [sort, setSort] = useState<Sort>({ key: "name", isReversed: false });
  const area = useRef<HTMLDivElement>(null);
  const view = useView(area);
  const hasBases = (server.value?.bases?.length ?? 0) > 1;
  const columns = useMemo(() => columnsOf(hasBases), [hasBases]);
  const isFiltered = wanted.trim() !== "";
  const { open, toggle } = useOpen();
  const rows = useMemo(() => {
    const column = columns.find(({ key }) => key === sort.key);
    const found = ordered(adapters, wanted, column, sort.isReversed);
    // Who looks for a name finds checkpoints too.
    return isFiltered ? found : folded(found, open);
  }, [adapters, wanted, sort, columns, open]);
  const counts = useMemo(() => checkpointCounts(adapters), [adapters]);
  const count = view.count + 2 * margin;
  const first = Math.max(0, Math.min(view.first - margin, rows.length - count));
  const shown = rows
    .slice(first, first + count)
    .map((adapter, at) => ({ adapter, index: first + at, slot: (first + at) % count }));
  useEffect(() => {
    if (!view.isMoving) wantSummaries(shown.map(({ adapter }) => adapter));
  }, [rows, first, count, view.isMoving]);
  if (view.isMoving) shown.sort((a, b) => a.slot - b.slot);
  return (
    <div class="adapter-table card" ref={area} tabIndex={0} role="group" aria-label="Adapters, scrollable">
      <span class="row-height" aria-hidden="true" />
      <div class={hasBases ? "with-bases" : ""} role="table" aria-label="Adapters" aria-rowcount={rows.length + 1}>
        <Head columns={columns} sort={sort} onSort={setSort} />
        <div class="rows-in-view" role="rowgroup" style={{ height: `${rows.length * view.rowHeight}px` }}>
          {shown.map(({ adapter, index, slot }) => (
            <Row
              key={slot}
              adapter={adapter}
              summary={checkpointWords(adapter.name) + (adapterSummaries.value.get(adapter.digest) ?? "")}
              columns={columns}
              index={index}
              top={index * view.rowHeight}
              checkpoints={isFiltered ? 0 : (counts.get(adapter.name) ?? 0)}
              isOpen={open.has(adapter.name)}
              onToggle={toggle}
            />
          ))}
        </div>
      </div>
    </div>
  );
}

/** The adapters whose checkpoints are shown, by their names. */
function useOpen() {
  const [open, setOpen] = useState<ReadonlySet<string>>(new Set());
  const toggle = useCallback(
    (name: string): void =>
      setOpen((before) => {
        const after = new Set(before);
        if (!after.delete(name)) after.add(name);
        return after;
      }),
    [],
  );
  return { open, toggle };
}

interface HeadProps {
  readonly columns: readonly TableColumn[];
  readonly sort: Sort;
  readonly onSort: (sort: Sort) => void;
}

/** A column's name orders the rows by it, and again the other way round. */
function Head({ columns, sort, onSort }: HeadProps) {
  const sortBy = ({ key }: TableColumn): void =>
    onSort({ key, isReversed: sort.key === key ? !sort.isReversed : false });
  return (
    <div class="head" role="rowgroup">
      <div class="row" role="row" aria-rowindex={1}>
        {columns.flatMap((column) => [
          <div
            key={column.key}
            role="columnheader"
            class={classOf(column)}
            aria-sort={sort.key === column.key ? directionOf(column, sort.isReversed) : "none"}
          >
            <button type="button" class="quiet" title={column.help} onClick={() => sortBy(column)}>
              {column.name}
              {sort.key === column.key ? (
                <span aria-hidden="true">{isDescending(column, sort.isReversed) ? "▾" : "▴"}</span>
              ) : null}
            </button>
          </div>,
          column.key === "name" ? (
            <div key="summary" role="columnheader" class="summary">
              What it does
            </div>
          ) : null,
        ])}
      </div>
    </div>
  );
}

const directionOf = (column: TableColumn, isReversed: boolean) =>
  isDescending(column, isReversed) ? "descending" : "ascending";

const classOf = ({ key, isNumber }: TableColumn): string => `${key}${isNumber ? " figure" : ""}`;

interface RowProps {
  readonly adapter: AdapterInfo;
  readonly summary: string;
  readonly columns: readonly TableColumn[];
  readonly index: number;
  readonly top: number;
  /** How many can be shown below it. */
  readonly checkpoints: number;
  readonly isOpen: boolean;
  readonly onToggle: (name: string) => void;
}

const shownProps = ["adapter", "summary", "columns", "index", "top", "checkpoints", "isOpen"] as const;

/** Renders only if its adapter or its place changes. */
class Row extends Component<RowProps> {
  override shouldComponentUpdate(next: RowProps): boolean {
    const { props } = this;
    return shownProps.some((name) => next[name] !== props[name]);
  }

  override render() {
    const { adapter, summary, columns, index, top } = this.props;
    return (
      <div
        class={`row ${adapter.in_flight > 0 ? "busy" : ""}`}
        role="row"
        aria-rowindex={index + 2}
        style={{ transform: `translateY(${top}px)` }}
      >
        {columns.flatMap((column) =>
          column.key === "name" ? (
            [
              <NameCell key="name" {...this.props} />,
              <div key="summary" role="cell" class="summary muted" title={summary}>
                {summary}
              </div>,
            ]
          ) : (
            <div key={column.key} role="cell" class={classOf(column)}>
              {column.key === "tier" ? (
                <span class={`place ${adapter.tier}`} title={tierWords[adapter.tier]}>
                  {adapter.tier}
                </span>
              ) : (
                column.show(adapter)
              )}
            </div>
          ),
        )}
      </div>
    );
  }
}

type NameCellProps = Pick<RowProps, "adapter" | "checkpoints" | "isOpen" | "onToggle">;

function NameCell({ adapter, checkpoints, isOpen, onToggle }: NameCellProps) {
  const { name, base, pinned, source, job, warnings } = adapter;
  const [start, end] = halvesOf(name);
  return (
    <div role="rowheader" class={`name ${end === "" ? "" : "long"} ${checkpointOf(name) === null ? "" : "checkpoint"}`}>
      <a href={hrefOf("adapters", new URLSearchParams({ name }))}>
        {end === "" ? (
          name
        ) : (
          <>
            <span class="start">{start}</span>
            <span>{end}</span>
          </>
        )}
      </a>
      {base === null ? null : <span class="tag own-base">{base}</span>}
      {checkpoints > 0 ? (
        <button
          type="button"
          class="checkpoints"
          aria-expanded={isOpen}
          title="What its job kept on the way"
          onClick={() => onToggle(name)}
        >
          {checkpoints === 1 ? "1 checkpoint" : `${checkpoints} checkpoints`}
          <span aria-hidden="true">{isOpen ? "▴" : "▾"}</span>
        </button>
      ) : null}
      {pinned ? (
        <Tag help={`Stays in memory: no request waits for it to load. ${pinnedWith(adapter, listed.value ?? [])}`}>
          pinned
        </Tag>
      ) : null}
      {job === null ? null : (
        <Tag kind="source" help={`The job ${job} of this server trained it: its card says on what`}>
          job
        </Tag>
      )}
      {source === "store" && job === null ? (
        <Tag kind="source" help="Uploaded to this server: its card says when">
          uploaded
        </Tag>
      ) : null}
      {source === "folder" ? (
        <Tag kind="source" help="A folder on the server: use, pin or download it here; change it there">
          server folder
        </Tag>
      ) : null}
      {source === "base" ? (
        <Tag
          kind="source"
          help="Came with the base: it can be used, pinned and downloaded, but not replaced or deleted"
        >
          with its base
        </Tag>
      ) : null}
      {warnings.length > 0 ? (
        <Tag kind="warn" help={warnings.join(" ")}>
          warning
        </Tag>
      ) : null}
    </div>
  );
}

interface TagProps {
  readonly kind?: string;
  readonly help: string;
  readonly children: string;
}

const Tag = ({ kind = "", help, children }: TagProps) => (
  <span class={`tag ${kind}`} title={help}>
    {children}
  </span>
);

/** After a scroll has rested for so long, the elements are put into the order of their rows, as the Tab key and screen readers follow it. */
const restMs = 150;

/** Which rows are in view. A row is as high as the stylesheet's `--row`, which grows with the type; a scroll does not measure it again. */
function useView(area: { readonly current: HTMLElement | null }) {
  const [view, setView] = useState({ first: 0, count: 30, rowHeight: 40, isMoving: false });
  useEffect(() => {
    const element = area.current;
    const row = element?.querySelector(".row-height");
    if (!element || !row) return;
    let timer = 0;
    const measure = (): void => {
      const rowHeight = row.getBoundingClientRect().height || 40;
      const count = Math.ceil(element.clientHeight / rowHeight);
      setView((before) => ({ ...before, first: Math.floor(element.scrollTop / rowHeight), count, rowHeight }));
    };
    const rest = (): void => setView((before) => (before.isMoving ? { ...before, isMoving: false } : before));
    const scroll = (): void => {
      clearTimeout(timer);
      timer = window.setTimeout(rest, restMs);
      setView((before) => {
        const first = Math.floor(element.scrollTop / before.rowHeight);
        return first === before.first ? before : { ...before, first, isMoving: true };
      });
    };
    const observer = new ResizeObserver(measure);
    observer.observe(element);
    observer.observe(row);
    element.addEventListener("scroll", scroll, { passive: true });
    return () => {
      clearTimeout(timer);
      observer.disconnect();
      element.removeEventListener("scroll", scroll);
    };
  }, [area]);
  return view;
}

/** Shown in place of an empty table. */
export function NoAdapters({ onAdd }: { readonly onAdd: (() => void) | null }) {
  if (onAdd === null) {
    return (
      <p class="empty">
        This server has no adapters. To add adapters here, restart the server with <code>--adapters FOLDER</code>.
      </p>
    );
  }
  return (
    <div class="empty">
      <p>This server has no adapters yet. Drop a PEFT folder here.</p>
      <button type="button" onClick={onAdd}>
        <Icon name="plus" />
        Add an adapter
      </button>
    </div>
  );
}
