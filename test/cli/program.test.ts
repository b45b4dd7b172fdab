/** The command as it is typed: help, versions, wrong words, and `inspect`. */

import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { flagName } from "../../src/cli/options/names.js";
import { serveOptions } from "../../src/cli/serve/options.js";
import { keysOf } from "../support/printed-json.js";
import { commandOf } from "../support/process.js";
import { runHere as run } from "../support/program.js";

test("help and version go to stdout and end with 0; no command shows help and ends with 2", async () => {
  const help = await run(["--help"]);
  assert.equal(help.code, 0);
  for (const command of ["serve", "generate", "inspect", "adapters"])
    assert.match(help.out, new RegExp(`^ {2}${command} `, "m"));
  const version = await run(["--version"]);
  assert.deepEqual([version.code, version.err], [0, ""]);
  assert.match(version.out, /^\d+\.\d+\.\d+\n$/);
  assert.equal((await run([])).code, 2);
});

test("both files that npx may have linked start the program", { skip: import.meta.url.endsWith(".ts") }, () => {
  for (const name of ["lorikeet.cjs", "main.js"]) {
    const file = fileURLToPath(new URL(`../../src/cli/${name}`, import.meta.url));
    const { status, stdout } = spawnSync(file, ["--version"], { encoding: "utf8" });
    assert.match(stdout, /^\d+\.\d+\.\d+\n$/, name);
    assert.equal(status, 0);
  }
});

test("the largest command loads with few file handles", { skip: process.platform === "win32" }, () => {
  const limited = ["-c", 'ulimit -n 192; exec "$@"', "sh", ...commandOf(["serve", "--help"])];
  const { status, stderr } = spawnSync("sh", limited, { encoding: "utf8" });
  assert.deepEqual([status, stderr], [0, ""]);
});

test("a usage error names the help of the command that was called", async () => {
  for (const [args, help] of [
    [["srve"], "lorikeet --help"],
    [["pull"], "lorikeet pull --help"],
    [["train", "--lr", "3"], "lorikeet train --help"],
    [["adapters", "add", "plays"], "lorikeet adapters add --help"],
  ] as const) {
    const { code, err } = await run([...args]);
    assert.equal(code, 2);
    assert.ok(err.endsWith(`(see ${help})\n`), err);
  }
});

test("help ends with the options of no group, and its example is an option of the command", async () => {
  for (const command of ["serve", "train", "merge"]) {
    const { out } = await run([command, "--help"]);
    assert.equal(out.match(/^[A-Z]\w*:$/gm)?.at(-1), "Options:");
    const flag = /variable \(LORIKEET_\w+ for (--[\w-]+)\)/.exec(out)?.[1];
    assert.match(out, new RegExp(`^ {2}${flag} `, "m"));
  }
});

test("the help of serve shows every option with its default", async () => {
  const { code, out } = await run(["serve", "--help"]);
  const words = out.replace(/\s+/g, " ");
  assert.equal(code, 0);
  for (const [name, { shown }] of Object.entries(serveOptions)) {
    assert.ok(words.includes(`--${flagName(name)} `), name);
    assert.ok(words.includes(`(default: ${shown})`), `${name}: ${shown}`);
  }
});

test("a wrong command, option or count of arguments is one line on stderr and exit code 2", async () => {
  for (const args of [["fly"], ["inspect"], ["inspect", "a", "--jsn"], ["inspect", "a", "b"], ["inspect", "/"]]) {
    const { code, out, err } = await run(args);
    assert.deepEqual([code, out], [2, ""], args.join(" "));
    assert.match(err, /^lorikeet: [^\n]+\n$/, args.join(" "));
  }
});

test("inspect describes an adapter folder, alone and against its base", async () => {
  for (const base of [[], ["--model", "models/bookworm-7m"]]) {
    const { code, out } = await run(["inspect", "adapters/plays", ...base]);
    assert.equal(code, 0);
    assert.match(out, /^rank +up to 8$/m);
    assert.match(out, /^model\.layers\.\*\.mlp\.down_proj +linear +8 +8 +16 +2 +768 +256 +BF16$/m);
  }
  const wrong = await run(["inspect", "adapters/plays", "--model", "test/fixtures/oracle/llama"]);
  assert.equal(wrong.code, 5);
  assert.match(wrong.err, /^lorikeet: /);
});

