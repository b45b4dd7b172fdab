#!/usr/bin/env node
/**
 * The executable. Several bases compute on libuv's pool of threads, which also reads files. Its size is fixed at the first use, and
 * loading an ES module is one: only a CommonJS file can choose it.
 */

/** Enough for twelve bases that compute while four files are read. */
const poolThreads = 16;

/** Whether this may become a server of several bases. A config file is not read yet. */
function mayHaveSeveralBases([command, ...args]: readonly string[], models = "", config = ""): boolean {
  if (command !== "serve") return false;
  const given = (name: string): number => args.filter((arg) => arg === name || arg.startsWith(`${name}=`)).length;
  return given("--model") > 1 || models.includes(",") || given("--config") > 0 || config !== "";
}

const { LORIKEET_MODEL, LORIKEET_CONFIG } = process.env;
if (mayHaveSeveralBases(process.argv.slice(2), LORIKEET_MODEL, LORIKEET_CONFIG)) {
  process.env.UV_THREADPOOL_SIZE ||= String(poolThreads);
}
void import("./main.js");
