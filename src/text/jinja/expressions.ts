/** Parses expressions, with one function per precedence level, as Jinja2's parser. */

import type { Token } from "./lexer.js";
import { floatLiteral, integerLiteral } from "./literals.js";
import type { BinaryOperator, CallArguments, CompareOperator, Expression, Filter } from "./nodes.js";
import type { Tokens } from "./tokens.js";

interface TupleOptions {
  readonly conditions?: boolean;
  /** Names that end the tuple, as `in` does in `for x, y in`. */
  readonly ends?: readonly string[];
  readonly parenthesized?: boolean;
}

const noArguments: CallArguments = { positional: [], keyword: [], rest: null, keywordRest: null };
const constants = new Map<string, null | boolean>([
  ["true", true],
  ["True", true],
  ["false", false],
  ["False", false],
  ["none", null],
  ["None", null],
]);

export class ExpressionParser {
  readonly #tokens: Tokens;

  constructor(tokens: Tokens) {
    this.#tokens = tokens;
  }

  /** An expression, or a tuple of several separated by commas. */
  tuple(options: TupleOptions = {}): Expression {
    const tokens = this.#tokens;
    const items: Expression[] = [];
    let isTuple = false;
    while (true) {
      if (items.length > 0) tokens.expect("operator", ",");
      if (this.#endsTuple(options.ends ?? [])) break;
      items.push(options.conditions === false ? this.#or() : this.expression());
      if (!tokens.isOperator(",")) break;
      isTuple = true;
    }
    const [only] = items;
    if (!isTuple && only) return only;
    if (!isTuple && !options.parenthesized) tokens.fail(`expected an expression, found ${tokens.found}`);
    return { kind: "tuple", items };
  }

  #endsTuple(ends: readonly string[]): boolean {
    const tokens = this.#tokens;
    return tokens.is("variable_end") || tokens.is("block_end") || tokens.isOperator(")") || tokens.isName(...ends);
  }

  expression(): Expression {
    return this.#tokens.nested(() => this.#condition());
  }

  #condition(): Expression {
    const tokens = this.#tokens;
    let expression = this.#or();
    for (let depth = 1; tokens.skip("name", "if"); depth++) {
      tokens.checkDepth(depth);
      const test = this.#or();
      const no = tokens.skip("name", "else") ? tokens.nested(() => this.#condition()) : null;
      expression = { kind: "condition", test, yes: expression, no };
    }
    return expression;
  }

  #or(): Expression {
    let left = this.#and();
    for (let depth = 1; this.#tokens.skip("name", "or"); depth++) {
      this.#tokens.checkDepth(depth);
      left = { kind: "or", left, right: this.#and() };
    }
    return left;
  }

  #and(): Expression {
    let left = this.#not();
    for (let depth = 1; this.#tokens.skip("name", "and"); depth++) {
      this.#tokens.checkDepth(depth);
      left = { kind: "and", left, right: this.#not() };
    }
    return left;
  }

  #not(): Expression {
    if (!this.#tokens.skip("name", "not")) return this.#compare();
    return { kind: "unary", operator: "not", operand: this.#tokens.nested(() => this.#not()) };
  }

  #compare(): Expression {
    const first = this.#sum();
    const rest: [CompareOperator, Expression][] = [];
    for (let operator = this.#compareOperator(); operator !== null; operator = this.#compareOperator()) {
      rest.push([operator, this.#sum()]);
    }
    return rest.length === 0 ? first : { kind: "compare", first, rest };
  }

  #compareOperator(): CompareOperator | null {
    const tokens = this.#tokens;
    for (const operator of ["==", "!=", "<", "<=", ">", ">="] as const) {
      if (tokens.skip("operator", operator)) return operator;
    }
    if (tokens.skip("name", "in")) return "in";
    if (!tokens.isName("not") || tokens.following.kind !== "name" || tokens.following.text !== "in") return null;
    tokens.next();
    tokens.next();
    return "not in";
  }

  #sum(): Expression {
    return this.#binary(["+", "-"], () => this.#concat());
  }

  #concat(): Expression {
    const items = [this.#product()];
    while (this.#tokens.skip("operator", "~")) items.push(this.#product());
    const [only] = items;
    return items.length === 1 && only ? only : { kind: "concat", items };
  }

  #product(): Expression {
    return this.#binary(["*", "/", "//", "%"], () => this.#power());
  }

  /** Left-associative, unlike Python's. */
  #power(): Expression {
    return this.#binary(["**"], () => this.#unary(true));
  }

