/** `lorikeet pull`: downloads a model or an adapter into the Hugging Face cache and prints its folder. */

import type { Command } from "commander";
import { formatBytes } from "../options/units.js";
import { cancelledLine, listenForShutdown, signalExitCode } from "../serve/shutdown.js";
import { formatFields, formatTable } from "../table.js";
import { printJson, printLine, type Terminal } from "../terminal.js";
import { Quit } from "../usage.js";
import { isHubAddress, pull } from "./model-folder.js";

export function addPull(program: Command, terminal: Terminal): void {
  program
    .command("pull")
    .description("download or update a model or an adapter in the Hugging Face cache")
    .argument("<name>", "org/name or org/name@revision, optionally with hf:// in front")
    .option("--json", "print JSON", false)
    .action(async (name: string, { json }: { json: boolean }) => {
      using shutdown = listenForShutdown(terminal);
      try {
        await run(name, json, shutdown.signal, terminal);
      } catch (error) {
        if (!shutdown.signal.aborted) throw error;
        const signal = await shutdown.requested;
        printLine(terminal.stderr, `${cancelledLine(signal)}; rerun the command to resume`);
        throw new Quit(signalExitCode(signal));
      }
    });
}

async function run(text: string, json: boolean, signal: AbortSignal, terminal: Terminal): Promise<void> {
  const started = performance.now();
  const {
    name,
    kind,
    commit,
    folder,
    files,
    fetched,
    receivedBytes: received,
  } = await pull(text, { option: "<name>", kind: null, signal }, terminal);
  const seconds = (performance.now() - started) / 1000;
  const sum = (chosen: typeof files): number => chosen.reduce((total, { bytes }) => total + bytes, 0);
  if (json) {
    const listed = files.map((file) => ({ name: file.name, bytes: file.bytes, fetched: fetched.includes(file.name) }));
    return printJson(terminal.stdout, {
      name,
      kind,
      commit,
      folder,
      bytes: sum(files),
      received_bytes: received,
      files: listed,
    });
  }
  const rows = files.map((file) => [
    file.name,
    formatBytes(file.bytes),
    fetched.includes(file.name) ? "downloaded" : "cached",
  ]);
  printLine(terminal.stdout, formatTable(["file", "size", ""], rows));
  const transfer = received === 0 ? "up to date" : `${formatBytes(received)} received in ${seconds.toFixed(1)} s`;
  const bare = isHubAddress(text) ? text.slice("hf://".length) : text;
  printLine(
    terminal.stdout,
    `\n${formatFields([
      [kind, name],
      ["commit", commit],
      ["folder", folder],
      ["size", `${formatBytes(sum(files))}, ${transfer}`],
      [
        "use",
        kind === "model"
          ? `lorikeet serve --model ${bare}`
          : `lorikeet adapters add <name> hf://${bare} --model <base>`,
      ],
    ])}`,
  );
}
