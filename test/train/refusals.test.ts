/** What `train`, `eval` and `merge` refuse: by the name of the option, with what was found, and without leaving anything on disk. */
import assert from "node:assert/strict";
import { once } from "node:events";
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { runHere } from "../support/program.js";
import { writeTinyModel } from "../support/tiny-model.js";

const folder = mkdtempSync(join(tmpdir(), "lorikeet-refusals-"));
after(() => rmSync(folder, { recursive: true, force: true }));
const base = join(folder, "tiny");
before(() => writeTinyModel(base, "F32"));

const write = (name: string, rows: readonly object[]): string => {
  const path = join(folder, name);
  writeFileSync(path, rows.map((row) => `${JSON.stringify(row)}\n`).join(""));
  return path;
};
const rows = write(
  "rows.jsonl",
  Array.from({ length: 12 }, (_, i) => ({ prompt: `Say ${i}:`, completion: ` it is ${i}.` })),
);
const pairs = write(
  "pairs.jsonl",
  Array.from({ length: 12 }, (_, i) => ({ prompt: `Item ${i}`, chosen: " good", rejected: " bad" })),
);
const common = ["--cache-dir", join(folder, "cache"), "--max-length", "48", "--batch-size", "2", "--threads", "1"];
const train = (...args: string[]) => runHere(["train", "--model", base, ...common, ...args]);
const adapters = join(folder, "adapters");
const out = join(adapters, "new");

test("all missing options are reported together", async () => {
  for (const [command, names] of [
    ["train", ["--model", "--data", "--output-dir"]],
    ["eval", ["--model", "--data"]],
    ["merge", ["--model", "--adapter", "--output-dir"]],
  ] as const) {
    const { code, err } = await runHere([command]);
    assert.equal(code, 2);
    for (const name of names) assert.ok(err.includes(`${name} <`), `${command}: ${err}`);
  }
});

test("a finished run whose record has no paths needs --model and --data to continue", async () => {
  const ended = join(folder, "ended");
  mkdirSync(ended, { recursive: true });
  writeFileSync(join(ended, "lorikeet.json"), JSON.stringify({ settings: { maxSteps: 2 } }));
  for (const [args, missing] of [
    [[], "--model and --data"],
    [["--model", base], "--data"],
  ] as const) {
    const { code, err } = await runHere(["train", "--resume", "--output-dir", ended, "--max-steps", "4", ...args]);
    assert.equal(code, 2, err);
    assert.ok(err.includes(`its result does not record the paths of model and data: give ${missing} again.`), err);
  }
  rmSync(ended, { recursive: true });
});

test("conflicting options are refused, also by a dry run", async () => {
  for (const [args, fault] of [
    [["--data", pairs, "--method", "dpo", "--packing"], /--packing does not work with --method dpo/],
    [["--data", rows, "--publish", "nowhere"], /--publish must be an address such as http:.*, not "nowhere"/],
    [["--data", rows, "--publish", "http://localhost:1", "--output-dir", join(adapters, "no name!")], /no name!/],
    [["--data", rows, "--label-template", "{text}"], /--label-template must hold .*, not "\{text\}"/],
  ] as const) {
    for (const more of [["--output-dir", out], ["--dry-run"]]) {
      const { code, err } = await train(...more, ...args);
      assert.equal(code, 2, `${args.join(" ")}: ${err}`);
      assert.match(err, fault);
    }
  }
});

test("a run that is refused leaves no folder behind", async () => {
  for (const data of [join(folder, "missing.jsonl"), pairs]) {
    const { code, err } = await train("--data", data, "--output-dir", out);
    assert.equal(code, 4, err);
  }
  assert.ok(!existsSync(adapters), "neither the result's folder nor the run's");
});

test("data without a training file lists its files, and an impossible output folder is refused", async () => {
  const data = join(folder, "dev-only");
  mkdirSync(data);
  writeFileSync(join(data, "dev.jsonl"), readFileSync(rows));
  const { code, err } = await train("--data", data, "--output-dir", out);
  assert.equal(code, 4, err);
  assert.match(err, /The data has no file for training, only dev\.jsonl for valid: name the training file train/);
  if (process.platform !== "linux") return;
  const nowhere = await train("--data", rows, "--output-dir", "/proc/none/x");
  assert.equal(nowhere.code, 2, nowhere.err);
  assert.match(nowhere.err, /\/proc accepts no new folders/);
});

