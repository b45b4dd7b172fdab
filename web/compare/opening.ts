/** What Compare begins with: an example whose difference anyone sees, without naming a model. */
import type { ExampleParameters } from "../client/types.js";

/** A text to try an adapter with, as its author wrote it. */
export interface Preset {
  readonly adapter: string;
  readonly title: string | null;
  readonly text: string;
  readonly parameters: ExampleParameters;
}

/** Markers of chat templates: a prompt with them shows a format before it shows an adapter. */
const marker = /<\|.+?\|>|<\/?s>|\[\/?INST\]|<(start|end)_of_turn>/;

/** Prompts that people could have typed come before those in a format. */
export function typedFirst(presets: readonly Preset[]): readonly Preset[] {
  const isTyped = ({ text }: Preset): boolean => !marker.test(text);
  return [...presets.filter(isTyped), ...presets.filter((preset) => !isTyped(preset))];
}

/** Without those that another adapter brings too, as a copy does: the first of them stays. */
export function onceEach(presets: readonly Preset[]): readonly Preset[] {
  const found = new Map(presets.toReversed().map((preset) => [JSON.stringify([preset.title, preset.text]), preset]));
  return presets.filter((preset) => found.get(JSON.stringify([preset.title, preset.text])) === preset);
}

export interface Opening {
  /** null where no adapter brings one. */
  readonly example: Preset | null;
  /** At most two. */
  readonly adapters: readonly string[];
}

/** Whether an adapter continues any prompt. One whose examples ask for temperature 0 gives a label or a call, which means nothing elsewhere. */
export const writesFreely = (name: string, presets: readonly Preset[]): boolean =>
  !presets.some(({ adapter, parameters }) => adapter === name && parameters.temperature === 0);

/** The first example, its adapter and one beside it, if possible one that writes freely. `adapters`: those of the base. */
export function openingOf(adapters: readonly string[], presets: readonly Preset[]): Opening {
  const own = presets.filter(({ adapter }) => adapters.includes(adapter));
  const [example = null] = own;
  const names = own.map(({ adapter }) => adapter);
  const free = names.filter((name) => name !== example?.adapter && writesFreely(name, own));
  const inOrder = [...(example ? [example.adapter] : []), ...free, ...names, ...adapters];
  return { example, adapters: [...new Set(inOrder)].slice(0, 2) };
}
