/** The address after `#`: a view and its parameters. What is after `#` never reaches the server or its log. */
import { signal } from "@preact/signals";

export const views = ["compare", "tasks", "adapters", "training", "load"] as const;
export type View = (typeof views)[number];

export interface Route {
  readonly view: View;
  readonly parameters: URLSearchParams;
}

export const route = signal<Route>(read());

function read(): Route {
  const [path = "", query = ""] = location.hash.replace(/^#\/?/, "").split("?", 2);
  return { view: views.find((view) => view === path) ?? "compare", parameters: new URLSearchParams(query) };
}

export function hrefOf(view: View, parameters?: URLSearchParams): string {
  const query = parameters?.toString() ?? "";
  return `#/${view}${query === "" ? "" : `?${query}`}`;
}

/** Keeps the view's state in the address, without a new entry in the history. */
export function replaceParameters(view: View, parameters: URLSearchParams): void {
  history.replaceState(null, "", hrefOf(view, parameters));
}

export function watchRoute(): void {
  addEventListener("hashchange", () => {
    route.value = read();
  });
}
