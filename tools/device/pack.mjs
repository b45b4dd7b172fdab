// Packs what a machine with a card needs to run the oracles and the benchmarks: Node.js, this package as it is built, ONNX Runtime's library,
// Vulkan's loader, the oracle's fixtures. Nothing has to be installed there, and nothing is downloaded.
//
//   node tools/device/pack.mjs <folder> [--part-bytes <n>]
//
// writes run-device.sh and the archive, in parts of at most 64 MiB or `n` bytes. On the other machine one command does all:
//
//   sh run-device.sh
import { execFileSync } from "node:child_process";
import { cpSync, existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, join, relative, resolve } from "node:path";
import { parseArgs } from "node:util";

const { positionals, values } = parseArgs({
  allowPositionals: true,
  options: { "part-bytes": { type: "string", default: String(64 * 2 ** 20) } },
});
const [target] = positionals;
const partBytes = Number(values["part-bytes"]);
if (target === undefined || !(partBytes >= 2 ** 20)) {
  throw new Error("Give a folder for the parts; --part-bytes must be at least 1048576.");
}
const name = "lorikeet-device";
const here = `${process.platform}/${process.arch}`;
if (here !== "linux/x64") throw new Error(`The archive is for linux/x64 and made there, not on ${here}.`);
if (!existsSync("dist/test")) throw new Error("Run `npm run build` first.");

/** Folders of the packages that a user installs, without the compiler and the test tools. */
function packages() {
  const listed = execFileSync("npm", ["ls", "--omit=dev", "--all", "--parseable"], { encoding: "utf8" });
  return listed
    .trim()
    .split("\n")
    .slice(1)
    .map((path) => relative(process.cwd(), path));
}

/** ONNX Runtime's libraries for other platforms are the largest part of all. */
const isOtherPlatform = (path) => /onnxruntime-node\/bin\/napi-v\d+\/\w+\/\w+/.test(path) && !path.includes(`/${here}`);
/** Training's fixtures are not the oracle's, and encoder-decoders do not run on a card. */
const isUnused = (path) => /\/((train|expected-train)[^/]*|marian)$/.test(path);

function findLoader() {
  const listed = execFileSync("ldconfig", ["-p"], { encoding: "utf8", env: { PATH: "/usr/sbin:/sbin:/usr/bin:/bin" } });
  return /libvulkan\.so\.1 \(.*x86-64.*\) => (\S+)/.exec(listed)?.[1] ?? null;
}

const top = mkdtempSync(join(tmpdir(), "lorikeet-pack-"));
try {
  const root = join(top, name);
  const copy = (from, skips = () => false) =>
    cpSync(from, join(root, from), { recursive: true, dereference: true, filter: (path) => !skips(path) });
  for (const file of ["package.json", "dist/src", "dist/test", "tools/device"])
    copy(file, (path) => path.endsWith(".map"));
  for (const folder of packages()) copy(folder, (path) => isOtherPlatform(path) || path.endsWith(".map"));
  const fixtures = ["oracle", "tasks", "adapter-format", "decoder-heads"].map((name) => `test/fixtures/${name}`);
  for (const folder of fixtures) copy(folder, isUnused);
  mkdirSync(join(root, "bin"));
  cpSync(process.execPath, join(root, "bin", "node"), { dereference: true });
  const loader = findLoader();
  if (loader === null) console.log("This system has no Vulkan loader to pack: the other machine needs its own.");
  else cpSync(loader, join(root, "lib", basename(loader)), { dereference: true });
  const archive = join(top, `${name}.tar.xz`);
  execFileSync("tar", ["-cJf", archive, "-C", top, name], { env: { ...process.env, XZ_OPT: "-6 -T2" } });
  const bytes = readFileSync(archive);
  mkdirSync(target, { recursive: true });
  for (const old of readdirSync(target).filter((file) => file.startsWith(`${name}.tar.xz.`))) rmSync(join(target, old));
  const count = Math.ceil(bytes.length / partBytes);
  for (let part = 0; part < count; part++) {
    const file = join(target, `${name}.tar.xz.${String(part).padStart(2, "0")}`);
    writeFileSync(file, bytes.subarray(part * partBytes, (part + 1) * partBytes));
  }
  cpSync("tools/device/run-device.sh", join(target, "run-device.sh"));
  console.log(
    `${resolve(target)}: ${(bytes.length / 2 ** 20).toFixed(1)} MiB in ${count} part${count === 1 ? "" : "s"}`,
  );
} finally {
  rmSync(top, { recursive: true, force: true });
}
