/** What users see first on the command line: log lines, suggestions, names, exit codes, and faults reported before anything is opened. */

import assert from "node:assert/strict";
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { LorikeetError } from "../../src/base/errors.js";
import { nearest } from "../../src/base/nearest.js";
import { createLogger } from "../../src/cli/log/logging.js";
import { formatLine } from "../../src/cli/log/text.js";
import { strangeVariables } from "../../src/cli/options/environment.js";
import { headNotes, noTokenizerNote } from "../../src/cli/tokenizer-note.js";
import { exitCodeOf, exitCodes, RemoteError, UsageError } from "../../src/cli/usage.js";
import { openCheckpoint } from "../../src/model/checkpoint/open.js";
import { killAll, start } from "../support/process.js";
import { runHere as run } from "../support/program.js";

const model = "models/bookworm-7m";
let folder: string;
before(() => {
  folder = mkdtempSync(join(tmpdir(), "lorikeet-clear-"));
});
after(() => {
  killAll();
  rmSync(folder, { recursive: true, force: true });
});

test("a log line for people has the time, the message and its fields, on one line whatever clients send", () => {
  const line = (fields: object) =>
    formatLine(`${JSON.stringify({ time: "2026-01-02T03:04:05.678Z", ...fields })}\n`).slice(9);
  assert.match(formatLine('{"level":"info","time":"2026-01-02T03:04:05.678Z","msg":"x"}\n'), /^\d\d:04:05 x\n$/);
  const asked = { level: "info", requestId: "r1", method: "POST", path: "/v1/completions", status: 200, ms: 35 };
  assert.equal(
    line({ ...asked, model: "plays", msg: "request" }),
    "POST /v1/completions 200 35 ms  requestId=r1  model=plays\n",
  );
  assert.equal(
    line({ level: "warn", msg: "odd", names: ["a", "b"], none: [], deep: { a: 1 } }),
    'WARN odd  names=["a","b"]\n',
  );
  assert.equal(line({ level: "info", msg: "a\u001b[2Jb\nc", who: "x y" }), 'a\\u001b[2Jb\\u000ac  who="x y"\n');
  assert.equal(
    line({ level: "info", msg: "request", method: "GET", path: "/\u0085", body: { a: "\n" } }),
    'GET /\\u0085  body={"a":"\\n"}\n',
  );
  assert.match(
    line({ level: "error", msg: "m", err: { message: "no", stack: "Error: no\n    at f" } }),
    /^ERROR m\n {2}Error: no\n {6}at f\n$/,
  );
});

test("the logger writes JSON, or text on request", () => {
  const written: string[] = [];
  const queue = { write: (text: string) => void written.push(text) };
  createLogger("info", queue).info({ a: 1 }, "hello");
  createLogger("info", queue, { isText: true, secrets: ["sk-1"] }).info({ a: "sk-1" }, "hello");
  assert.equal(JSON.parse(written[0] ?? "").msg, "hello");
  assert.match(written[1] ?? "", /^\d\d:\d\d:\d\d hello {2}a=\[key\]\n$/);
});

test("the nearest name is suggested despite a few typos, and none if nothing is near", () => {
  const names = ["max-batch", "max-context", "model", "host"];
  for (const [word, found] of [
    ["max_batch", "max-batch"],
    ["MAX-BATCH", "max-batch"],
    ["max-bach", "max-batch"],
    ["max-contxet", "max-context"],
    ["modle", "model"],
    ["mdeol", null],
    ["mode", "model"],
    ["fly", null],
    ["", null],
  ] as const) {
    assert.equal(nearest(word, names), found, word);
  }
});

