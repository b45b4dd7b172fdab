// Mesa's software driver for Vulkan, in a version that WebGPU accepts. Nothing is installed: Debian's packages are unpacked into a
// cache folder, and apt uses separate package lists, with the mirror of the system's sources.
import { execFileSync, spawnSync } from "node:child_process";
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { homedir } from "node:os";
import { join } from "node:path";

const name = "mesa-vulkan-drivers";
const cache = join(process.env.XDG_CACHE_HOME || join(homedir(), ".cache"), "lorikeet-ci", "lavapipe");
const root = join(cache, "root");
const libraries = join(root, "usr", "lib", "x86_64-linux-gnu");
const manifest = join(cache, "lavapipe.json");

/** Variables with which Vulkan's loader finds the driver and no other. Compiled shaders are kept for the next run. */
export const lavapipeEnvironment = {
  VK_DRIVER_FILES: manifest,
  VK_ICD_FILENAMES: manifest, // the name in older loaders
  LD_LIBRARY_PATH: [libraries, process.env.LD_LIBRARY_PATH].filter(Boolean).join(":"),
  MESA_SHADER_CACHE_DIR: join(cache, "shaders"),
};

/** Downloads and unpacks the driver and whatever it needs that this system lacks. Throws an Error with the reason where it cannot. */
export function unpackLavapipe() {
  const release = debianRelease();
  const apt = join(cache, "apt");
  for (const folder of [root, apt]) rmSync(folder, { recursive: true, force: true });
  for (const folder of [root, join(apt, "lists", "partial"), join(apt, "archives", "partial")]) {
    mkdirSync(folder, { recursive: true });
  }
  // Debian 12's own version lacks what WebGPU needs.
  const suites = release === "bookworm" ? [release, `${release}-backports`] : [release];
  const { address, option } = mirrorOf(release);
  const sources = join(apt, "sources.list");
  writeFileSync(sources, suites.map((suite) => `deb ${option}${address} ${suite} main\n`).join(""));
  const settings = [
    ["Dir::Etc::SourceList", sources],
    ["Dir::Etc::SourceParts", "-"],
    ["Dir::State::Lists", join(apt, "lists")],
    ["Dir::Cache", apt],
    ["Debug::NoLocking", "1"],
    ["APT::Sandbox::User", "root"],
    ["Acquire::Languages", "none"],
  ].flatMap(([key, value]) => ["-o", `${key}=${value}`]);
  run("apt-get", [...settings, "-qq", "update"]);
  const how = ["-y", "--no-install-recommends", "--reinstall", "--download-only"];
  run("apt-get", [...settings, "-qq", ...how, "install", `${name}/${suites.at(-1)}`]);
  const packages = readdirSync(join(apt, "archives")).filter((file) => file.endsWith(".deb"));
  for (const file of packages) execFileSync("dpkg-deb", ["-x", join(apt, "archives", file), root]);
  rmSync(apt, { recursive: true, force: true });
  const driver = { library_path: join(libraries, "libvulkan_lvp.so"), api_version: "1.3.0" };
  if (!existsSync(driver.library_path)) throw new Error(`the packages ${packages.join(", ")} hold no lavapipe`);
  writeFileSync(manifest, JSON.stringify({ file_format_version: "1.0.0", ICD: driver }));
}

function debianRelease() {
  const text = existsSync("/etc/os-release") ? readFileSync("/etc/os-release", "utf8") : "";
  const release = /^VERSION_CODENAME=(\w+)$/m.exec(text)?.[1];
  if (/^ID=debian$/m.test(text) && release !== undefined && process.arch === "x64") return release;
  throw new Error("the software driver comes from packages of Debian for x64");
}

/** The address of Debian's archive and the option for its key, from the first of the system's sources that has this release. */
function mirrorOf(release) {
  const folder = "/etc/apt/sources.list.d";
  const files = existsSync(folder) ? readdirSync(folder).map((file) => join(folder, file)) : [];
  for (const file of ["/etc/apt/sources.list", ...files].filter((path) => existsSync(path))) {
    const text = readFileSync(file, "utf8").replace(/^#.*\n/gm, "");
    const found = file.endsWith(".sources") ? fromStanzas(text, release) : fromLines(text, release);
    if (found) return found;
  }
  throw new Error(`apt's sources do not name ${release}`);
}

function fromStanzas(text, release) {
  for (const stanza of text.split(/\n\s*\n/)) {
    const field = (key) => new RegExp(`^${key}:\\s*(.+)$`, "im").exec(stanza)?.[1].trim();
    if (!field("Suites")?.split(/\s+/).includes(release)) continue;
    const key = field("Signed-By");
    return { address: field("URIs").split(/\s+/)[0], option: key?.startsWith("/") ? `[signed-by=${key}] ` : "" };
  }
  return null;
}

function fromLines(text, release) {
  for (const [, option = "", address, suite] of text.matchAll(/^deb\s+(\[[^\]]*\]\s+)?(\S+)\s+(\S+)/gm)) {
    if (suite === release) return { address, option };
  }
  return null;
}

function run(command, args) {
  const { status, stderr, error } = spawnSync(command, args, { encoding: "utf8", stdio: ["ignore", "ignore", "pipe"] });
  if (status !== 0) throw new Error(`${command} ended with ${error?.code ?? status}: ${stderr?.trim()}`);
}