test("JSON of every command has snake_case keys only", async (t) => {
  const folder = mkdtempSync(join(tmpdir(), "lorikeet-json-"));
  t.after(() => rmSync(folder, { recursive: true }));
  const data = join(folder, "row.jsonl");
  writeFileSync(data, JSON.stringify({ prompt: "a", completion: "b" }));
  const adapters = join(folder, "adapters");
  mkdirSync(adapters);
  const model = ["--model", "models/bookworm-7m"];
  const store = ["--adapters", adapters, ...model];
  for (const [args, expected] of [
    [
      ["inspect", "models/bookworm-7m"],
      ["weights.float32_bytes", "config.layers.is_parallel"],
    ],
    [
      ["inspect", "adapters/plays", ...model],
      ["summary.weights_digest", "modules.in_features"],
    ],
    [
      ["adapters", "add", "plays", "adapters/plays", ...store],
      ["active_bytes", "outcome"],
    ],
    [["adapters", "list", ...store], ["adapters.created_at"]],
    [["adapters", "verify", ...store], ["error"]],
    [["adapters", "remove", "plays", ...store], ["digest"]],
    [["eval", ...model, "--data", data], ["device.memory_bytes"]],
    [["generate", ...model, "--max-tokens", "1", "a"], ["choices.finish_reason"]],
    [["train", ...model, "--data", data, "--dry-run"], ["base_dtype"]],
  ] as const) {
    const { code, out, err } = await run([...args, "--json"]);
    assert.equal(code, 0, err);
    const keys = keysOf(JSON.parse(out));
    for (const key of expected) assert.ok(keys.includes(key), `${args.join(" ")}: ${key} is missing in ${keys}`);
    assert.deepEqual(
      keys.filter((key) => /[A-Z]/.test(key.replace("weights.dtypes.BF16", ""))),
      [],
      args.join(" "),
    );
  }
});

test("eval names its adapter as it was given, with the digest that inspect shows", async (t) => {
  const folder = mkdtempSync(join(tmpdir(), "lorikeet-eval-"));
  t.after(() => rmSync(folder, { recursive: true }));
  const data = join(folder, "row.jsonl");
  writeFileSync(data, JSON.stringify({ prompt: "a", completion: "b" }));
  const { out: inspected } = await run(["inspect", "adapters/plays"]);
  const where = ["--model", "models/bookworm-7m", "--adapter", "adapters/plays", "--data", data];
  const { out: evaluated } = await run(["eval", ...where]);
  const [, digest = "none"] = /^weights digest +(sha256:\w+)$/m.exec(inspected) ?? [];
  assert.match(evaluated, new RegExp(`^adapter +adapters/plays, weights digest ${digest}$`, "m"));
});

test("inspect says that a folder holds neither a model nor an adapter", async () => {
  const folder = mkdtempSync(join(tmpdir(), "lorikeet-inspect-"));
  try {
    const bare = await run(["inspect", folder]);
    assert.equal(bare.code, 2);
    assert.match(
      bare.err,
      /is neither a model folder \(config\.json\) nor an adapter folder \(adapter_config\.json\)\.\n$/,
    );
    writeFileSync(join(folder, "model-q4.gguf"), "GGUF");
    assert.match((await run(["inspect", folder])).err, /model-q4\.gguf is a GGUF file, which is not supported/);
    const missing = await run(["inspect", join(folder, "nothing")]);
    assert.equal(missing.code, 2);
    assert.match(missing.err, /must be a folder; .*nothing does not exist\.\n$/);
    const file = await run(["inspect", join(folder, "model-q4.gguf")]);
    assert.match(file.err, /model-q4\.gguf is a file: GGUF is not supported/);
  } finally {
    rmSync(folder, { recursive: true });
  }
});

test("generate answers an empty prompt, and one that is too long for the model with exit code 2", async () => {
  const generate = ["generate", "--model", "models/bookworm-7m", "--threads", "1", "--temperature", "0"];
  const empty = await run([...generate, "--max-tokens", "2", ""]);
  assert.deepEqual([empty.code, empty.err.includes("lorikeet:")], [0, false], empty.err);
  const long = await run([...generate, "--max-tokens", "5000", "It was"]);
  assert.equal(long.code, 2);
  assert.match(long.err, /1024/);
});

test("inspect says when an adapter names another base", async () => {
  const folder = mkdtempSync(join(tmpdir(), "lorikeet-inspect-"));
  try {
    cpSync("adapters/plays", folder, { recursive: true });
    const file = join(folder, "adapter_config.json");
    const ofBase = async (name: string): Promise<string> => {
      writeFileSync(file, JSON.stringify({ ...JSON.parse(readFileSync(file, "utf8")), base_model_name_or_path: name }));
      return (await run(["inspect", folder, "--model", "models/bookworm-7m"])).out;
    };
    assert.match(
      await ofBase("org/other-7m"),
      /^warning +The adapter names "org\/other-7m" as its base.*"bookworm-7m"/m,
    );
    assert.doesNotMatch(await ofBase("somebody/Bookworm-7M"), /warning/);
  } finally {
    rmSync(folder, { recursive: true });
  }
});

