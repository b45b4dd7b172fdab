/** Where an adapter can be tried, on an example of its author or on what was compared last. */
import { formsOf, isWriter } from "../client/tasks.js";
import type { AdapterInfo, Example } from "../client/types.js";
import { type Settings, samplingOf, settings, toParameters } from "../compare/settings.js";
import { modelTarget } from "../compare/target.js";
import { hrefOf } from "../route.js";
import { server } from "../session.js";

export interface TryLink {
  /** Whether it is a comparison with the base; otherwise it is the form of the base's task. */
  readonly isComparison: boolean;
  readonly href: string;
}

/** An example, and its place in the adapter's card. */
export interface PlacedExample extends Example {
  readonly index: number;
}

/** null where this server has no view that asks the adapter, or asks it with such an example. */
export function tryLinkOf(
  adapter: Pick<AdapterInfo, "name" | "base" | "tasks">,
  example?: PlacedExample,
): TryLink | null {
  const { name, base, tasks } = adapter;
  const served = server.value?.bases?.find((each) => each.name === base);
  if (!served) return null;
  const [task] = formsOf([], [tasks]);
  if (isWriter(adapter)) {
    if (example?.text === null) return null;
    const asked = example ? { prompt: example.text, ...samplingOf(example.parameters) } : {};
    return { isComparison: true, href: compareHref(name, served.name, asked) };
  }
  if (task === undefined) return null;
  const parameters = new URLSearchParams({ base: served.name, task, model: name });
  if (example?.text) parameters.set("text", example.text);
  else if (example) parameters.set("example", String(example.index));
  return { isComparison: false, href: hrefOf("tasks", parameters) };
}

/** The address of a comparison of an adapter with its base. `asked`: what is not asked as before. */
export function compareHref(name: string, base: string, asked: Partial<Settings> = {}): string {
  const targets = [base, name].map(modelTarget);
  return hrefOf("compare", toParameters({ ...settings.value, isChat: false, ...asked, targets }));
}
