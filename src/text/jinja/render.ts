/** Runs a template's statements. */

import { zip } from "../../base/list.js";
import { nested, spend, spendCharacters } from "./budget.js";
import { applyFilter, call, evaluate, evaluateArguments } from "./evaluate.js";
import { fault, typeFault, valueFault } from "./faults.js";
import { globals, Namespace } from "./globals.js";
import { Loop } from "./loop.js";
import { bindMacro, extrasOf } from "./macro.js";
import type { Expression, For, Signature, Statement, Target } from "./nodes.js";
import { repr, str } from "./print.js";
import { Scope } from "./scope.js";
import { iterate, truth } from "./sequences.js";
import type { Hidden } from "./symbols.js";
import { Callable, Iter, Undefined, type Value } from "./values.js";

/** What leaves a loop's body early. */
type Jump = "break" | "continue" | null;

/** @throws TemplateFault, RaisedFault */
export function render(template: readonly Statement[], hidden: Hidden, variables: ReadonlyMap<string, Value>): string {
  const outside = new Scope(null);
  for (const values of [globals, variables]) for (const [name, value] of values) outside.set(name, value);
  return new Renderer(template, hidden, outside).run();
}

class Output {
  text = "";

  write(text: string): void {
    spendCharacters(text.length);
    this.text += text;
  }
}

class Renderer {
  readonly #template: readonly Statement[];
  readonly #hidden: Hidden;
  readonly #root: Scope;

  constructor(template: readonly Statement[], hidden: Hidden, outside: Scope) {
    this.#template = template;
    this.#hidden = hidden;
    this.#root = new Scope(outside, hidden.get(template));
  }

  run(): string {
    return this.#capture(this.#template, this.#root).text;
  }

  /** The scope of a template part. */
  #inside(part: object, around: Scope): Scope {
    return new Scope(around, this.#hidden.get(part));
  }