test("a misspelled key of a config file or a misspelled variable gets a suggestion", async () => {
  const path = join(folder, "config.yaml");
  writeFileSync(path, "max_batch: 4\nfly: 1\n");
  const { code, err } = await run(["serve", "--config", path]);
  assert.equal(code, 2);
  assert.match(
    err,
    /"max_batch" in .* is not an option: did you mean "max-batch"\? "fly" in .* is not an option: its keys/,
  );
  const names = ["maxBatch", "model"];
  const environment = {
    ...{ LORIKEET_MAX_BATHC: "4", LORIKEET_MODEL: "x", LORIKEET_CONFIG: "y", LORIKEET_API_KEYS: "z", OTHER: "1" },
    ...{ LORIKEET_SERVICE_HOST: "10.0.0.1", LORIKEET_PORT_8080_TCP_ADDR: "10.0.0.1", LORIKEET_SERVICE_PORT_HTTP: "1" },
    ...{ LORIKEET_FLYING_SAUCER: "1" },
  };
  assert.deepEqual(strangeVariables(environment, names), [
    "LORIKEET_MAX_BATHC is not an option: did you mean LORIKEET_MAX_BATCH?",
    "LORIKEET_FLYING_SAUCER is not an option: no command reads it",
  ]);
  const warned = await run(["--version"], { LORIKEET_MAX_BATHC: "4" });
  assert.equal(warned.code, 0);
  assert.match(warned.err, /^lorikeet: warning: LORIKEET_MAX_BATHC .*LORIKEET_MAX_BATCH\?\n$/);
});

test("a misspelled option names the nearest, and a stray value says where values belong", async () => {
  assert.match(
    (await run(["serve", "--max-bach", "4"])).err,
    /unknown option '--max-bach' \(Did you mean --max-batch\?\)/,
  );
  assert.match((await run(["train", model])).err, /Values belong to options, such as --model <model>/);
});

test("serve refuses impossible settings before it opens its port", async () => {
  const file = join(folder, "file");
  writeFileSync(file, "");
  writeFileSync(join(folder, "m.gguf"), "GGUF");
  for (const [args, words] of [
    [[], /--model <model> is required/],
    [["--model", join(folder, "absent")], /--model must be a folder; .* does not exist/],
    [
      ["--model", "Qwen/Qwen3-0.6B"],
      /Qwen\/Qwen3-0\.6B is missing or incomplete in the Hugging Face cache, and HF_HUB_OFFLINE is set/,
    ],
    [["--model", join(folder, "m.gguf")], /GGUF/],
    [[folder], /holds no config.json/],
    [[model, "--model", "other"], /given twice/],
    [[model, "--adapters", file], /--adapters must be a folder/],
    [
      [model, "--lora-path-root", join(folder, "absent"), "--adapters", "adapters"],
      /--lora-path-root must be a folder/,
    ],
    [[model, "--lora-path-root", "adapters"], /needs --adapters/],
    [[model, "--chat-template", join(folder, "absent")], /--chat-template must be a file/],
    [[model, "--chat-template", folder], /--chat-template must be a file; .* is a folder/],
    [[model, "--cache-dir", file], /--cache-dir must be a folder/],
    [[model, "--socket-pause-bytes", "8M"], /--socket-close-bytes/],
    [[model, "--max-context", "5000000"], /--max-context 5000000 is more than/],
    [[model, "--kv-bytes", "1k"], /--kv-bytes/],
    [[model, "--api-key-file", join(folder, "absent")], /--api-key-file .* cannot be read/],
  ] as const) {
    const offline = { HF_HUB_OFFLINE: "1", HF_HOME: folder };
    const { code, out, err } = await run(["serve", ...args, "--port", "0"], offline);
    assert.ok(([exitCodes.usage, exitCodes.model, exitCodes.remote] as number[]).includes(code), `${args}: ${code}`);
    assert.match(err, words);
    assert.equal(out, "", "not even the line that says it listens");
  }
});

test("a model in a Hugging Face cache is named by its owner and name", async () => {
  const snapshot = join(folder, "hub", "models--someone--a--small-model", "snapshots", "0123abcd");
  const blobs = join(folder, "hub", "models--someone--a--small-model", "blobs");
  mkdirSync(snapshot, { recursive: true });
  cpSync(model, blobs, { recursive: true });
  for (const name of ["config.json", "model.safetensors"]) symlinkSync(join("../../blobs", name), join(snapshot, name));
  const { names } = await openCheckpoint(snapshot);
  assert.deepEqual(names.slice(0, 2), ["someone/a--small-model", "0123abcd"]);
  assert.equal((await openCheckpoint(model)).names[0], "bookworm-7m");
  assert.match(await noTokenizerNote(snapshot), /has no tokenizer: prompts/);
  writeFileSync(join(snapshot, "tokenizer.model"), "");
  assert.match(await noTokenizerNote(snapshot), /has tokenizer\.model but no tokenizer\.json.*save_pretrained/);
});

