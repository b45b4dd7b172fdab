// Runs the tests on the version of Node.js that the Dockerfile names, from the npm package with its binary. Runs no script of the
// package. Skips tests of pure arithmetic, which every version computes alike, of other people's clients, and of rooms that use nothing of
// Node.js but what the rest uses too: CI must finish within 25 minutes.
import { spawnSync } from "node:child_process";
import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { delimiter, join } from "node:path";

const major = /^FROM node:(\d+)/m.exec(readFileSync("Dockerfile", "utf8"))?.[1];
if (major === undefined) throw new Error("The Dockerfile names no version of Node.js.");
const name = `node-${process.platform}-${process.arch}`;
const skipped = [
  /^(autodiff|bench|engine|gateway|grammar|graph|image|model|onnx|tensor|train|weights)\//,
  /^(adapter|docs|hub|web)\//,
  /^service\/(?!endings|lifetime)/,
  /^cli\/(?!serve|device|machine)/,
  /^server\/(clients|openai-schemas|metrics|tokenize|generate|responses|stored-responses|messages|bases|origins|soak)\b/,
  /^(text\/|base\/(fair|list|json)|architecture)/,
];
const folder = mkdtempSync(join(tmpdir(), "lorikeet-node-"));

function run(command, args, env = process.env) {
  const { status, signal, error, stdout } = spawnSync(command, args, { stdio: ["ignore", "pipe", "inherit"], env });
  if (status !== 0) throw new Error(`${command} ${args[0]} ended with ${error?.code ?? signal ?? status}: ${stdout}`);
  return String(stdout).trim();
}

try {
  const quiet = ["--no-save", "--no-package-lock", "--no-audit", "--no-fund", "--ignore-scripts"];
  run("npm", ["install", ...quiet, "--prefix", folder, `${name}@${major}`]);
  const bin = join(folder, "node_modules", name, "bin");
  const env = { ...process.env, PATH: `${bin}${delimiter}${process.env.PATH}` };
  const version = run("node", ["--version"], env);
  if (!version.startsWith(`v${major}.`)) throw new Error(`Node.js ${version} would run, not ${major}.`);
  console.log(`Node.js ${version}`);
  run("npm", ["run", "build"], env);
  const files = readdirSync("dist/test", { recursive: true }).filter(
    (file) => file.endsWith(".test.js") && !skipped.some((each) => each.test(file)),
  );
  // Commands that call a server, and those that answer on a terminal, are processes like the others; they take a third of the time of all.
  const names = "--test-skip-pattern=^(adapters on a|generate) ";
  const args = ["--test", "--test-concurrency=2", names, ...files.map((file) => join("dist/test", file))];
  const { status } = spawnSync("node", args, { stdio: ["ignore", "inherit", "inherit"], env });
  if (status !== 0) throw new Error(`The tests ended with ${status} on Node.js ${version}.`);
} finally {
  rmSync(folder, { recursive: true, force: true });
}
