// Packs the project as npm would publish it, installs the tarball into an empty folder as README.md says, and generates text with it.
import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

const top = mkdtempSync(join(tmpdir(), "lorikeet-pack-"));
const folder = join(top, "empty");
mkdirSync(folder);
// ONNX Runtime's CUDA libraries must not be installed by default.
const env = Object.fromEntries(Object.entries(process.env).filter(([name]) => !/^(npm_|ONNXRUNTIME_)/i.test(name)));
const run = (command, args, cwd) =>
  execFileSync(command, args, { cwd, env, encoding: "utf8", stdio: ["ignore", "pipe", "inherit"], timeout: 300_000 });
try {
  run("npm", ["pack", "--silent", "--pack-destination", top], process.cwd());
  const tarball = readdirSync(top).find((name) => name.endsWith(".tgz"));
  run(
    "npm",
    ["install", "--ignore-scripts", "--prefer-offline", "--no-audit", "--no-fund", join(top, tarball)],
    folder,
  );
  const model = join("node_modules", "lorikeet", "models", "bookworm-7m");
  const lorikeet = (...args) => run(join(folder, "node_modules", ".bin", "lorikeet"), args, folder).trim();
  console.log(lorikeet("--version"));
  const cache = ["--cache-dir", join(top, "cache")];
  const text = lorikeet("generate", "--model", model, ...cache, "--max-tokens", "8", "--temperature", "0", "It was");
  if (text === "") throw new Error("The installed package generated nothing.");
  console.log(`It was${text}`);
} finally {
  rmSync(top, { recursive: true, force: true });
}
