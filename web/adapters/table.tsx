/** The table of adapters. Only the rows in view are elements, so that ten thousand scroll like ten. */
import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import type { AdapterInfo } from "../client/types.js";
import { Icon } from "../parts/icon.js";
import { hrefOf } from "../route.js";
import { columns, isDescending, ordered, type TableColumn } from "./order.js";

/** Rows beyond the edges, so that a fast scroll meets rows. */
const margin = 6;

export function AdapterTable({ adapters, wanted }: { adapters: readonly AdapterInfo[]; wanted: string }) {
  const [sort, setSort] = useState({ key: "name", isReversed: false });
  const area = useRef<HTMLDivElement>(null);
  const window = useWindow(area);
  const rows = useMemo(() => {
    const column = columns.find(({ key }) => key === sort.key);
    return ordered(adapters, wanted, column, sort.isReversed);
  }, [adapters, wanted, sort]);
  const first = Math.max(0, Math.min(window.first - margin, rows.length));
  const end = Math.min(rows.length, window.first + window.count + margin);
  const sortBy = ({ key }: TableColumn): void =>
    setSort({ key, isReversed: sort.key === key ? !sort.isReversed : false });
  return (
    <div class="adapter-table card" ref={area} tabIndex={0} role="group" aria-label="Adapters">
      <table aria-rowcount={rows.length + 1}>
        <thead>
          <tr aria-rowindex={1}>
            {columns.map((column) => (
              <th
                key={column.key}
                scope="col"
                class={classOf(column)}
                aria-sort={sort.key === column.key ? directionOf(column, sort.isReversed) : "none"}
              >
                <button type="button" class="quiet" onClick={() => sortBy(column)}>
                  {column.name}
                  {sort.key === column.key ? (
                    <span aria-hidden="true">{isDescending(column, sort.isReversed) ? "▾" : "▴"}</span>
                  ) : null}
                </button>
              </th>
            ))}
          </tr>
        </thead>
        <tbody>
          <Spacer rows={first} rowHeight={window.rowHeight} />
          {rows.slice(first, end).map((adapter, at) => (
            <Row key={adapter.name} adapter={adapter} index={first + at + 2} />
          ))}
          <Spacer rows={rows.length - end} rowHeight={window.rowHeight} />
        </tbody>
      </table>
    </div>
  );
}

const directionOf = (column: TableColumn, isReversed: boolean) =>
  isDescending(column, isReversed) ? "descending" : "ascending";

const classOf = ({ key, isNumber }: TableColumn): string => `${key}${isNumber ? " figure" : ""}`;

function Row({ adapter, index }: { readonly adapter: AdapterInfo; readonly index: number }) {
  const { name, pinned, source, warnings } = adapter;
  return (
    <tr aria-rowindex={index} class={adapter.in_flight > 0 ? "busy" : ""}>
      {columns.map((column) =>
        column.key === "name" ? (
          <th key="name" scope="row" class="name">
            <a href={hrefOf("adapters", new URLSearchParams({ name }))}>{name}</a>
            {pinned ? <span class="tag">pinned</span> : null}
            {source === "store" ? null : (
              <span class="tag">{source === "folder" ? "folder" : "came with the base"}</span>
            )}
            {warnings.length > 0 ? <span class="tag warn">warning</span> : null}
          </th>
        ) : (
          <td key={column.key} class={classOf(column)}>
            {column.key === "tier" ? <span class={`place ${adapter.tier}`}>{adapter.tier}</span> : column.show(adapter)}
          </td>
        ),
      )}
    </tr>
  );
}

function Spacer({ rows, rowHeight }: { readonly rows: number; readonly rowHeight: number }) {
  if (rows <= 0) return null;
  return (
    <tr>
      <td colSpan={columns.length} class="spacer" style={{ height: `${rows * rowHeight}px` }} />
    </tr>
  );
}

/** Which rows are in view. A row is as high as the stylesheet's `--row`, which grows with the type. */
function useWindow(area: { readonly current: HTMLElement | null }) {
  const [window, setWindow] = useState({ first: 0, count: 30, rowHeight: 40 });
  useEffect(() => {
    const element = area.current;
    if (!element) return;
    const measure = (): void => {
      const rowHeight = element.querySelector("thead tr")?.getBoundingClientRect().height ?? 40;
      const first = Math.floor(element.scrollTop / rowHeight);
      const count = Math.ceil(element.clientHeight / rowHeight);
      setWindow((before) =>
        before.first === first && before.count === count && before.rowHeight === rowHeight
          ? before
          : { first, count, rowHeight },
      );
    };
    const observer = new ResizeObserver(measure);
    observer.observe(element);
    element.addEventListener("scroll", measure, { passive: true });
    measure();
    return () => {
      observer.disconnect();
      element.removeEventListener("scroll", measure);
    };
  }, [area]);
  return window;
}

/** Shown in place of an empty table. */
export function NoAdapters({ onAdd }: { readonly onAdd: () => void }) {
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