  /** A body's output, and how it ended. */
  #capture(body: readonly Statement[], scope: Scope): { text: string; jump: Jump } {
    const out = new Output();
    const jump = this.#body(body, scope, out);
    return { text: out.text, jump };
  }

  #body(body: readonly Statement[], scope: Scope, out: Output): Jump {
    for (const statement of body) {
      const jump = this.#statement(statement, scope, out);
      if (jump) return jump;
    }
    return null;
  }

  #statement(statement: Statement, scope: Scope, out: Output): Jump {
    spend();
    switch (statement.kind) {
      case "text":
        out.write(statement.text);
        return null;
      case "output":
        out.write(str(evaluate(statement.value, scope)));
        return null;
      case "if":
        for (const { test, body } of statement.branches) {
          if (truth(evaluate(test, scope))) return this.#body(body, scope, out);
        }
        return this.#body(statement.otherwise, scope, out);
      case "for":
        return this.#for(statement, scope, out);
      case "set":
        return this.#set(statement.target, statement.value, scope);
      case "capture":
        return this.#captureInto(statement, scope);
      case "macro":
        scope.set(statement.name, this.#macro(statement.name, statement.signature, scope));
        return null;
      case "callBlock": {
        const caller = this.#macro(null, statement.signature, scope);
        const args = evaluateArguments(statement.call.args, scope);
        if (args.keyword.has("caller")) typeFault("got multiple values for keyword argument 'caller'");
        const keyword = new Map([...args.keyword, ["caller", caller] as const]);
        out.write(str(call(evaluate(statement.call.callee, scope), { ...args, keyword })));
        return null;
      }
      case "filterBlock": {
        const inside = this.#inside(statement.body, scope);
        const { text, jump } = this.#capture(statement.body, inside);
        if (!jump) out.write(str(applyFilter(statement.filter, inside, text)));
        return jump;
      }
      case "with": {
        const inside = this.#inside(statement.body, scope);
        for (const [target, value] of statement.bindings) assign(target, evaluate(value, scope), inside);
        return this.#body(statement.body, inside, out);
      }
      case "scope":
        if (truth(evaluate(statement.autoescape, scope))) fault("NotSupported", "automatic escaping is not supported");
        return this.#body(statement.body, this.#inside(statement.body, scope), out);
      case "generation":
        return this.#body(statement.body, this.#inside(statement.body, scope), out);
      case "block": {
        if (statement.required) fault("TemplateRuntimeError", `Required block '${statement.name}' not found`);
        const around = statement.scoped ? scope : this.#root;
        return nested(() => this.#body(statement.body, this.#inside(statement.body, around), out));
      }
      case "break":
      case "continue":
        return statement.kind;
      case "loader":
        return fault("NotSupported", `{% ${statement.tag} %} is not supported: there are no other templates`);
    }
  }

  #set(target: Target, expression: Expression, scope: Scope): null {
    assign(target, evaluate(expression, scope), scope);
    return null;
  }

  #captureInto({ target, filter, body }: Extract<Statement, { kind: "capture" }>, scope: Scope): Jump {
    const inside = this.#inside(body, scope);
    const { text, jump } = this.#capture(body, inside);
    if (!jump) assign(target, filter ? applyFilter(filter, inside, text) : text, scope);
    return jump;
  }

  #macro(name: string | null, signature: Signature, around: Scope): Callable {
    const extras = extrasOf(signature);
    const label = name ?? "caller";
    return new Callable(`<Macro ${name === null ? "anonymous" : repr(name)}>`, (args) => {
      const scope = this.#inside(signature.body, around);
      const values = bindMacro(label, signature, extras, args);
      for (const { name } of signature.parameters) {
        scope.set(name, new Undefined(`parameter ${repr(name)} was not provided`));
      }
      for (const [key, value] of values) scope.set(key, value);
      for (const { name, fallback } of signature.parameters) {
        if (fallback && !values.has(name)) scope.set(name, evaluate(fallback, scope));
      }
      return nested(() => this.#capture(signature.body, scope).text);
    });
  }

  #for(statement: For, scope: Scope, out: Output): Jump {
    const over = evaluate(statement.over, scope);
    if (!statement.recursive) return this.#loop(statement, over, scope, out, null, 0);
    const recurse = (items: Value, depth: number): string =>
      nested(() => {
        const inner = new Output();
        this.#loop(statement, items, scope, inner, recurse, depth);
        return inner.text;
      });
    out.write(recurse(over, 0));
    return null;
  }

  #loop(
    statement: For,
    over: Value,
    scope: Scope,
    out: Output,
    recurse: ((items: Value, depth: number) => string) | null,
    depth: number,
  ): Jump {
    const items = statement.test ? this.#filtered(statement, statement.test, over, scope) : over;
    const loop = new Loop(items, recurse, depth);
    let complete = false;
    for (let next = loop.next(); next; next = loop.next()) {
      const inside = this.#inside(statement.body, scope);
      inside.set("loop", loop);
      assign(statement.target, next.item, inside);
      const jump = this.#body(statement.body, inside, out);
      if (jump === "break") break;
      // As in Jinja2, a loop that left every iteration early counts as not run.
      if (!jump) complete = true;
    }
    return complete ? null : this.#body(statement.otherwise, this.#inside(statement.otherwise, scope), out);
  }

  /** The items that pass a loop's test, lazily. */
  #filtered(statement: For, test: Expression, over: Value, scope: Scope): Iter {
    const items = iterate(over);
    const inside = this.#inside(statement, scope);
    return new Iter(
      (function* () {
        for (const item of items) {
          assign(statement.target, item, inside);
          if (truth(evaluate(test, inside))) yield item;
        }
      })(),
    );
  }
}

function assign(target: Target, value: Value, scope: Scope): void {
  if (target.kind === "name") {
    scope.set(target.name, value);
    return;
  }
  if (target.kind === "member") {
    assignMember(target.of, target.name, value, scope);
    return;
  }
  const values: Value[] = [];
  for (const item of iterate(value)) {
    if (values.push(item) > target.items.length)
      valueFault(`too many values to unpack (expected ${target.items.length})`);
  }
  if (values.length < target.items.length) {
    valueFault(`not enough values to unpack (expected ${target.items.length}, got ${values.length})`);
  }
  for (const [inner, item] of zip(target.items, values)) assign(inner, item, scope);
}

function assignMember(of: string, name: string, value: Value, scope: Scope): void {
  const namespace = scope.get(of);
  if (namespace instanceof Namespace) {
    namespace.set(name, value);
    return;
  }
  fault("TemplateRuntimeError", "cannot assign attribute on non-namespace object");
}
