// Runs the Dockerfile without Docker: each stage is a fresh folder, COPY copies, RUN runs as an unprivileged user. Then it starts
// the entry point as the last stage's user, and runs the health check against it. Dockerfile.gpu is read as well; its one step installs
// packages, so only its syntax is checked.
import { execFileSync, spawnSync } from "node:child_process";
import { randomBytes } from "node:crypto";
import {
  chmodSync,
  cpSync,
  existsSync,
  lchownSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { freePort, startServer } from "./server.mjs";

const top = mkdtempSync(join(tmpdir(), "lorikeet-docker-"));
chmodSync(top, 0o755);
// nobody and nogroup on Debian. A user other than root runs everything as itself.
const identity = process.getuid() === 0 ? { uid: 65534, gid: 65534 } : {};
const stages = [];
let stage;

function give(path) {
  if (identity.uid === undefined) return;
  lchownSync(path, identity.uid, identity.gid);
  if (!statSync(path, { throwIfNoEntry: false })?.isDirectory()) return;
  for (const entry of readdirSync(path, { recursive: true })) lchownSync(join(path, entry), identity.uid, identity.gid);
}

function environment() {
  const clean = Object.fromEntries(
    Object.entries(process.env).filter(([name]) => !/^(npm_|NODE_|LORIKEET_)/.test(name)),
  );
  return { ...clean, ...stage.env, HOME: join(stage.root, "home") };
}

const folder = () => join(stage.root, stage.workdir);

const instructions = {
  FROM(rest) {
    const name = / AS (\S+)/i.exec(rest)?.[1] ?? "final";
    stage = { name, root: join(top, name), workdir: "/", env: {} };
    stages.push(stage);
    mkdirSync(join(stage.root, "home"), { recursive: true });
    give(stage.root);
  },
  WORKDIR(rest) {
    stage.workdir = rest;
    mkdirSync(folder(), { recursive: true });
    give(folder());
  },
  COPY(rest) {
    const words = rest.split(/\s+/).filter((word) => !word.startsWith("--chown="));
    const from = /^--from=(.+)/.exec(words[0])?.[1];
    if (from) words.shift();
    const target = words.pop();
    for (const source of words) {
      const origin = from ? join(stages.find(({ name }) => name === from).root, source) : source;
      const destination = target.endsWith("/") ? join(folder(), target, basename(source)) : join(folder(), target);
      cpSync(origin, destination, { recursive: true, filter: (path) => !path.endsWith("/.store") });
      give(destination);
    }
  },
  ENV(rest) {
    for (const [, name, value] of rest.matchAll(/(\w+)=(\S+)/g)) stage.env[name] = value;
  },
  RUN(rest) {
    execFileSync("/bin/sh", ["-c", rest], {
      cwd: folder(),
      env: environment(),
      stdio: ["ignore", "inherit", "inherit"],
      ...identity,
    });
  },
  HEALTHCHECK(rest) {
    stage.healthcheck = JSON.parse(rest.slice(rest.indexOf("[")));
  },
  ENTRYPOINT(rest) {
    stage.entry = JSON.parse(rest);
  },
  CMD(rest) {
    stage.command = JSON.parse(rest);
  },
  USER() {},
  EXPOSE() {},
  STOPSIGNAL() {},
};

async function runImage() {
  const port = await freePort();
  const [program, ...args] = [...stage.entry, ...stage.command];
  refuseWithoutKey(program, args);
  const key = randomBytes(16).toString("hex");
  const secrets = join(stage.root, "secrets");
  writeFileSync(secrets, `${key}\n`);
  give(secrets);
  const env = { ...environment(), LORIKEET_PORT: String(port), LORIKEET_API_KEY_FILE: secrets };
  const options = { cwd: folder(), env, ...identity };
  const stop = await startServer(program, args, `http://127.0.0.1:${port}/ready`, options);
  let code;
  try {
    execFileSync(stage.healthcheck[0], stage.healthcheck.slice(1), { ...options, stdio: "inherit" });
    const models = (headers) => fetch(`http://127.0.0.1:${port}/v1/models`, { headers });
    const statuses = [await models({}), await models({ authorization: `Bearer ${key}` })].map(({ status }) => status);
    if (String(statuses) !== "401,200") throw new Error(`The statuses without and with a key were ${statuses}.`);
  } finally {
    code = await stop();
  }
  if (code !== 0) throw new Error(`The server ended with ${code} after SIGTERM, not 0.`);
}

/** The image listens beyond loopback by default: without a key it must not start. */
function refuseWithoutKey(program, args) {
  const options = { cwd: folder(), env: environment(), encoding: "utf8", timeout: 60_000, ...identity };
  const { status, stderr } = spawnSync(program, args, options);
  if (status !== 2 || !stderr.includes("LORIKEET_API_KEYS")) {
    throw new Error(`Without a key the container ended with ${status}: ${stderr}`);
  }
  console.log(stderr.trim());
}

/** The instructions of a Dockerfile, as pairs of word and rest. */
function instructionsOf(file) {
  const lines = readFileSync(file, "utf8").replace(/\\\n/g, " ").split("\n");
  return lines.flatMap((line) => {
    const [, word, rest] = /^([A-Z]+)\s+(.*)$/.exec(line) ?? [];
    if (word === undefined) return [];
    if (!(word in instructions)) throw new Error(`The instruction ${word} of ${file} is not supported here.`);
    return [[word, rest]];
  });
}

try {
  for (const [word, rest] of instructionsOf("Dockerfile")) {
    console.log(word, rest);
    instructions[word](rest);
  }
  await runImage();
  for (const [word, rest] of instructionsOf("Dockerfile.gpu")) {
    if (word === "RUN") execFileSync("/bin/sh", ["-n", join(folder(), rest)], { stdio: "inherit" });
    if (word === "ENV") instructions[word](rest);
  }
} finally {
  if (existsSync(top)) rmSync(top, { recursive: true, force: true });
}