test("an adapter that is trained further keeps its shape, and its record says so", async () => {
  const settings = [
    "--data",
    rows,
    "--max-steps",
    "1",
    "--lora-r",
    "4",
    "--lora-alpha",
    "6",
    "--target-modules",
    "q_proj,v_proj",
  ];
  const first = join(folder, "made", "first");
  assert.equal((await train(...settings, "--output-dir", first)).code, 0);
  const further = (name: string, ...args: string[]) =>
    train(
      "--data",
      rows,
      "--max-steps",
      "1",
      "--init-from",
      first,
      "--output-dir",
      join(folder, "made", name),
      ...args,
    );
  const wrong = await further("never", "--lora-r", "8", "--use-rslora", "--target-modules", "k_proj");
  assert.equal(wrong.code, 2);
  assert.match(wrong.err, /--lora-r is 8, but the adapter of --init-from keeps its own: 4\./);
  assert.match(wrong.err, /--use-rslora is true.*--target-modules is k_proj/);
  for (const [name, same] of [
    ["plain", []],
    ["said", ["--lora-r", "4", "--target-modules", "v_proj,q_proj"]],
  ] as const) {
    const { code, err } = await further(name, ...same);
    assert.equal(code, 0, err);
    const { settings: kept } = JSON.parse(readFileSync(join(folder, "made", name, "lorikeet.json"), "utf8"));
    assert.deepEqual([kept.loraR, kept.loraAlpha, kept.useRslora], [4, 6, false]);
    const config = JSON.parse(readFileSync(join(folder, "made", name, "adapter_config.json"), "utf8"));
    assert.deepEqual([...kept.targetModules].sort(), [...config.target_modules].sort());
  }
  const card = readFileSync(join(folder, "made", "first", "README.md"), "utf8");
  assert.match(
    card,
    /\| 1 validation rows \| loss \| perplexity \|\n.*\n\| before \| \d\.\d{4} \| .*\n\| last and best \(step 1, kept\) \| \d\.\d{4} \| /,
  );
  const { command } = JSON.parse(readFileSync(join(folder, "made", "first", "lorikeet.json"), "utf8"));
  assert.ok(card.includes(command), command);
  const [program, verb, ...words] = command.replaceAll("\\\n", "").split(/ +/).slice(1);
  assert.deepEqual([program, verb], ["lorikeet", "train"]);
  const paths: Record<string, string> = { model: base, data: rows, "output-dir": join(folder, "made", "again") };
  const args = words.map((word: string, i: number) => paths[words[i - 1]?.slice(2)] ?? word);
  const { code, err } = await runHere(["train", ...args, "--cache-dir", join(folder, "cache"), "--threads", "1"]);
  assert.equal(code, 0, err);
  const weights = (name: string): Buffer => readFileSync(join(folder, "made", name, "adapter_model.safetensors"));
  assert.ok(weights("again").equals(weights("first")), "the card's command makes the same bytes");
});

test("a failed publish loses nothing: the result is saved and reported, and can be published later", async () => {
  const server = createServer((request, response) => {
    request.resume().on("end", () => {
      response.writeHead(507, { "content-type": "application/json" });
      response.end(
        JSON.stringify({ error: { message: "The disk of the adapters folder is full.", code: "store_full" } }),
      );
    });
  }).listen(0, "127.0.0.1");
  await once(server, "listening");
  const address = server.address();
  assert.ok(typeof address === "object" && address !== null);
  const url = `http://127.0.0.1:${address.port}`;
  const publish = (name: string) =>
    train("--data", rows, "--max-steps", "1", "--output-dir", join(folder, "made", name), "--publish", url, "--json");
  const refused = await publish("refused");
  server.close();
  await once(server, "close");
  const down = await publish("down");
  for (const [name, { code, out, err }, reason] of [
    ["refused", refused, /answered 507: The disk of the adapters folder is full\./],
    ["down", down, /does not answer \(ECONNREFUSED\)/],
  ] as const) {
    assert.equal(code, 9);
    assert.match(err, /saved .*\n(.*\n)*.*The adapter is saved but not published: /);
    assert.match(err, reason);
    const target = join(folder, "made", name);
    assert.ok(err.includes(`lorikeet adapters add "${name}" "${target}" --url ${url}`), err);
    const results = JSON.parse(out);
    assert.deepEqual([results.steps, results.output_dir, results.published], [1, target, null]);
    assert.ok(existsSync(join(target, "adapter_model.safetensors")));
  }
});

test("a run that never improves on its start says so", async () => {
  const nothing = ["--max-steps", "2", "--learning-rate", "1e-12", "--lora-alpha", "1e-6"];
  const { code, err } = await train("--data", rows, ...nothing, "--output-dir", join(folder, "made", "nothing"));
  assert.equal(code, 0, err);
  assert.match(err, /warning: no validation improved on the one before the first step: .*lower --learning-rate/);
});

test("--overwrite replaces the output of a run or a merge, and nothing else", async () => {
  const own = join(folder, "own");
  mkdirSync(own);
  writeFileSync(join(own, "letter.txt"), "Dear");
  const adapter = join(folder, "made", "first");
  const merge = (out: string) =>
    runHere(["merge", "--model", base, "--adapter", adapter, "--output-dir", out, "--overwrite"]);
  for (const out of [own, join(own, "letter.txt")]) {
    const trained = await train("--data", rows, "--max-steps", "1", "--output-dir", out, "--overwrite");
    assert.deepEqual([trained.code, /is not the result of a run/.test(trained.err)], [1, true], trained.err);
    const merged = await merge(out);
    assert.deepEqual([merged.code, /is not a checkpoint/.test(merged.err)], [1, true], merged.err);
  }
  assert.equal(readFileSync(join(own, "letter.txt"), "utf8"), "Dear");
  assert.deepEqual(readdirSync(own), ["letter.txt"]);
  for (let i = 0; i < 2; i++) assert.equal((await merge(join(folder, "merged"))).code, 0);
  const inFile = await train("--data", rows, "--max-steps", "1", "--output-dir", join(own, "letter.txt", "new"));
  assert.deepEqual([inFile.code, inFile.err.split("\n").length], [1, 2], inFile.err);
});
