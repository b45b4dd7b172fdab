/** Refuses what Jinja2 refuses in a parsed template before it runs. */

import { TemplateSyntaxFault } from "./faults.js";
import { isFilter, unsupportedFilters } from "./filters.js";
import type { Expression, Signature, Statement, Target } from "./nodes.js";
import { isTest } from "./tests.js";
import { partsOf, readsName, targetNames } from "./walk.js";

/** @throws TemplateSyntaxFault with the line. */
export function check(template: readonly Statement[]): void {
  new Check().statements(template, { soft: false, inLoop: false });
}

interface Place {
  /** Inside a condition unknown filters and tests fail only when they are reached. */
  readonly soft: boolean;
  readonly inLoop: boolean;
}

class Check {
  readonly #blocks = new Set<string>();

  statements(body: readonly Statement[], place: Place): void {
    for (const statement of body) this.#statement(statement, place);
  }

  #statement(statement: Statement, place: Place): void {
    const { line } = statement;
    const hard = { ...place, soft: false };
    switch (statement.kind) {
      case "output":
        this.#expression(statement.value, place, line);
        return;
      case "if":
        for (const { test, body } of statement.branches) {
          this.#expression(test, { ...place, soft: true }, line);
          this.statements(body, { ...place, soft: true });
        }
        this.statements(statement.otherwise, { ...place, soft: true });
        return;
      case "for": {
        const inLoop = { soft: false, inLoop: true };
        this.#target(statement.target, inLoop, line);
        this.#expression(statement.over, place, line);
        this.#expression(statement.test, hard, line);
        this.statements(statement.body, inLoop);
        this.statements(statement.otherwise, inLoop);
        return;
      }
      case "set":
        this.#target(statement.target, place, line);
        this.#expression(statement.value, place, line);
        return;
      case "capture":
        this.#target(statement.target, place, line);
        this.#expression(statement.filter, hard, line);
        this.statements(statement.body, hard);
        return;
      case "macro":
        this.#signature(statement.signature, hard, line);
        return;
      case "callBlock":
        this.#expression(statement.call, place, line);
        this.#signature(statement.signature, hard, line);
        return;
      case "filterBlock":
        this.#expression(statement.filter, hard, line);
        this.statements(statement.body, hard);
        return;
      case "with":
        for (const [target, value] of statement.bindings) {
          this.#target(target, place, line);
          this.#expression(value, place, line);
        }
        this.statements(statement.body, hard);
        return;
      case "scope":
      case "generation":
        if (statement.kind === "scope") this.#expression(statement.autoescape, place, line);
        this.statements(statement.body, hard);
        return;
      case "block":
        this.#block(statement, hard);
        return;
      default:
        return;
    }
  }

  #block(block: Extract<Statement, { kind: "block" }>, place: Place): void {
    if (this.#blocks.has(block.name))
      throw new TemplateSyntaxFault(`the block "${block.name}" is defined twice`, block.line);
    this.#blocks.add(block.name);
    const isEmpty = block.body.every((statement) => statement.kind === "text" && statement.text.trim() === "");
    if (block.required && !isEmpty) {
      throw new TemplateSyntaxFault("a required block can only hold comments and white space", block.line);
    }
    this.statements(block.body, place);
  }

  #target(target: Target, { inLoop }: Place, line: number): void {
    if (!inLoop || !targetNames(target).includes("loop")) return;
    throw new TemplateSyntaxFault('"loop" cannot be assigned to inside a loop', line);
  }

  #signature({ parameters, body }: Signature, place: Place, line: number): void {
    for (const { name, fallback } of parameters) {
      this.#expression(fallback, place, line);
      if (name === "caller" && !fallback && readsName(body, "caller")) {
        throw new TemplateSyntaxFault('the parameter "caller" needs a default', line);
      }
    }
    this.statements(body, place);
  }

  #expression(expression: Expression | null, place: Place, line: number): void {
    if (!expression) return;
    if (expression.kind === "filter" || expression.kind === "test") this.#named(expression, place);
    const inside = expression.kind === "condition" ? { ...place, soft: true } : place;
    for (const part of partsOf(expression)) this.#expression(part, inside, line);
  }

  #named({ kind, name, line }: Extract<Expression, { kind: "filter" | "test" }>, { soft }: Place): void {
    if (kind === "filter" && unsupportedFilters.has(name)) {
      throw new TemplateSyntaxFault(`the filter "${name}" is not supported`, line);
    }
    const exists = kind === "filter" ? isFilter(name) : isTest(name);
    if (!exists && !soft) throw new TemplateSyntaxFault(`there is no ${kind} named "${name}"`, line);
  }
}
