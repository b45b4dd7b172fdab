/** What an adapter's files say about it, whatever they hold. */
import assert from "node:assert/strict";
import { mkdtemp, readdir, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { readCard } from "../../src/adapter/card.js";
import { readTraining } from "../../web/adapters/training-record.js";
import { sectionOf, summaryOf } from "../../web/parts/summary.js";

const unsaid = { temperature: null, topP: null, maxTokens: null };

async function cardOf(files: Readonly<Record<string, string>>) {
  const folder = await mkdtemp(join(tmpdir(), "lorikeet-card-"));
  try {
    for (const [name, text] of Object.entries(files)) await writeFile(join(folder, name), text);
    return await readCard(folder);
  } finally {
    await rm(folder, { recursive: true });
  }
}

test("an embedded adapter has a readme, examples, labels, target modules, its training and its curves", async () => {
  const card = await readCard("adapters/sentiment");
  assert.match(card.readme ?? "", /^\n?# sentiment\n/);
  assert.ok(card.examples.length > 0 && card.examples.every(({ text }) => text?.endsWith("label:")));
  assert.deepEqual(card.labels, ["negative", "positive"]);
  assert.ok(card.targetModules.includes("q_proj"));
  assert.ok(card.training !== null && "results" in card.training);
  assert.match(card.chart ?? "", /^<svg /);
});

test("every shipped adapter says what it does and, but for one that plays a game, how to try it", async () => {
  const ownFolders = ["digits", "digits-efficientnet", "phrases", "policy", "scenes"].map(
    (base) => `models/${base}/adapters`,
  );
  for (const folder of ["adapters", ...ownFolders]) {
    for (const entry of await readdir(folder, { withFileTypes: true })) {
      if (!entry.isDirectory() || entry.name.startsWith(".")) continue;
      const { examples, readme } = await readCard(join(folder, entry.name));
      assert.ok(examples.length > 0 || folder.startsWith("models/policy"), entry.name);
      assert.doesNotMatch(summaryOf(readme) ?? "A LoRA adapter", /^A LoRA adapter/, entry.name);
    }
  }
});

test("a record that an author wrote is read as far as it can be shown, whatever it holds", () => {
  const picture = `data:image/png;base64,${Buffer.from("PNG").toString("base64")}`;
  const rows = [
    { input: picture, output: "7" },
    { input: "data:image/svg+xml;base64,UE5H", output: "no picture" },
    { input: "data:image/png;base64,UE5", output: "broken base64" },
    { input: 7, output: "8" },
    { input: "x".repeat(5000), output: "long" },
  ];
  const origin = { data: "Books.", license: 7, commands: ["a", 7, "b"], rows };
  const read = readTraining({
    origin,
    command: "npx lorikeet train",
    test: { rows: 500, unit: "reviews", base_metrics: null, metrics: { accuracy: 0.5, f1: "high" } },
    data: { validation_rows: 0 },
  });
  assert.deepEqual(read?.origin, {
    ...{ data: "Books.", license: null, recipe: null, commands: ["a", "b"], withheld: null },
    rows: [
      { input: picture, isPicture: true, output: "7" },
      ...rows.slice(1, 3).map(({ input, output }) => ({ input, isPicture: false, output })),
    ],
  });
  assert.deepEqual(read.test, {
    ...{ rows: 500, unit: "reviews" },
    scores: [{ name: "accuracy", before: null, after: 0.5 }],
  });
  for (const training of [null, 7, "x", [], {}, { origin: [], test: { metrics: 7 }, command: {} }]) {
    assert.equal(readTraining(training), null);
  }
});

test("a section of a README is the text below its heading", () => {
  const readme = "# A\n\n## Use\r\n\n```sh\ncurl\n```\n\n### More\n\n## Data\n\nRows";
  assert.equal(sectionOf(readme, "Use"), "```sh\ncurl\n```\n\n### More");
  assert.equal(sectionOf(readme, "Data"), "Rows");
  for (const none of [null, "", "## Use", "## Users\n\nx"]) assert.equal(sectionOf(none, "Use"), null);
});

test("an example may be a picture of the folder, within a bound on all of them", async () => {
  const picture = (name: string, title: string) => `- example_title: ${title}\n  src: ${name}\n`;
  const widget = [
    picture("example.png", "One"),
    picture("../example.png", "Elsewhere"),
    picture("picture.png", "Not kept"),
    picture("example-2.jpg", "Missing"),
    picture("example-3.webp", "Large"),
    picture("example-4.webp", "Too much"),
  ];
  const { examples } = await cardOf({
    "README.md": `---\nwidget:\n${widget.join("")}---\n`,
    "example.png": "PNG",
    "picture.png": "PNG",
    "example-3.webp": "x".repeat(2 ** 19 - 3),
    "example-4.webp": "x",
  });
  const shown = examples.map(({ title, text, picture }) => [title, text, picture?.slice(0, 26)]);
  assert.deepEqual(shown, [
    ["One", null, "data:image/png;base64,UE5H"],
    ["Large", null, "data:image/webp;base64,eHh"],
  ]);
});

test("a bare adapter has an empty card", async () => {
  const empty = { readme: null, examples: [], labels: [], targetModules: [], training: null, chart: null };
  assert.deepEqual(await cardOf({ "adapter_config.json": "{}" }), empty);
});

test("front matter that is not YAML, or is hostile, gives no examples and keeps the readme", async () => {
  const bomb = `a: &a [x]\nwidget: [${"*a,".repeat(50)}*a]`;
  for (const matter of ["[", "widget: 7", "widget: [1, {text: 2}, {text: ''}]", bomb, `x: ${"y".repeat(20_000)}`]) {
    const card = await cardOf({ "README.md": `---\n${matter}\n---\nText` });
    assert.deepEqual([card.examples, card.readme], [[], "Text"], matter.slice(0, 40));
  }
  const long = "x".repeat(5_000);
  const { examples } = await cardOf({ "README.md": `---\nwidget:\n- text: ${long}\n- text: ok\n---\n` });
  assert.deepEqual(examples, [{ title: null, text: "ok", picture: null, sampling: unsaid }]);
});

test("examples are read whatever stands beside them, in each spelling of a list", async () => {
  const lists = [
    "widget:\n- text: one\n- text: two",
    "tags:\n- '['\nwidget: # to try\n  - text: one\n  # a comment\n  - { text: two }\nlicense: mit",
    "widget: [{ text: one }, { text: two }]",
    `widget:\n- text: one\n- ${"]".repeat(300)}\n- text: |\n    two\n`,
    "a: [\n%b\n'widget':\n-\n  text: one\n- text: 'two'",
  ];
  for (const matter of lists) {
    for (const readme of [`---\n${matter}\n---`, `\uFEFF---\r\n${matter}\r\n---\r\n`]) {
      const { examples } = await cardOf({ "README.md": readme });
      assert.deepEqual(
        examples.map(({ text }) => text?.trim()),
        ["one", "two"],
        matter,
      );
    }
  }
});

test("front matter that a parser would take long over is not parsed, and none of it reaches the log", async () => {
  const warnings: Error[] = [];
  const hear = (warning: Error): number => warnings.push(warning);
  process.on("warning", hear);
  for (const bad of ["]", "\tx: ]\n", "%a\n", "a: b: c\n", "["]) {
    const many = bad.repeat(Math.floor(7_000 / bad.length));
    const { examples } = await cardOf({ "README.md": `---\n${many}\nwidget:\n- text: ok\n- ${many}\n---\n` });
    assert.deepEqual(
      examples.map(({ text }) => text),
      ["ok"],
      bad,
    );
  }
  const { examples } = await cardOf({ "README.md": "---\nwidget:\n- %a\n- text: ok\n- !what {text: ok}\n---\n" });
  await new Promise(setImmediate);
  process.off("warning", hear);
  assert.ok(examples.length > 0);
  assert.deepEqual(warnings, []);
});

test("a record nested beyond any use is left out", async () => {
  const nested = (depth: number): string => `{"a":${"[".repeat(depth)}${"]".repeat(depth)}}`;
  assert.notEqual((await cardOf({ "lorikeet.json": nested(20) })).training, null);
  for (const text of [nested(100_000), `${'{"a":'.repeat(20_000)}1${"}".repeat(20_000)}`]) {
    assert.equal((await cardOf({ "lorikeet.json": text })).training, null);
  }
});

test("an example may say how it is sampled; what no request could ask for is left out", async () => {
  const parameters = [
    "{ temperature: 0, top_p: 0.5, max_new_tokens: 40 }",
    "{ temperature: -1, top_p: 2, max_new_tokens: 1.5 }",
    "{ temperature: .nan, top_p: hot, max_new_tokens: .inf }",
    "7",
  ];
  const widget = parameters.map((each) => `- text: x\n  parameters: ${each}\n`).join("");
  const { examples } = await cardOf({ "README.md": `---\nwidget:\n${widget}---\n` });
  assert.deepEqual(
    examples.map(({ sampling }) => sampling),
    [{ temperature: 0, topP: 0.5, maxTokens: 40 }, unsaid, unsaid, unsaid],
  );
});

test("of a README that is too long, the beginning is shown", async () => {
  const first = "It answers in verse.";
  const { readme } = await cardOf({ "README.md": `${first}\n\n${"€".repeat(2 ** 17)}` });
  assert.ok(readme?.startsWith(first));
  assert.match(readme ?? "", /€\n\n\*The rest of this README is too long/);
});

test("broken, huge and linked files are left out", async () => {
  const files = {
    "lorikeet.json": `"${"x".repeat(2 ** 18)}"`,
    "labels.json": "[1]",
    "adapter_config.json": "7",
  };
  const card = await cardOf(files);
  assert.deepEqual([card.readme, card.training, card.labels, card.targetModules], [null, null, [], []]);
  const folder = await mkdtemp(join(tmpdir(), "lorikeet-card-"));
  await symlink("/etc/hostname", join(folder, "README.md"));
  assert.equal((await readCard(folder)).readme, null);
  await rm(folder, { recursive: true });
});