test("inspect shows a chat rendered with the template, or why it cannot", async () => {
  const own = await run(["inspect", "models/bookworm-7m"]);
  assert.match(own.out, /^chats +rendered, with or without a system message$/m);
  assert.ok(own.out.includes("<|im_start|>user\nSay one word.<|im_end|>\n<|im_start|>assistant\n"));
  const folder = mkdtempSync(join(tmpdir(), "lorikeet-inspect-"));
  try {
    const given = async (template: string) => {
      const file = join(folder, "chat.jinja");
      writeFileSync(file, template);
      const { code, out } = await run(["inspect", "models/bookworm-7m", "--chat-template", file, "--json"]);
      assert.equal(code, 0);
      return JSON.parse(out).sample_chat;
    };
    const strict =
      "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system') }}{% endif %}{{ messages[0]['content'] }}";
    const refused = await given(strict);
    assert.equal(refused.text, "Hello.");
    assert.match(refused.system_refusal, /no system/);
    const broken = await given("{% if %}");
    assert.deepEqual([broken.text, broken.system_refusal], [null, null]);
    assert.match(broken.reason, /chat template .* cannot be/);
    assert.match((await given("{{ messages | nosuch }}")).reason, /chat template .* cannot be/);
  } finally {
    rmSync(folder, { recursive: true });
  }
  const bare = await run(["inspect", "test/fixtures/oracle/llama"]);
  assert.match(bare.out, /^chats +none: The model has no tokenizer\.json/m);
});

test("inspect describes a model folder, as a table and as JSON", async () => {
  const table = await run(["inspect", "models/bookworm-7m"]);
  assert.equal(table.code, 0);
  assert.match(table.out, /^family +llama$/m);
  assert.match(table.out, /^parameters +7\.3 M \(7,344,384\)$/m);
  const json: unknown = JSON.parse((await run(["inspect", "models/bookworm-7m", "--json"])).out);
  assert.ok(typeof json === "object" && json !== null && "parameters" in json);
  assert.equal(json.parameters, 7_344_384);
});

test("impossible arguments are one line on stderr and exit code 2, before anything is loaded", async () => {
  const cases: [args: string[], pattern: RegExp, environment?: Record<string, string>][] = [
    [["serve"], /--model <model> is required/],
    [["serve", "--model", "nowhere"], /--model must be a folder, or a model's name \(org\/name\); nowhere is neither/],
    [
      ["serve", "--model", "models/bookworm-7m", "--port", "http"],
      /--port must be a whole number from 0 to 65535, not "http"/,
    ],
    [["serve", "--model", "models/bookworm-7m"], /LORIKEET_THREADS must be/, { LORIKEET_THREADS: "many" }],
    [["serve", "--model", "models/bookworm-7m", "--max-context", "4096"], /--max-context 4096 is more than the 1024/],
    [
      ["serve", "--model", "models/bookworm-7m", "--max-context", "1024", "--kv-bytes", "1M"],
      /need 129 MiB.*allows 1 MiB/,
    ],
    [
      ["generate", "--model", "models/bookworm-7m", "--temperature", "9", "x"],
      /--temperature must be a number from 0 to 2/,
    ],
    [["adapters", "list", "--url", "ftp://x"], /--url must be an address/],
    [
      ["adapters", "list", "--url", "http://localhost:80800/"],
      /--url must be an address with a port from 1 to 65535, not "http:.*80800/,
    ],
    [["adapters", "list", "--url", "http://localhost:0"], /--url must be an address with a port from 1 to 65535, not/],
    [
      ["adapters", "list", "--url", "http://me:secret@localhost:8080"],
      /--url must be an address without user name and password/,
    ],
    [["adapters", "add", "x", "adapters/plays", "--adapters", "test"], /--model <model> is required/],
  ];
  for (const [args, pattern, environment] of cases) {
    const { code, err } = await run(args, { LORIKEET_PORT: "0", ...environment });
    assert.equal(code, 2, `${args.join(" ")}: ${err}`);
    assert.match(err, pattern);
    assert.match(err, /^lorikeet: [^\n]+\n$/);
  }
});

test("a port that Node.js blocks for HTTP requests is named", async () => {
  const { code, err } = await run(["adapters", "list", "--url", "http://127.0.0.1:6667"]);
  assert.equal(code, 9);
  assert.match(err, /http:\/\/127\.0\.0\.1:6667 cannot be reached: port 6667 belongs to another protocol/);
});
