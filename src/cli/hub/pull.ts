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
    .option(
      "--onnx-file <name>",
      "ONNX file to download of a task model with several, such as model_fp16.onnx (default: model.onnx, or the files of an encoder-decoder)",
    )
    .option("--json", "print JSON", false)
    .action(async (name: string, { json, onnxFile }: { json: boolean; onnxFile?: string }) => {
      using shutdown = listenForShutdown(terminal);
      try {
        await run(name, { json, onnxFile: onnxFile ?? null }, shutdown.signal, terminal);
      } catch (error) {
        if (!shutdown.signal.aborted) throw error;
        const signal = await shutdown.requested;
        printLine(terminal.stderr, `${cancelledLine(signal)}; rerun the command to resume`);
        throw new Quit(signalExitCode(signal));
      }
    });
}

interface RunOptions {
  readonly json: boolean;
  readonly onnxFile: string | null;
}

async function run(
  text: string,
  { json, onnxFile }: RunOptions,
  signal: AbortSignal,
  terminal: Terminal,
): Promise<void> {
  const started = performance.now();
  const {
    name,
    kind,
    commit,
    folder,
    files,
    fetched,
    receivedBytes: received,
  } = await pull(text, { option: "<name>", kind: onnxFile === null ? null : "model", onnxFile, signal }, terminal);
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
          ? `lorikeet serve --model ${bare}${onnxFile === null ? "" : ` --onnx-file ${onnxFile}`}`
          : `lorikeet adapters add <name> hf://${bare} --model <base>`,
      ],
    ])}`,
  );
}
