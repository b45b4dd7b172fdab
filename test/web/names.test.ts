/** What the page makes of what people type, and of answers that arrive out of order. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { AnswerOrder } from "../../web/parts/answer-order.js";
import { meantBy } from "../../web/parts/names.js";

test("a typed name means the one name that it fits, and no other", () => {
  const names = ["base", "plays", "plays-again", "Dates", "updates"];
  const meaning = (typed: string): string => {
    const meant = meantBy(typed, names);
    return meant.kind === "name" ? meant.name : meant.kind;
  };
  assert.deepEqual(["plays", " plays-again ", "PLAYS", "Dates"].map(meaning), [
    "plays",
    "plays-again",
    "plays",
    "Dates",
  ]);
  assert.deepEqual(["b", "plays-", "dat", "again", "upd"].map(meaning), [
    "base",
    "plays-again",
    "Dates",
    "plays-again",
    "updates",
  ]);
  assert.deepEqual(["pla", "a", "ate", "bard"].map(meaning), ["several", "several", "several", "none"]);
});

test("an answer to an earlier question does not replace that to a later one", () => {
  const order = new AnswerOrder();
  const [first, second, third] = [order.ask(), order.ask(), order.ask()];
  assert.ok(first(), "nothing later has come yet");
  assert.ok(third());
  assert.ok(third(), "an answer that comes in two parts");
  assert.ok(!second() && !first());
});
