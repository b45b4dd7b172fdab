/** `lorikeet adapters`: lists, adds, removes and verifies adapters, in a folder or on a running server. */

import { access } from "node:fs/promises";
import { join } from "node:path";
import type { Command } from "commander";
import { weightFiles } from "../../adapter/format.js";
import { type CheckBase, openCheckBase } from "../check-base.js";
import { formatBytes } from "../options/units.js";
import { readClientKey } from "../serve/api-keys.js";
import { bringsAdapters } from "../serve/own-adapters.js";
import { formatTable } from "../table.js";
import { printJson, printLine, printResponse, type Terminal } from "../terminal.js";
import { exitCodes, Quit, UsageError } from "../usage.js";
import { type LocalStore, openLocalStore } from "./local-store.js";
import { type RemoteServer, remoteServer } from "./remote.js";
import { verifyRemote } from "./remote-verify.js";
import { openAdapterSource } from "./source.js";

interface Where {
  readonly url?: string;
  readonly apiKeyFile?: string;
  readonly adapters?: string;
  readonly model?: string;
  /** Of `add`: the base that the adapter belongs to, on a server with several. */
  readonly base?: string;
  readonly json: boolean;
}

export function addAdapters(program: Command, terminal: Terminal): void {
  const adapters = program.command("adapters").description("list, add, remove or verify adapters");
  const add = (name: string, description: string): Command =>
    adapters
      .command(name)
      .description(description)
      .option("--url <address>", "address of a running server (default: none; works on the folder)")
      .option(
        "--api-key-file <file>",
        "file with the server's API key (default: LORIKEET_API_KEY, else LORIKEET_API_KEY_FILE)",
      )
      .option("--adapters <folder>", "adapters folder (default: LORIKEET_ADAPTERS, else adapters)")
      .option("--model <model>", "base model to check adapters against (default: LORIKEET_MODEL)")
      .option("--json", "print JSON", false);
  add("list", "list the adapters, including those that cannot be served").action((where: Where) =>
    list(where, terminal),
  );
  add("add <name> <folder>", "check a PEFT folder, or hf://org/name on the hub, and store it under a name")
    .option("--base <name>", "the adapter's base on a server with several (default: the one that it names or fits)")
    .action(async (name: string, text: string, where: Where) => {
      if (where.base !== undefined && where.url === undefined) {
        throw new UsageError(["--base names a base of the server at --url; without one, --model is the base."]);
      }
      await using source = await openAdapterSource(text, terminal);
      await put(name, source.folder, where, terminal);
    });
  add("remove <name>", "remove an adapter").action((name: string, where: Where) => remove(name, where, terminal));
  add("verify", "read every adapter and compare it with its digest").action((where: Where) => verify(where, terminal));
}

/** Runs the task with the folder's store. */
async function withStore<T>(where: Where, terminal: Terminal, task: (local: LocalStore) => Promise<T>): Promise<T> {
  await using local = await openLocalStore(directoryOf(where, terminal), await baseOf(where, terminal));
  return await task(local);
}

/** Like `withStore`, for a task that only reads: the model's own adapters are enough where nobody named a folder. */
async function withAdapters<T>(where: Where, terminal: Terminal, task: (local: LocalStore) => Promise<T>): Promise<T> {
  const directory = directoryOf(where, terminal);
  const isNamed = where.adapters !== undefined || Boolean(terminal.environment.LORIKEET_ADAPTERS);
  const base = await baseOf(where, terminal);
  const isLeftOut = !isNamed && base !== null && (await bringsAdapters(base.path)) && !(await exists(directory));
  await using local = await openLocalStore(isLeftOut ? null : directory, base);
  return await task(local);
}

const directoryOf = ({ adapters }: Where, { environment }: Terminal): string =>
  adapters ?? (environment.LORIKEET_ADAPTERS || "adapters");

function serverAt(url: string, { apiKeyFile }: Where, { environment }: Terminal): RemoteServer {
  return remoteServer(url, readClientKey(apiKeyFile ?? null, environment));
}

async function baseOf(where: Where, terminal: Terminal): Promise<CheckBase | null> {
  const model = where.model ?? (terminal.environment.LORIKEET_MODEL || null);
  return model === null ? null : await openCheckBase(model, terminal);
}

async function list(where: Where, terminal: Terminal): Promise<void> {
  if (where.url !== undefined)
    return showRemoteList(await serverAt(where.url, where, terminal).list(), where.json, terminal);
  await withAdapters(where, terminal, async ({ store }) => {
    const refused = store.refused().map(({ name, error }) => ({ name, code: error.code, message: error.message }));
    if (where.json) return printJson(terminal.stdout, { adapters: store.list(), refused });
    const rows = store
      .list()
      .map(({ name, source, rank, modules, bytes, digest }) => [
        name,
        source,
        String(rank),
        String(modules),
        formatBytes(bytes),
        shortDigest(digest),
      ]);
    printLine(terminal.stdout, formatTable(["name", "source", "rank", "modules", "size", "digest"], rows));
    for (const { name, message } of refused) printLine(terminal.stderr, `refused ${name}: ${message}`);
  });
}

