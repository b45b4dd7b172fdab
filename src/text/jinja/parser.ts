/** Parses statements. `check.ts` then checks names, and `render.ts` runs the tree. */

import { ExpressionParser } from "./expressions.js";
import { tokenize } from "./lexer.js";
import type { Branch, Expression, Parameter, Signature, Statement, Target } from "./nodes.js";
import { Tokens } from "./tokens.js";

/** @throws TemplateSyntaxFault with the line. */
export function parse(source: string): Statement[] {
  return new Parser(new Tokens(tokenize(source))).template();
}

const reserved = new Set(["true", "True", "false", "False", "none", "None"]);

/** A statement before its line is known. */
type Shape = Statement extends infer S ? (S extends Statement ? Omit<S, "line"> : never) : never;

class Parser {
  readonly #tokens: Tokens;
  readonly #expressions: ExpressionParser;
  /** The number of enclosing loops that `break` can leave; 0 inside a macro. */
  #loops = 0;

  constructor(tokens: Tokens) {
    this.#tokens = tokens;
    this.#expressions = new ExpressionParser(tokens);
  }

  template(): Statement[] {
    return this.#statements([]);
  }

  /** Statements up to a tag with one of these names, which is not consumed. */
  #statements(ends: readonly string[]): Statement[] {
    const tokens = this.#tokens;
    const statements: Statement[] = [];
    while (!tokens.is("eof")) {
      const { line } = tokens.current;
      if (tokens.is("data")) statements.push({ kind: "text", text: tokens.next().text, line });
      else if (tokens.skip("variable_begin")) {
        statements.push({ kind: "output", value: this.#expressions.tuple(), line });
        tokens.expect("variable_end");
      } else {
        tokens.expect("block_begin");
        if (tokens.isName(...ends)) return statements;
        statements.push(...tokens.nested(() => this.#statement(line, ends)));
        tokens.expect("block_end");
      }
    }
    if (ends.length > 0) tokens.fail(`unexpected end of the template, expected {% ${ends.join(" %} or {% ")} %}`);
    return statements;
  }

  /** The statements between a tag and its end tag, which is not consumed. */
  #body(...ends: readonly string[]): Statement[] {
    this.#tokens.skip("operator", ":");
    this.#tokens.expect("block_end");
    return this.#statements(ends);
  }

  /** A body, and the tag that ends it. */
  #closed(end: string): Statement[] {
    const body = this.#body(end);
    this.#tokens.next();
    return body;
  }

  #statement(line: number, ends: readonly string[]): Statement[] {
    const tokens = this.#tokens;
    const tag = tokens.expect("name").text;
    if (tag === "print") return this.#print(line);
    const shape = this.#shape(tag);
    if (shape) return [{ ...shape, line }];
    const expected = ends.length > 0 ? `; expected {% ${ends.join(" %} or {% ")} %}` : "";
    return tokens.fail(`unknown tag "${tag}"${expected}`, line);
  }