test("the banner says why a model gives texts no vectors", () => {
  const refused = { pooling: { refusal: "has a default prompt" } };
  const note = "texts get no vectors: the model has a default prompt";
  assert.deepEqual(headNotes({ task: "feature-extraction" }, refused), [note]);
  assert.deepEqual(headNotes({ task: "text-classification" }, refused), []);
  assert.deepEqual(headNotes({ task: "feature-extraction" }, { pooling: ["mean"] }), []);
});

test("each kind of fault has its own exit code, and the docs list them", () => {
  const system = (code: string, more = {}) => Object.assign(new Error(code), { code, ...more });
  const cases: [unknown, number][] = [
    [new UsageError(["x"]), 2],
    [new LorikeetError("model_invalid", "x"), 3],
    [new LorikeetError("data_invalid", "x"), 4],
    [new LorikeetError("adapter_unsupported", "x"), 5],
    [system("EADDRINUSE", { address: "127.0.0.1", port: 1 }), 6],
    [system("EACCES", { address: "127.0.0.1", port: 80 }), 6],
    [new LorikeetError("out_of_memory", "x"), 7],
    [system("ENOSPC", { path: "/x" }), 8],
    [system("EACCES", { path: "/x" }), 8],
    [new RemoteError("x"), 9],
    [new LorikeetError("runtime_failed", "x"), 1],
    [new LorikeetError("internal", "x"), 70],
    [new TypeError("x is not a function"), 70],
    [new LorikeetError("cancelled", "x"), 130],
  ];
  for (const [error, code] of cases) assert.equal(exitCodeOf(error), code, String(error));
  const rows = [...readFileSync("docs/errors.md", "utf8").matchAll(/^\| (\d+) \| /gm)].map(([, code]) => Number(code));
  assert.deepEqual(
    rows,
    [...Object.values(exitCodes), 143].sort((a, b) => a - b),
  );
});

test("a command that a signal ends says that it was cancelled", async () => {
  const child = start(["generate", "--model", model, "--threads", "1", "--max-tokens", "900", "It was"]);
  while (child.out === "" && child.child.exitCode === null) await new Promise((resolve) => setTimeout(resolve, 10));
  child.child.kill("SIGINT");
  assert.equal(await child.ended, 130, child.err);
  assert.match(child.err, /lorikeet: cancelled by SIGINT\n$/);
});

test("an adapter on a tied output head is described, and a null alpha is a warning", async () => {
  const adapter = join(folder, "head");
  mkdirSync(adapter);
  const write = (module: string, out: number, alpha: number | null) => {
    const shapes = { lora_A: [2, 256], lora_B: [out, 2] };
    let end = 0;
    const header = Object.fromEntries(
      Object.entries(shapes).map(([part, shape]) => {
        const begin = end;
        end += 4 * shape.reduce((product, size) => product * size);
        return [`base_model.model.${module}.${part}.weight`, { dtype: "F32", shape, data_offsets: [begin, end] }];
      }),
    );
    const json = Buffer.from(JSON.stringify(header));
    const length = Buffer.alloc(8);
    length.writeBigUInt64LE(BigInt(json.length));
    const values = Buffer.from(new Float32Array(end / 4).fill(0.01).buffer);
    writeFileSync(join(adapter, "adapter_model.safetensors"), Buffer.concat([length, json, values]));
    const config = { peft_type: "LORA", r: 2, lora_alpha: alpha, target_modules: [module.split(".").at(-1)] };
    writeFileSync(join(adapter, "adapter_config.json"), JSON.stringify(config));
  };
  write("lm_head", 4096, 4);
  const found = await run(["inspect", adapter, "--model", model]);
  assert.equal(found.code, 0, found.err);
  assert.match(found.out, /lm_head/);
  write("model.layers.0.self_attn.q_proj", 256, null);
  const warned = await run(["inspect", adapter, "--model", model]);
  assert.equal(warned.code, 0, warned.err);
  assert.match(warned.out, /lora_alpha null, with which PEFT itself fails/);
});
