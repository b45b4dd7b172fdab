/**
 * Finds the names that are undefined when a part of a template begins. Jinja2 resolves names per part, before it runs. A name
 * that the part assigns, but neither reads first nor finds in an enclosing part, is undefined until the assignment, even if the
 * chat's variables contain it.
 */

import type { Expression, For, Signature, Statement, Target } from "./nodes.js";
import { namesIn, targetMembers, targetNames } from "./walk.js";

/** The names to hide when a body begins, by body. A loop's test is a part too. */
export type Hidden = ReadonlyMap<object, readonly string[]>;

type Source = "given" | "around" | "outside" | "nothing";

class Symbols {
  readonly #around: Symbols | null;
  sources = new Map<string, Source>();
  assigned = new Set<string>();

  constructor(around: Symbols | null) {
    this.#around = around;
  }

  has(name: string): boolean {
    return this.sources.has(name) || (this.#around?.has(name) ?? false);
  }

  give(names: readonly string[]): void {
    for (const name of names) {
      this.assigned.add(name);
      this.sources.set(name, "given");
    }
  }

  read(expression: Expression | null): void {
    if (expression) for (const name of namesIn(expression)) this.readName(name);
  }

  readName(name: string): void {
    if (!this.has(name)) this.sources.set(name, "outside");
  }

  assign(target: Target): void {
    for (const name of targetMembers(target)) this.readName(name);
    for (const name of targetNames(target)) this.assignName(name);
  }

  assignName(name: string): void {
    this.assigned.add(name);
    if (!this.sources.has(name)) this.sources.set(name, this.#around?.has(name) ? "around" : "nothing");
  }

  /** The symbols after a branch that may not run. */
  branch(visit: (symbols: Symbols) => void): Symbols {
    const copy = new Symbols(this.#around);
    copy.sources = new Map(this.sources);
    copy.assigned = new Set(this.assigned);
    visit(copy);
    return copy;
  }

  /** A name that only some branches assign may come from outside. */
  join(branches: readonly Symbols[]): void {
    const fresh = branches.flatMap(({ assigned }) => [...assigned]).filter((name) => !this.assigned.has(name));
    for (const { sources, assigned } of branches) {
      for (const [name, source] of sources) this.sources.set(name, source);
      for (const name of assigned) this.assigned.add(name);
    }
    for (const name of fresh) this.sources.set(name, this.#around?.has(name) ? "around" : "outside");
  }

  hidden(): string[] {
    return [...this.sources].filter(([, source]) => source === "nothing").map(([name]) => name);
  }
}

export function hiddenNames(template: readonly Statement[]): Hidden {
  const analysis = new Analysis();
  analysis.part(template, null, template, () => {});
  return analysis.hidden;
}

class Analysis {
  readonly hidden = new Map<object, readonly string[]>();

  /** A part with its own symbols: first its names, then its statements, then the parts inside. */
  part(
    key: object,
    around: Symbols | null,
    body: readonly Statement[],
    begin: (symbols: Symbols) => void,
    end = begin,
  ): void {
    const symbols = new Symbols(around);
    begin(symbols);
    for (const statement of body) this.#visit(statement, symbols);
    if (end !== begin) end(symbols);
    const names = symbols.hidden();
    if (names.length > 0) this.hidden.set(key, names);
    for (const statement of body) this.#inside(statement, symbols);
  }

  /** Applies a statement's reads and writes to the names of its part. */
  #visit(statement: Statement, symbols: Symbols): void {
    switch (statement.kind) {
      case "output":
        symbols.read(statement.value);
        return;
      case "if":
        this.#if(statement.branches, statement.otherwise, symbols);
        return;
      case "for":
        symbols.read(statement.over);
        return;
      case "set":
        symbols.read(statement.value);
        symbols.assign(statement.target);
        return;
      case "capture":
        symbols.assign(statement.target);
        return;
      case "macro":
        symbols.assignName(statement.name);
        return;
      case "callBlock":
        symbols.read(statement.call);
        return;
      case "filterBlock":
        symbols.read(statement.filter);
        return;
      case "with":
        for (const [, value] of statement.bindings) symbols.read(value);
        return;
      case "loader":
        for (const name of statement.stores) symbols.assignName(name);
        return;
      default:
        return;
    }
  }

  #if(
    [first, ...others]: readonly { readonly test: Expression; readonly body: readonly Statement[] }[],
    otherwise: readonly Statement[],
    symbols: Symbols,
  ): void {
    if (!first) return;
    symbols.read(first.test);
    const all = (body: readonly Statement[]) => (inner: Symbols) => {
      for (const statement of body) this.#visit(statement, inner);
    };
    const elseIfs = (inner: Symbols): void => {
      for (const other of others) this.#if([other], [], inner);
    };
    symbols.join([symbols.branch(all(first.body)), symbols.branch(elseIfs), symbols.branch(all(otherwise))]);
  }

  /** The parts inside a statement. */
  #inside(statement: Statement, around: Symbols): void {
    switch (statement.kind) {
      case "if":
        for (const { body } of statement.branches) for (const inner of body) this.#inside(inner, around);
        for (const inner of statement.otherwise) this.#inside(inner, around);
        return;
      case "for":
        this.#for(statement, around);
        return;
      case "macro":
      case "callBlock":
        this.#signature(statement.signature, around);
        return;
      case "filterBlock":
        this.part(
          statement.body,
          around,
          statement.body,
          () => {},
          (symbols) => symbols.read(statement.filter),
        );
        return;
      case "capture":
      case "generation":
        this.part(statement.body, around, statement.body, () => {});
        return;
      case "scope":
        this.part(statement.body, around, statement.body, (symbols) => symbols.read(statement.autoescape));
        return;
      case "with": {
        const names = statement.bindings.flatMap(([target]) => targetNames(target));
        this.part(statement.body, around, statement.body, (symbols) => symbols.give(names));
        return;
      }
      case "block":
        this.part(statement.body, null, statement.body, () => {});
        return;
      default:
        return;
    }
  }

  #for(statement: For, around: Symbols): void {
    const names = targetNames(statement.target);
    this.part(statement.body, around, statement.body, (symbols) => symbols.give(["loop", ...names]));
    this.part(statement.otherwise, around, statement.otherwise, () => {});
    this.part(statement, around, [], (symbols) => {
      symbols.give(names);
      symbols.read(statement.test);
    });
  }

  #signature({ parameters, body }: Signature, around: Symbols): void {
    this.part(body, around, body, (symbols) => {
      symbols.give(parameters.map(({ name }) => name));
      for (const { fallback } of parameters) symbols.read(fallback);
      symbols.give(["caller", "kwargs", "varargs"].filter((name) => !symbols.assigned.has(name)));
    });
  }
}