  #shape(tag: string): Shape | null {
    switch (tag) {
      case "if":
        return this.#if();
      case "for":
        return this.#for();
      case "set":
        return this.#set();
      case "macro":
        return { kind: "macro", name: this.#name(), signature: this.#signature("endmacro") };
      case "call":
        return this.#call();
      case "filter":
        return this.#filter();
      case "with":
        return this.#with();
      case "autoescape":
        return { kind: "scope", autoescape: this.#expressions.expression(), body: this.#closed("endautoescape") };
      case "generation":
        return { kind: "generation", body: this.#outsideLoops(() => this.#closed("endgeneration")) };
      case "block":
        return this.#block();
      case "break":
      case "continue":
        if (this.#loops === 0) this.#tokens.fail(`{% ${tag} %} outside of a loop`);
        return { kind: tag };
      case "include":
      case "extends":
      case "import":
      case "from":
        return this.#loader(tag);
      default:
        return null;
    }
  }

  #print(line: number): Statement[] {
    const values: Expression[] = [];
    while (!this.#tokens.is("block_end")) {
      if (values.length > 0) this.#tokens.expect("operator", ",");
      values.push(this.#expressions.expression());
    }
    return values.map((value) => ({ kind: "output", value, line }));
  }

  #if(): Shape {
    const branches: Branch[] = [];
    let end = "elif";
    while (end === "elif") {
      const test = this.#expressions.tuple({ conditions: false });
      branches.push({ test, body: this.#body("elif", "else", "endif") });
      end = this.#tokens.next().text;
    }
    return { kind: "if", branches, otherwise: end === "else" ? this.#closed("endif") : [] };
  }

  #for(): Shape {
    const tokens = this.#tokens;
    const target = this.#target({ ends: ["in"] });
    tokens.expect("name", "in");
    const over = this.#expressions.tuple({ conditions: false, ends: ["recursive"] });
    const test = tokens.skip("name", "if") ? this.#expressions.expression() : null;
    const recursive = tokens.skip("name", "recursive");
    this.#loops++;
    const body = this.#body("endfor", "else");
    this.#loops--;
    const otherwise = tokens.next().text === "else" ? this.#closed("endfor") : [];
    return { kind: "for", target, over, test, recursive, body, otherwise };
  }

  #set(): Shape {
    const target = this.#target({ members: true });
    if (this.#tokens.skip("operator", "=")) return { kind: "set", target, value: this.#expressions.tuple() };
    const filter = this.#expressions.filters(null);
    return { kind: "capture", target, filter, body: this.#closed("endset") };
  }

  #call(): Shape {
    const tokens = this.#tokens;
    const { line } = tokens.current;
    const parameters = tokens.isOperator("(") ? this.#parameters() : [];
    const call = this.#expressions.expression();
    if (call.kind !== "call") return tokens.fail("expected a call", line);
    return {
      kind: "callBlock",
      call,
      signature: { parameters, body: this.#outsideLoops(() => this.#closed("endcall")) },
    };
  }

  #filter(): Shape {
    const filter = this.#expressions.filters(null, true);
    if (!filter) return this.#tokens.fail("expected a filter");
    return { kind: "filterBlock", filter, body: this.#closed("endfilter") };
  }

  #with(): Shape {
    const tokens = this.#tokens;
    const bindings: [Target, Expression][] = [];
    while (!tokens.is("block_end")) {
      if (bindings.length > 0) tokens.expect("operator", ",");
      const target = this.#target({});
      tokens.expect("operator", "=");
      bindings.push([target, this.#expressions.expression()]);
    }
    return { kind: "with", bindings, body: this.#closed("endwith") };
  }

  #block(): Shape {
    const tokens = this.#tokens;
    const name = tokens.expect("name").text;
    const scoped = tokens.skip("name", "scoped");
    const required = tokens.skip("name", "required");
    const body = this.#outsideLoops(() => this.#closed("endblock"));
    tokens.skip("name", name);
    return { kind: "block", name, scoped, required, body };
  }

  /** A tag that loads other templates: skipped to its end, so that the rest parses. */
  #loader(tag: string): Shape {
    const tokens = this.#tokens;
    this.#expressions.expression();
    const stores: string[] = [];
    for (let before = ""; !tokens.is("block_end"); before = tokens.next().text) {
      if (tokens.is("eof")) tokens.fail(`unexpected end of the template in {% ${tag} %}`);
      const isAlias = before === "as" || (tag === "from" && !["as", "with", "without"].includes(tokens.current.text));
      if (tokens.is("name") && isAlias) stores.push(tokens.current.text);
    }
    return { kind: "loader", tag, stores };
  }

  #signature(end: string): Signature {
    const parameters = this.#parameters();
    return { parameters, body: this.#outsideLoops(() => this.#closed(end)) };
  }

  #parameters(): Parameter[] {
    const tokens = this.#tokens;
    const parameters: Parameter[] = [];
    tokens.expect("operator", "(");
    while (!tokens.isOperator(")")) {
      if (parameters.length > 0) tokens.expect("operator", ",");
      const name = this.#name();
      if (parameters.some((other) => other.name === name)) tokens.fail(`the parameter "${name}" occurs twice`);
      const fallback = tokens.skip("operator", "=") ? this.#expressions.expression() : null;
      if (!fallback && parameters.at(-1)?.fallback)
        tokens.fail("a parameter without a default follows one with a default");
      parameters.push({ name, fallback });
    }
    tokens.next();
    return parameters;
  }

  #outsideLoops<T>(parseBody: () => T): T {
    const loops = this.#loops;
    this.#loops = 0;
    try {
      return parseBody();
    } finally {
      this.#loops = loops;
    }
  }

  #name(): string {
    const { text, line } = this.#tokens.expect("name");
    if (reserved.has(text)) this.#tokens.fail(`"${text}" cannot be assigned to`, line);
    return text;
  }

  /** One name or several separated by commas; `set` may also assign to a namespace's members. */
  #target(options: { readonly ends?: readonly string[]; readonly members?: boolean }): Target {
    const tokens = this.#tokens;
    const items: Target[] = [];
    let isTuple = false;
    while (true) {
      if (items.length > 0) tokens.expect("operator", ",");
      if (
        items.length > 0 &&
        (tokens.isOperator(")", "=") || tokens.is("block_end") || tokens.isName(...(options.ends ?? [])))
      )
        break;
      items.push(this.#oneTarget(options.members ?? false));
      if (!tokens.isOperator(",")) break;
      isTuple = true;
    }
    const [only] = items;
    return !isTuple && only ? only : { kind: "targets", items };
  }

  #oneTarget(members: boolean): Target {
    const tokens = this.#tokens;
    if (tokens.skip("operator", "(")) {
      const inside = tokens.nested(() => this.#target({}));
      tokens.expect("operator", ")");
      return inside;
    }
    const name = this.#name();
    if (!members || !tokens.skip("operator", ".")) return { kind: "name", name };
    return { kind: "member", of: name, name: tokens.expect("name").text };
  }
}