  #binary(operators: readonly BinaryOperator[], operand: () => Expression): Expression {
    let left = operand();
    for (let depth = 1; ; depth++) {
      const operator = operators.find((text) => this.#tokens.isOperator(text));
      if (operator === undefined) return left;
      this.#tokens.checkDepth(depth);
      this.#tokens.next();
      left = { kind: "binary", operator, left, right: operand() };
    }
  }

  #unary(withFilters: boolean): Expression {
    const tokens = this.#tokens;
    const sign = (["-", "+"] as const).find((text) => tokens.isOperator(text));
    let expression: Expression;
    if (sign === undefined) expression = this.#primary();
    else {
      tokens.next();
      expression = { kind: "unary", operator: sign, operand: tokens.nested(() => this.#unary(false)) };
    }
    expression = this.#postfix(expression);
    return withFilters ? this.#filtersAndTests(expression) : expression;
  }

  #primary(): Expression {
    const tokens = this.#tokens;
    const token = tokens.current;
    switch (token.kind) {
      case "name":
        tokens.next();
        return this.#nameOrConstant(token.text);
      case "string":
        return this.#strings();
      case "integer":
      case "float":
        tokens.next();
        return { kind: "constant", value: token.kind === "float" ? floatLiteral(token.text) : integerLiteral(token) };
      case "operator":
        return this.#bracketed(token);
      default:
        return tokens.fail(`expected an expression, found ${tokens.found}`);
    }
  }

