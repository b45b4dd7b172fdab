/** The address after `#`: a view and its parameters. What is after `#` never reaches the server or its log. */
import { signal } from "@preact/signals";

export const views = ["compare", "tasks", "adapters", "training", "load"] as const;
export type View = (typeof views)[number];

export interface Route {
  readonly view: View;
  readonly parameters: URLSearchParams;
}

export const route = signal<Route>(read());
/** The part of the address that `route` was read from, or that a view has written since. */
let known = location.hash;

function read(): Route {
  const [path = "", query = ""] = location.hash.replace(/^#\/?/, "").split("?", 2);
  return { view: views.find((view) => view === path) ?? "compare", parameters: new URLSearchParams(query) };
}

export function hrefOf(view: View, parameters?: URLSearchParams): string {
  const query = parameters?.toString() ?? "";
  return `#/${view}${query === "" ? "" : `?${query}`}`;
}

/**
 * Keeps the view's state in the address, without a new entry in the history. An address that the reader has just gone to is left alone: it
 * changes at once, and the browser tells of it later.
 */
export function replaceParameters(view: View, parameters: URLSearchParams): void {
  if (location.hash !== known) return;
  history.replaceState(null, "", hrefOf(view, parameters));
  known = location.hash;
}

/** Goes on from what `from` showed, unless its reader has gone elsewhere meanwhile. */
export function goOn(from: Route, href: string): void {
  if (route.peek() === from && location.hash === known) location.hash = href;
}

export function watchRoute(): void {
  addEventListener("hashchange", () => {
    known = location.hash;
    route.value = read();
  });
}
