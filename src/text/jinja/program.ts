/** The door of the template language: a text into a program, a program and variables into a text. */

import { defaultRenderLimits, type RenderLimits, withBudget } from "./budget.js";
import { check } from "./check.js";
import { fault } from "./faults.js";
import { fromJson } from "./from-json.js";
import type { Statement } from "./nodes.js";
import { parse } from "./parser.js";
import { render } from "./render.js";
import { type Hidden, hiddenNames } from "./symbols.js";

export class Program {
  readonly #template: readonly Statement[];
  readonly #hidden: Hidden;

  /** @throws TemplateSyntaxFault for a template that Jinja2 would not compile. */
  constructor(source: string) {
    this.#template = withBudget(defaultRenderLimits, () => parse(source));
    check(this.#template);
    this.#hidden = hiddenNames(this.#template);
  }

  /**
   * Renders with variables that hold what JSON can.
   * @throws TemplateFault when the template does what Python would not, or more than the limits allow; RaisedFault with the
   * template's own words.
   */
  render(variables: Readonly<Record<string, unknown>>, limits: RenderLimits = defaultRenderLimits): string {
    return withBudget(limits, () => {
      const values = new Map(Object.entries(variables).map(([name, value]) => [name, fromJson(value)]));
      try {
        return render(this.#template, this.#hidden, values);
      } catch (error) {
        if (error instanceof RangeError) return fault("LimitError", `it nests too deep: ${error.message}`);
        throw error;
      }
    });
  }
}