  #nameOrConstant(name: string): Expression {
    const constant = constants.get(name);
    return constant === undefined ? { kind: "name", name } : { kind: "constant", value: constant };
  }

  /** Adjacent strings are concatenated. */
  #strings(): Expression {
    let text = "";
    while (this.#tokens.is("string")) text += this.#tokens.next().text;
    return { kind: "constant", value: text };
  }

  #bracketed(token: Token): Expression {
    const tokens = this.#tokens;
    if (tokens.skip("operator", "(")) {
      const inside = tokens.nested(() => this.tuple({ parenthesized: true }));
      tokens.expect("operator", ")");
      return inside;
    }
    if (tokens.skip("operator", "[")) return { kind: "list", items: this.#until("]", () => this.expression()) };
    if (tokens.skip("operator", "{")) return { kind: "dict", pairs: this.#until("}", () => this.#pair()) };
    return tokens.fail(`unexpected "${token.text}"`);
  }

  #pair(): readonly [Expression, Expression] {
    const key = this.expression();
    this.#tokens.expect("operator", ":");
    return [key, this.expression()];
  }

  /** Items separated by commas, with an optional trailing comma, up to a closing bracket. */
  #until<T>(end: string, item: () => T): T[] {
    const tokens = this.#tokens;
    const items: T[] = [];
    while (!tokens.isOperator(end)) {
      if (items.length > 0) tokens.expect("operator", ",");
      if (tokens.isOperator(end)) break;
      items.push(item());
    }
    tokens.expect("operator", end);
    return items;
  }

  #postfix(expression: Expression): Expression {
    const tokens = this.#tokens;
    for (let depth = 1; ; depth++) {
      tokens.checkDepth(depth);
      if (tokens.isOperator(".")) expression = this.#attribute(expression);
      else if (tokens.isOperator("[")) expression = this.#subscript(expression);
      else if (tokens.isOperator("(")) expression = { kind: "call", callee: expression, args: this.#arguments() };
      else return expression;
    }
  }

  #attribute(of: Expression): Expression {
    const tokens = this.#tokens;
    tokens.expect("operator", ".");
    const token = tokens.next();
    if (token.kind === "name") return { kind: "attribute", of, name: token.text };
    if (token.kind !== "integer") tokens.fail("expected a name or a number", token.line);
    return { kind: "item", of, key: { kind: "constant", value: integerLiteral(token) } };
  }

  #subscript(of: Expression): Expression {
    const tokens = this.#tokens;
    const { line } = tokens.expect("operator", "[");
    const parts: (Expression | (Expression | null)[])[] = [];
    while (!tokens.isOperator("]")) {
      if (parts.length > 0) tokens.expect("operator", ",");
      parts.push(this.#subscribed());
    }
    tokens.expect("operator", "]");
    const [only] = parts;
    if (parts.length === 1 && Array.isArray(only)) return { kind: "slice", of, parts: only };
    const keys = parts.filter((part): part is Expression => !Array.isArray(part));
    if (keys.length < parts.length) tokens.fail("a slice cannot be combined with other keys", line);
    const [key] = keys;
    return { kind: "item", of, key: keys.length === 1 && key ? key : { kind: "tuple", items: keys } };
  }

  /** A key, or the parts of a slice. */
  #subscribed(): Expression | (Expression | null)[] {
    const tokens = this.#tokens;
    const first = tokens.isOperator(":") ? null : this.expression();
    if (!tokens.skip("operator", ":") && first) return first;
    const part = (...ends: string[]): Expression | null => (tokens.isOperator(...ends) ? null : this.expression());
    const stop = part(":", "]", ",");
    const step = tokens.skip("operator", ":") ? part("]", ",") : null;
    return [first, stop, step];
  }

  #filtersAndTests(expression: Expression): Expression {
    const tokens = this.#tokens;
    for (let depth = 1; ; depth++) {
      tokens.checkDepth(depth);
      if (tokens.isOperator("|")) expression = this.filters(expression);
      else if (tokens.isName("is")) expression = this.#test(expression);
      else if (tokens.isOperator("(")) expression = { kind: "call", callee: expression, args: this.#arguments() };
      else return expression;
    }
  }

  /** Any number of `| name(...)`. In a block's tag the first has no `|`. */
  filters(of: Expression, inline?: false): Expression;
  filters(of: Expression | null, inline?: boolean): Filter | null;
  filters(of: Expression | null, inline = false): Expression | null {
    const tokens = this.#tokens;
    let expression = of;
    for (let depth = 1; inline || tokens.isOperator("|"); depth++) {
      tokens.checkDepth(depth);
      if (!inline) tokens.next();
      inline = false;
      const { line } = tokens.current;
      const name = this.#dotted();
      const args = tokens.isOperator("(") ? this.#arguments() : noArguments;
      expression = { kind: "filter", of: expression, name, args, line };
    }
    return expression;
  }

  #dotted(): string {
    let name = this.#tokens.expect("name").text;
    while (this.#tokens.skip("operator", ".")) name += `.${this.#tokens.expect("name").text}`;
    return name;
  }

  #test(of: Expression): Expression {
    const tokens = this.#tokens;
    const { line } = tokens.expect("name", "is");
    const negated = tokens.skip("name", "not");
    const name = this.#dotted();
    const test: Expression = { kind: "test", of, name, args: this.#testArguments(), line };
    return negated ? { kind: "unary", operator: "not", operand: test } : test;
  }

  /** Arguments in parentheses, or one value without them. */
  #testArguments(): CallArguments {
    const tokens = this.#tokens;
    if (tokens.isOperator("(")) return this.#arguments();
    const begins = ["name", "string", "integer", "float"].includes(tokens.current.kind) || tokens.isOperator("[", "{");
    if (!begins || tokens.isName("else", "or", "and")) return noArguments;
    if (tokens.isName("is")) tokens.fail("tests with `is` cannot be chained");
    return { ...noArguments, positional: [this.#postfix(this.#primary())] };
  }

  #arguments(): CallArguments {
    const tokens = this.#tokens;
    const { line } = tokens.expect("operator", "(");
    const positional: Expression[] = [];
    const keyword = new Map<string, Expression>();
    let [rest, keywordRest]: (Expression | null)[] = [null, null];
    const check = (allowed: boolean): void => {
      if (!allowed) tokens.fail("the arguments of a call are in the wrong order", line);
    };
    for (let first = true; !tokens.isOperator(")"); first = false) {
      if (!first) tokens.expect("operator", ",");
      if (tokens.isOperator(")")) break;
      if (tokens.skip("operator", "*")) {
        check(!rest && !keywordRest);
        rest = this.expression();
      } else if (tokens.skip("operator", "**")) {
        check(!keywordRest);
        keywordRest = this.expression();
      } else if (tokens.is("name") && tokens.following.kind === "operator" && tokens.following.text === "=") {
        check(!keywordRest && !keyword.has(tokens.current.text));
        const name = tokens.next().text;
        tokens.next();
        keyword.set(name, this.expression());
      } else {
        check(!rest && !keywordRest && keyword.size === 0);
        positional.push(this.expression());
      }
    }
    tokens.expect("operator", ")");
    return { positional, keyword: [...keyword], rest: rest ?? null, keywordRest: keywordRest ?? null };
  }
}
