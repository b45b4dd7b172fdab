/** Grammars in GBNF: which texts they are of, and what is wrong with those that are refused. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { compileRules } from "../../src/grammar/compile.js";
import { rulesOfGbnf } from "../../src/grammar/gbnf.js";
import { type Position, Positions } from "../../src/grammar/positions.js";
import { byteVocabulary } from "./vocabularies.js";

const vocabulary = byteVocabulary([]);

function accepts(grammar: string, text: string): boolean {
  const { program } = compileRules(rulesOfGbnf(grammar), vocabulary, {
    maxSize: 1_000_000,
    maxMaskBytes: 2 ** 24,
    afterSpace: false,
  });
  const positions = new Positions(program);
  let position: Position | null = positions.at(program.begin, null);
  for (const byte of Buffer.from(text)) {
    position = position && positions.step(position, program.classes[byte] ?? 0);
  }
  return position?.accepts ?? false;
}

const json = String.raw`
# JSON, as llama.cpp writes it
root   ::= object
value  ::= object | array | string | number | ("true" | "false" | "null") ws
object ::=
  "{" ws (
    string ":" ws value
    ("," ws string ":" ws value)*
  )? "}" ws
array  ::= "[" ws ( value ("," ws value)* )? "]" ws
string ::= "\"" ( [^"\\\x7F\x00-\x1F] | "\\" (["\\bfnrt] | "u" [0-9a-fA-F]{4}) )* "\"" ws
number ::= ("-"? ([0-9] | [1-9] [0-9]{0,15})) ("." [0-9]+)? ([eE] [-+]? [1-9] [0-9]{0,15})? ws
ws ::= | " " | "\n" [ \t]{0,20}
`;

/** A grammar, texts of it, and texts that are not. */
const cases: readonly (readonly [string, readonly string[], readonly string[]])[] = [
  ['root ::= "a" | "b"', ["a", "b"], ["", "ab", "c"]],
  ["root ::= [a-c]+ [^a-c] .", ["abdx", "cé日"], ["dx", "ab"]],
  ['root ::= "x"{2} "y"{1,} "z"{0,2} | ""', ["xxy", "xxyyzz", ""], ["xy", "xxyzzz"]],
  ['root ::= a+ b?\na ::= "x" | "(" root ")"\nb ::= "!"', ["x", "(xx!)x", "((x))!"], ["(", "x!x", "()"]],
  ['root ::= "\\n\\t\\"\\\\\\x41\\u00e9\\U0001F600" ["\\]\\-^]', ['\n\t"\\Aé😀]', '\n\t"\\Aé😀-'], ["n"]],
  ['root ::= item-1 | "q"\n  item-1 ::= "one"\n', ["one", "q"], ["item-1"]],
  ['root ::= s "." s ::= ("no" | "yes") s | ""', ["yesno.", "."], ["maybe."]],
  ["root ::= # a comment\n  [ -~]* # another\n", ["anything at all", ""], ["é"]],
  ['root ::= "\'" "(" [-x] ")"', ["'(-)", "'(x)"], ["'()"]],
  [json, ['{"a": [1, -2.5e3, true], "b": {"é\\u00e9": null}\n}', "{}"], ["[1]", '{"a" 1}', "{,}"]],
];

for (const [grammar, texts, others] of cases) {
  test(`texts of ${JSON.stringify(grammar).slice(0, 50)}`, () => {
    for (const text of texts) assert.ok(accepts(grammar, text), JSON.stringify(text));
    for (const text of others) assert.ok(!accepts(grammar, text), JSON.stringify(text));
  });
}

const refusals: readonly (readonly [string, RegExp])[] = [
  ["", /no rule `root`/],
  ['a ::= "x"', /no rule `root`/],
  ["root = 'x'", /line 1, column 1: a rule .* was expected/],
  ["root ::= x", /line 1, column 10: the rule `x` is not defined/],
  ['root ::= "x"\nroot ::= "y"', /line 2, column 1: the rule `root` is defined twice/],
  ['root ::= "x', /line 1, column 10: the literal has no end/],
  ["root ::= [a", /line 1, column 10: the character class has no end/],
  ["root ::= [z-a]", /line 1, column 11: the range of characters counts down/],
  ['root ::= "\\q"', /line 1, column 11: the escape `\\q` is not supported/],
  ['root ::= ("x"', /line 1, column 14: `\)` was expected/],
  ['root ::= "x")', /line 1, column 13: a rule .* was expected/],
  ['root ::= "x"{3,2}', /counts down/],
  ['root ::= "x"{99999}', /repeated more than 65536 times/],
  ["root ::= $x", /line 1, column 10: `\$` is not supported here/],
  ['start: "x"', /line 1, column 1/],
  ['root ::= root "x" | "y"', /the rule `root` begins with itself/],
  ['root ::= a\na ::= b? c\nb ::= "b"\nc ::= a "x" | "y"', /line 2, column 1: the rule `a` begins with itself/],
  ['root ::= "x" root', /no text/],
  [`root ::= ${"(".repeat(100)}"x"${")".repeat(100)}`, /nest more than 64 deep/],
  [`root ::= "x"\n${Array.from({ length: 1000 }, (_, i) => `r${i} ::= "x"\n`).join("")}`, /more than 1000 rules/],
  ['root ::= ("a" | "b" | "ab" | "ba"){1,5000} ("a" | "b"){1,5000}', /too large/],
];

for (const [grammar, message] of refusals) {
  test(`refused: ${JSON.stringify(grammar).slice(0, 50)}`, () => {
    assert.throws(() => accepts(grammar, ""), message);
  });
}

test("rules that double a rule again and again stay small", () => {
  const doubling = Array.from({ length: 40 }, (_, i) => `a${i} ::= a${i + 1} a${i + 1}`).join("\n");
  assert.ok(!accepts(`root ::= a0 | "x"\n${doubling}\na40 ::= [a-w]`, "aaaa"));
  assert.ok(accepts(`root ::= a35 | "x"\n${doubling}\na40 ::= [a-w]`, "a".repeat(32)));
});
