/** The interface of the template engine: compiles a template and renders it. */

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
   * Renders with variables of JSON values.
   * @throws TemplateFault for what raises an exception in Python, or exceeds the limits; RaisedFault with the
   * message of `raise_exception`.
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
