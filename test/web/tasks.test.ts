/** What the page shows of tasks: answers of pipelines, tensors as numbers, a game for its policy, and what an adapter does in a sentence. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { Draws } from "../../src/train/random.js";
import { startState as recipeStart, step as recipeStep, worlds } from "../../tools/recipes/bases/cart-pole.js";
import { teacher } from "../../tools/recipes/bases/policy-play.js";
import { readTraining } from "../../web/adapters/training-record.js";
import { formsOf, isWriter, readResult, type TaskResult } from "../../web/client/tasks.js";
import { readTensor, shapeFor, shownValues } from "../../web/client/tensors.js";
import { summaryOf } from "../../web/parts/summary.js";
import { placeLabels } from "../../web/tasks/box-labels.js";
import { type Action, isPolicyOfCartPole, observationOf, step } from "../../web/tasks/cart-pole.js";
import { differenceOf } from "../../web/tasks/difference.js";
import { type Ended, Game } from "../../web/tasks/episode.js";
import { inkOf } from "../../web/tasks/ink.js";
import { openingOf } from "../../web/tasks/opening.js";
import { askedOf, defaults, fromParameters, toParameters } from "../../web/tasks/parameters.js";
import { type Outcome, verdictOf } from "../../web/tasks/verdict.js";

test("a base has a form for what it and its adapters do, but for what is compared and for bare vectors", () => {
  const vectors = ["feature-extraction", "sentence-similarity"];
  const writer = ["text-generation", ...vectors];
  const classifier = ["text-classification", ...vectors];
  assert.deepEqual(formsOf(writer, [writer]), ["sentence-similarity"]);
  assert.deepEqual(formsOf(writer, [writer, classifier]), ["text-classification", "sentence-similarity"]);
  assert.deepEqual(formsOf(["translation", "text-generation"], []), ["translation"]);
  assert.deepEqual(formsOf(["feature-extraction"], []), ["feature-extraction"]);
  const areWriters = [writer, classifier, ["translation", "text-generation"]].map((tasks) => isWriter({ tasks }));
  assert.deepEqual(areWriters, [true, false, false]);
});

test("Tasks begins where a base and its adapters do the same task, whatever comes first", () => {
  const labels = { base: "writer", task: "text-classification", names: ["reviews"] };
  const pair = { base: "writer", task: "sentence-similarity", names: ["writer", "plays"] };
  const digits = { base: "digits", task: "image-classification", names: ["digits", "negative"] };
  assert.equal(openingOf([labels, pair, digits]), digits);
  assert.equal(openingOf([labels, pair]), labels);
  assert.equal(openingOf([]), undefined);
});

test("each pipeline's answer has a form that can be shown, and any other is kept as it is", () => {
  const label = { label: "7", score: 0.9 };
  assert.deepEqual(readResult([[label]], "text-classification"), { kind: "labels", labels: [label] });
  assert.deepEqual(readResult([label], "image-classification"), { kind: "labels", labels: [label] });
  const entity = { entity_group: "PER", score: 0.5, word: "Ann", start: 0, end: 3 };
  const span = { label: "PER", score: 0.5, start: 0, end: 3 };
  assert.deepEqual(readResult([entity], "token-classification"), { kind: "spans", spans: [span] });
  assert.deepEqual(readResult([], "token-classification"), { kind: "spans", spans: [] });
  const box = { xmin: 1, ymin: 2, xmax: 3, ymax: 4 };
  assert.deepEqual(readResult([{ ...label, box }], "object-detection"), {
    kind: "boxes",
    boxes: [{ ...label, ...box }],
  });
  assert.deepEqual(readResult([{ translation_text: "Guten Tag" }], "translation"), { kind: "text", text: "Guten Tag" });
  assert.deepEqual(readResult([[0.1, 0.2]], "feature-extraction"), { kind: "other", value: [[0.1, 0.2]] });
  assert.deepEqual(readResult([0.25], "sentence-similarity"), { kind: "similarity", score: 0.25 });
  assert.deepEqual(readResult({ x: 1 }, "other"), { kind: "other", value: { x: 1 } });
});

test("a base answers beside its adapter where it does the task itself", () => {
  assert.deepEqual(askedOf("digits", "negative", ["digits", "negative"]), ["digits", "negative"]);
  assert.deepEqual(askedOf("digits", "digits", ["digits", "negative"]), ["digits"]);
  assert.deepEqual(askedOf("bookworm-7m", "reviews", ["reviews"]), ["reviews"]);
});

test("what is asked under Tasks comes back from its address, whatever the address says", () => {
  const settings = { ...defaults, base: "phrases", task: "translation", model: "french", text: "two & three\nfour" };
  const pair = { ...defaults, base: "a/b", task: "sentence-similarity", text: "one", other: "ein" };
  const game = { ...defaults, base: "policy", task: "tensors", model: "policy", isReversed: true };
  const picture = { ...defaults, base: "digits", task: "image-classification", model: "negative", example: 0 };
  for (const each of [defaults, settings, pair, game, picture]) {
    assert.deepEqual(fromParameters(new URLSearchParams(toParameters(each).toString())), each);
  }
  for (const example of ["", "x", "-1", "1e3", "99999999"]) {
    assert.equal(fromParameters(new URLSearchParams({ example })).example, null, example);
  }
});

test("how base and adapter differ is said in a sentence, where the answers alone do not show it", () => {
  const says = (label: string) => ({
    kind: "labels" as const,
    labels: [
      { label: "other", score: 0.1 },
      { label, score: 0.9 },
    ],
  });
  const boxes = (...labels: readonly string[]) => ({
    kind: "boxes" as const,
    boxes: labels.map((label) => ({ label, score: 1, xmin: 0, ymin: 0, xmax: 1, ymax: 1 })),
  });
  const writes = (text: string) => ({ kind: "text" as const, text });
  const difference = (first: TaskResult, second: TaskResult) =>
    differenceOf({ model: "base", result: first }, { model: "own", result: second });
  assert.equal(difference(says("7"), says("7")), "Both say “7”.");
  assert.equal(difference(says("2"), says("7")), "They differ: base says “2”, own says “7”.");
  assert.equal(difference(boxes(), boxes("9", "6")), "They differ: base finds nothing, own finds “6”, “9”.");
  assert.equal(difference(boxes("6", "9"), boxes("9", "6")), "Both find “6”, “9”.");
  assert.equal(
    difference(boxes(), boxes(...Array(7).fill("1"))),
    "They differ: base finds nothing, own finds 7 things.",
  );
  assert.equal(difference(writes("a"), writes("a")), "Both write “a”.");
  assert.equal(difference(writes("a"), writes("b")), null);
  assert.equal(difference({ kind: "similarity", score: 1 }, { kind: "similarity", score: 1 }), null);
});

test("labels stand outside their boxes, clear of other boxes and labels, as far as there is room", () => {
  const picture = { width: 200, height: 200 };
  const size = { width: 20, height: 15 };
  const place = (...boxes: readonly { x: number; y: number; width: number; height: number }[]) =>
    placeLabels(
      boxes,
      boxes.map(() => size),
      picture,
    ).map(({ x, y }) => [x, y]);
  const small = { x: 100, y: 100, width: 8, height: 8 };
  assert.deepEqual(place(small), [[100, 85]], "above");
  assert.deepEqual(place({ ...small, y: 0 }), [[100, 8]], "below a box at the upper edge");
  assert.deepEqual(place({ ...small, x: 195, y: 0, width: 5 }), [[180, 8]], "within the picture at a corner");
  const [first, second] = place(small, { ...small, y: 85 });
  assert.notDeepEqual(first, [100, 85], "not over the box above");
  assert.notDeepEqual(first, second);
  assert.deepEqual(place({ x: 0, y: 0, width: 200, height: 200 }), [[0, 0]], "where no place is free, inside");
  // A crowd: no label covers another, and none a small box.
  const crowd = [0, 1, 2, 3].flatMap((row) =>
    [0, 1, 2, 3].map((column) => ({ x: 10 + 48 * column, y: 20 + 45 * row, width: 8, height: 8 })),
  );
  const placed = placeLabels(
    crowd,
    crowd.map(() => size),
    picture,
  );
  const covers = (a: (typeof crowd)[0], b: (typeof crowd)[0]) =>
    a.x < b.x + b.width && b.x < a.x + a.width && a.y < b.y + b.height && b.y < a.y + a.height;
  for (const [index, label] of placed.entries()) {
    assert.ok(!crowd.some((box) => covers(label, box)), `label ${index} covers a box`);
    assert.ok(!placed.some((other, at) => at !== index && covers(label, other)), `label ${index} covers another`);
  }
});

test("the game in the page is that of the recipe, with its motors as they are and reversed", () => {
  for (const [name, world] of Object.entries(worlds)) {
    const draws = new Draws(7, 0);
    let expected = recipeStart(draws);
    let [position = 0, velocity = 0, angle = 0, turning = 0] = expected;
    for (let time = 0; time < 60; time++) {
      const action = draws.below(2);
      expected = recipeStep(expected, action, world);
      const state = { position, velocity, angle, turning };
      ({ position, velocity, angle, turning } = step(state, action === 1 ? "right" : "left", name !== "standard"));
      const seen = observationOf({ position, velocity, angle, turning });
      for (const [i, value] of seen.entries())
        assert.ok(Math.abs(value - (expected[i] ?? 0)) < 1e-12, `${name} ${time}`);
    }
  }
});

test("a game asks at each step, ends with the fall or the time, goes on, and stops when it is told", async () => {
  const ends: Ended[] = [];
  let isReversed = false;
  const hold = teacher({ force: 10, wind: 0, poleLength: 0.5, poleMass: 0.1, gravity: 9.8 });
  let asked = 0;
  const finished = new Promise<void>((resolve) => {
    const game: Game = new Game(
      {
        choose: async (state): Promise<Action> => {
          asked++;
          const { position, velocity, angle, turning } = state;
          return hold([position, velocity, angle, turning]) === 1 ? "right" : "left";
        },
        isReversed: () => isReversed,
        stepped: () => {},
        ended: (ended) => {
          ends.push(ended);
          isReversed = true;
          if (ends.length < 2) return;
          game.stop();
          resolve();
        },
        failed: (error) => assert.fail(String(error)),
      },
      async () => {},
    );
    game.start();
  });
  await finished;
  const [first, second] = ends;
  assert.deepEqual(first, { steps: 500, fell: false, isReversed: false });
  assert.ok(second?.fell && second.steps < 50, "it pushes the wrong way");
  assert.equal(asked, 500 + second.steps);
});

test("a game that is started again has one loop, and a question that fails ends it", async () => {
  const failures: unknown[] = [];
  let running = 0;
  let most = 0;
  let count = 0;
  await new Promise<void>((resolve) => {
    const game: Game = new Game(
      {
        choose: async () => {
          most = Math.max(most, ++running);
          await Promise.resolve();
          running--;
          if (++count > 30) throw new Error("no answer");
          return "left";
        },
        isReversed: () => false,
        stepped: (_, steps) => {
          if (steps !== 3 || count > 8) return;
          game.stop();
          game.start();
        },
        ended: () => {},
        failed: (error) => {
          failures.push(error);
          resolve();
        },
      },
      async () => {},
    );
    game.start();
  });
  assert.deepEqual([failures.length, most], [1, 1]);
});

test("the time that a policy holds the pole begins anew when the motors change", async () => {
  let isReversed = false;
  const seen: number[] = [];
  const ended = new Promise<Ended>((resolve) => {
    const game: Game = new Game(
      {
        choose: async () => (isReversed ? "right" : "left"),
        isReversed: () => isReversed,
        stepped: (_, steps) => {
          seen.push(steps);
          if (steps === 3) isReversed = true;
        },
        ended: (end) => {
          game.stop();
          resolve(end);
        },
        failed: (error) => assert.fail(String(error)),
      },
      async () => {},
    );
    game.start();
  });
  const { steps, isReversed: wasReversed } = await ended;
  assert.deepEqual(seen.slice(0, 6), [0, 1, 2, 3, 1, 2]);
  assert.deepEqual([steps, wasReversed], [seen.at(-1), true]);
});

test("what a game has shown is said in words: who holds the pole, with which motors, and what to try next", () => {
  const fell = { fell: true, steps: 10 };
  const held = { fell: false, steps: 100 };
  const pair = (base: Outcome | null, adapter: Outcome | null, isReversed: boolean) =>
    verdictOf({
      ...{ isRunning: true, isReversed, others: ["own"] },
      ...{ base: { model: "base", outcome: base }, adapter: { model: "own", outcome: adapter } },
    });
  const alone = (base: Outcome | null, isReversed: boolean, others: readonly string[], isRunning = true) =>
    verdictOf({ isRunning, isReversed, others, base: { model: "base", outcome: base }, adapter: null });
  assert.equal(alone(null, false, [], false), "Press Play.");
  assert.equal(alone(null, true, []), "base is playing.");
  const lost = "base lost the pole after 0.2 s";
  const why = ", because each push that it chose went the other way.";
  assert.equal(alone(fell, false, []), `${lost}.`);
  assert.equal(alone(fell, true, ["own"]), `${lost}${why} Choose own to see it play beside base.`);
  assert.equal(alone(fell, true, ["own", "other"]), `${lost}${why} Choose an adapter to see it play beside base.`);
  assert.match(alone(held, false, []), /^base keeps the pole upright\. Reverse the motors to see/);
  assert.match(alone(held, true, []), /^base keeps the pole upright, although each push goes the other way\.$/);
  assert.equal(pair(null, null, false), "base and own are playing.");
  assert.equal(pair(fell, null, true), `${lost}.`);
  assert.equal(
    pair(fell, held, true),
    `${lost}${why} own keeps it upright: this adapter has learned to steer with reversed motors.`,
  );
  assert.equal(pair(fell, held, false), `${lost}. own keeps it upright.`);
  assert.match(
    pair(held, fell, false),
    /^base keeps the pole upright\. own lost the pole after 0\.2 s: it was not trained/,
  );
  assert.equal(pair(held, fell, true), "base keeps the pole upright. own lost the pole after 0.2 s.");
  assert.equal(pair(fell, fell, true), `${lost}. own lost the pole after 0.2 s.`);
  assert.match(pair(held, held, false), /^Both keep the pole upright\. Reverse/);
  assert.match(pair(held, held, true), /^Both keep the pole upright, although/);
});

test("a policy of the game is known by its tensors, not by its name", () => {
  const input = { name: "observation", datatype: "FP32", shape: [-1, 4] };
  const output = { name: "logits", datatype: "FP32", shape: [-1, 2] };
  const policy = { name: "any", inputs: [input], outputs: [{ ...output, name: "value", shape: [-1, 1] }, output] };
  assert.ok(isPolicyOfCartPole(policy));
  for (const wrong of [
    { ...policy, inputs: [{ ...input, shape: [-1, 8] }] },
    { ...policy, inputs: [input, input] },
    { ...policy, inputs: [{ ...input, name: "pixels" }] },
    { ...policy, outputs: [{ ...output, shape: [-1, 3] }] },
    { ...policy, inputs: [], outputs: [] },
  ]) {
    assert.ok(!isPolicyOfCartPole(wrong), JSON.stringify(wrong));
  }
});

test("numbers become a tensor of the model's shape, or the form says why not", () => {
  const spec = { name: "x", datatype: "FP32", shape: [-1, 2, -1] };
  assert.deepEqual(readTensor(spec, "[[1, -2.5e1], [0 .5]]"), { ...spec, shape: [2, 2, 1], data: [1, -25, 0, 0.5] });
  assert.deepEqual(readTensor(spec, " "), { ...spec, shape: [1, 2, 1], data: [0, 0] });
  assert.throws(() => readTensor(spec, "1 2 3"), /x has 3 values, which do not fill \[any, 2, any\]/);
  assert.throws(() => readTensor(spec, "1 two"), /x has "two", which is not a number/);
  assert.throws(() => readTensor({ ...spec, datatype: "INT64" }, "1 2.5"), /x has 2\.5; INT64 takes whole numbers/);
  const flags = { name: "flags", datatype: "BOOL", shape: [3] };
  assert.deepEqual(readTensor(flags, "true 0 False").data, [true, false, false]);
  assert.equal(shapeFor(flags, 2), null);
  assert.deepEqual(shapeFor({ ...spec, shape: [] }, 1), []);
});

test("an output is shown a row in a line, up to so many values, and the others are counted", () => {
  const output = (shape: readonly number[], data: readonly (number | boolean)[]) =>
    shownValues({ name: "y", datatype: "FP32", shape, data }, 4);
  const counted = Array.from({ length: 9 }, (_, i) => i);
  assert.equal(output([1, 9], counted), "0  1  2  3\nand 5 more");
  assert.equal(output([3, 3], counted), "0  1  2\n3\nand 5 more");
  assert.equal(output([2, 2], [1 / 3, true, -2, 0]), "0.33333  true\n-2  0");
  assert.equal(output([], [7]), "7");
  assert.equal(output([1, 0], []), "");
});

test("the ink of a drawing is found on black and on white paper", () => {
  const drawing = (ink: number, paper: number): number[] =>
    Array.from({ length: 4 * 64 }, (_, index) => {
      const [x, y] = [(index >> 2) % 8, index >> 5];
      return x >= 1 && x <= 3 && y >= 2 && y <= 6 && (x === 1 || y === 2) ? ink : paper;
    });
  const expected = {
    ...{ width: 3, height: 5 },
    ...{ x: (5 * 1.5 + 2.5 + 3.5) / 7, y: (3 * 2.5 + 3.5 + 4.5 + 5.5 + 6.5) / 7 },
  };
  assert.deepEqual(inkOf(drawing(255, 0), 8, true), expected);
  assert.deepEqual(inkOf(drawing(0, 255), 8, false), expected);
  assert.equal(inkOf(drawing(0, 0), 8, true), null);
});

test("an adapter's summary is the first sentence of its README's first paragraph", () => {
  const readme =
    "# plays\n\n![a chart](x.svg)\n\nMakes `bookworm-7m` write\nlike [Shakespeare](x). It was trained.\n\n| a |\n";
  assert.equal(summaryOf(readme), "Makes bookworm-7m write like Shakespeare.");
  assert.equal(summaryOf("Version 1.5 of it"), "Version 1.5 of it");
  for (const none of [null, "", "# a heading", "- a list\n\n```sh\na program\n```"])
    assert.equal(summaryOf(none), null);
  assert.equal(summaryOf("word ".repeat(100))?.length, 240);
});

test("a run's answers to held-out rows are read from its record, a few of them, whatever it holds", () => {
  const sample = { prompt: "valid/1.png", expected: "7", before: "1", after: "7" };
  const read = (samples: unknown) => readTraining({ results: { steps: 1, samples } })?.samples;
  const scoresOf = (tokenAccuracy: boolean) =>
    readTraining({ settings: { tokenAccuracy }, results: { validation_metrics: { accuracy: 0.95 } } })?.scores;
  assert.deepEqual(scoresOf(true), [{ name: "token_accuracy", before: null, after: 0.95 }]);
  assert.deepEqual(scoresOf(false), [{ name: "accuracy", before: null, after: 0.95 }]);
  assert.deepEqual(read([sample, 7]), [
    { row: "valid/1.png", expected: "7", before: "1", after: "7" },
    { row: "", expected: "", before: "", after: "" },
  ]);
  assert.deepEqual([read("x"), read(undefined), read(Array(100).fill(sample))?.length], [[], [], 8]);
});
