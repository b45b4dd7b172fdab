/** What is asked under Tasks. It lives in the address, so that what one sees can be shared, and outlives a look at another view. */
import { effect, signal } from "@preact/signals";
import { replaceParameters, route } from "../route.js";
import { defaults, fromParameters, type Settings, toParameters } from "./parameters.js";

export const settings = signal<Settings>(defaults);

/** Whether the address brought the input, which is then asked at once. */
let isBrought = false;

effect(() => {
  const { view, parameters } = route.value;
  if (view !== "tasks" || parameters.size === 0) return;
  settings.value = fromParameters(parameters);
  isBrought = true;
});

/** True once for each address. */
export function takeBrought(): boolean {
  const was = isBrought;
  isBrought = false;
  return was;
}

/** Changes some settings, and the address with them. */
export function change(changes: Partial<Settings>): void {
  settings.value = { ...settings.peek(), ...changes };
  replaceParameters("tasks", toParameters(settings.peek()));
}