function showRemoteList(answer: unknown, json: boolean, terminal: Terminal): void {
  if (json) {
    printResponse(terminal.stdout, answer);
    return;
  }
  const columns = ["name", "base", "tier", "rank", "modules", "bytes", "digest"];
  const rows = entriesOf(answer).map((entry) => columns.map((column) => cellOf(column, entry[column])));
  printLine(terminal.stdout, formatTable(columns, rows));
}

type Entry = Readonly<Record<string, unknown>>;

/** The objects of a response `{"data":[...]}`. */
function entriesOf(answer: unknown): Entry[] {
  const data = typeof answer === "object" && answer !== null && "data" in answer ? answer.data : [];
  return Array.isArray(data) ? data.filter(isEntry) : [];
}

function isEntry(value: unknown): value is Entry {
  return typeof value === "object" && value !== null;
}

function cellOf(column: string, value: unknown): string {
  if (value === undefined || value === null) return "";
  if (column === "bytes") return formatBytes(Number(value));
  return column === "digest" ? shortDigest(String(value)) : String(value);
}

async function put(name: string, folder: string, where: Where, terminal: Terminal): Promise<void> {
  if (where.url !== undefined) {
    await requireWeights(folder);
    const answer = await serverAt(where.url, where, terminal).put(name, folder, where.base);
    const { outcome, warnings } = replyOf(answer);
    const line = outcome === "identical" ? "is already stored" : `was ${outcome}`;
    report(`${name} ${line} on ${where.url}.`, answer, where, terminal);
    for (const warning of warnings) printLine(terminal.stderr, `warning: ${warning}`);
    return;
  }
  await withStore(where, terminal, async ({ store, isChecked }) => {
    if (!isChecked)
      throw new UsageError([
        "--model <model> is required to check the adapter against its base model, or --url <address> to add it to a running server, which has one.",
      ]);
    const { record, outcome } = await store.put(name, await store.stageCopy(folder));
    const line = outcome === "identical" ? `${name} is already stored` : `${name} was ${outcome}`;
    report(
      `${line}: ${record.modules} modules, rank ${record.rank}, ${record.digest}.`,
      { ...record, outcome },
      where,
      terminal,
    );
    for (const warning of record.warnings) printLine(terminal.stderr, `warning: ${warning}`);
    if (record.ignored.length > 0) printLine(terminal.stderr, `ignored: ${record.ignored.join(", ")}`);
  });
}

/** The fields of a server's reply to an upload that this client uses. */
function replyOf(answer: unknown): { readonly outcome: string; readonly warnings: readonly string[] } {
  const reply: Entry = isEntry(answer) ? answer : {};
  const { outcome, warnings } = reply;
  return {
    outcome: typeof outcome === "string" ? outcome : "stored",
    warnings: Array.isArray(warnings) ? warnings.map(String) : [],
  };
}

async function requireWeights(folder: string): Promise<void> {
  for (const name of weightFiles) {
    if (await exists(join(folder, name))) return;
  }
  throw new UsageError([`${folder} has no weights: it must contain one of ${weightFiles.join(", ")}.`]);
}

const exists = (path: string): Promise<boolean> =>
  access(path).then(
    () => true,
    () => false,
  );

async function remove(name: string, where: Where, terminal: Terminal): Promise<void> {
  if (where.url !== undefined) {
    const answer = await serverAt(where.url, where, terminal).remove(name);
    return report(`${name} was removed from ${where.url}.`, answer, where, terminal);
  }
  await withStore(where, terminal, async ({ store }) => {
    report(`${name} was removed.`, await store.remove(name), where, terminal);
  });
}

async function verify(where: Where, terminal: Terminal): Promise<void> {
  const print = (verdicts: AsyncIterable<Verdict>): Promise<boolean> => printVerdicts(verdicts, where.json, terminal);
  const areIntact =
    where.url === undefined
      ? await withAdapters(where, terminal, ({ store }) => print(store.verify()))
      : await print(await remoteVerdicts(serverAt(where.url, where, terminal), await baseOf(where, terminal)));
  if (!areIntact) throw new Quit(exitCodes.failed);
}

type Verdict = { readonly name: string; readonly digest: string | null; readonly error: Error | null };

async function remoteVerdicts(server: RemoteServer, base: CheckBase | null): Promise<AsyncIterable<Verdict>> {
  const adapters = entriesOf(await server.list()).map(({ name, digest }) => ({
    name: String(name),
    digest: String(digest),
  }));
  return verifyRemote(server, adapters, base?.modules ?? null);
}

/** True if every adapter is intact. */
async function printVerdicts(verdicts: AsyncIterable<Verdict>, json: boolean, terminal: Terminal): Promise<boolean> {
  const printed: { name: string; digest: string | null; error: string | null }[] = [];
  for await (const { name, digest, error } of verdicts) {
    printed.push({ name, digest, error: error?.message ?? null });
    if (!json) printLine(terminal.stdout, `${name}: ${error === null ? "intact" : error.message}`);
  }
  if (json) printJson(terminal.stdout, printed);
  return printed.every(({ error }) => error === null);
}

function report(line: string, value: unknown, { json }: Where, terminal: Terminal): void {
  if (json) printJson(terminal.stdout, value);
  else printLine(terminal.stdout, line);
}

/** `sha256:` and the first 12 digits. */
function shortDigest(digest: string): string {
  return digest.slice(0, 19);
}
