/** The address of a comparison of an adapter with its base, on what was compared last or an example of the adapter. */
import type { Example } from "../client/types.js";
import { models } from "../compare/models.js";
import { settings, toParameters } from "../compare/settings.js";
import { modelTarget } from "../compare/target.js";
import { hrefOf } from "../route.js";

export function compareHref(name: string, example?: Example): string {
  const targets = [models.value?.base ?? "", name].filter((each) => each !== "").map(modelTarget);
  const prompt = example?.text ?? settings.value.prompt;
  return hrefOf("compare", toParameters({ ...settings.value, isChat: false, prompt, targets }));
}
