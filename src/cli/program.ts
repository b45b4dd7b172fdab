/** The `lorikeet` command and its subcommands. Turns every error into one line and an exit code. */

import { Command, CommanderError } from "commander";
import { addAdapters } from "./adapters/adapters.js";
import { addBench } from "./bench/bench.js";
import { benchOptions, benchTrainOptions } from "./bench/options.js";
import { addEval, evalOptions } from "./eval/eval.js";
import { addGenerate } from "./generate/generate.js";
import { generateOptions } from "./generate/options.js";
import { addPull } from "./hub/pull.js";
import { addInspect } from "./inspect.js";
import { commonFlag, otherWay } from "./options/common-names.js";
import { strangeVariables } from "./options/environment.js";
import { renamedFlags } from "./options/former-names.js";
import { serveOptions } from "./serve/options.js";
import { addServe } from "./serve/serve.js";
import { printLine, type Terminal } from "./terminal.js";
import { addMerge, mergeOptions } from "./train/merge.js";
import { trainOptions } from "./train/options.js";
import { addTrain } from "./train/train.js";
import { describeFault, exitCodeOf, exitCodes, Quit } from "./usage.js";
import { readVersion } from "./version.js";

const tables = [
  serveOptions,
  generateOptions,
  trainOptions,
  evalOptions,
  mergeOptions,
  benchOptions,
  benchTrainOptions,
];
const optionNames = tables.flatMap((table) => Object.keys(table));

/** Runs one command line (without node and script) and returns the exit code. Never throws. */
export async function runProgram(args: readonly string[], terminal: Terminal): Promise<number> {
  for (const line of strangeVariables(terminal.environment, optionNames)) {
    printLine(terminal.stderr, `lorikeet: warning: ${line}`);
  }
  const program = createProgram(terminal);
  try {
    await program.parseAsync([...args], { from: "user" });
    return exitCodes.ok;
  } catch (error) {
    if (error instanceof CommanderError) return endOfParsing(error, commandOf(program, args), args, terminal);
    if (!(error instanceof Quit)) printLine(terminal.stderr, `lorikeet: ${describeFault(error)}`);
    return exitCodeOf(error);
  }
}

export function createProgram(terminal: Terminal): Command {
  const program = new Command("lorikeet")
    .description("Serve one resident base model with many LoRA adapters, which can be swapped while it runs.")
    .version(readVersion())
    .exitOverride()
    .configureHelp({ showGlobalOptions: false })
    .configureOutput({
      writeOut: (text) => void terminal.stdout.write(text),
      writeErr: (text) => void terminal.stderr.write(text),
      // endOfParsing prints it as one line.
      outputError: () => {},
    });
  for (const add of [addServe, addGenerate, addInspect, addAdapters, addBench, addTrain, addEval, addMerge, addPull])
    add(program, terminal);
  return program;
}

/** The subcommand that the arguments name, and its words. */
function commandOf(program: Command, args: readonly string[]): { command: Command; words: string } {
  const words = [program.name()];
  let command = program;
  for (const arg of args) {
    const next = command.commands.find((other) => other.name() === arg);
    if (!next) break;
    command = next;
    words.push(arg);
  }
  return { command, words: words.join(" ") };
}

/** Help and version exit with 0. Anything else that commander throws is a usage error. */
function endOfParsing(
  error: CommanderError,
  { command, words }: ReturnType<typeof commandOf>,
  args: readonly string[],
  terminal: Terminal,
): number {
  if (error.exitCode === 0) return exitCodes.ok;
  const flags = command.options.flatMap(({ long }) => long ?? []);
  const renamed = renamedFlags(args, flags);
  if (error.code === "commander.unknownOption" && renamed.length > 0) {
    printLine(terminal.stderr, `lorikeet: ${renamed.join(" ")}`);
    return exitCodes.usage;
  }
  if (error.code !== "commander.help") {
    printLine(terminal.stderr, `lorikeet: ${reasonOf(error, flags)} (see ${words} --help)`);
  }
  return exitCodes.usage;
}

/** commander's message in one line, with what was probably meant. */
function reasonOf({ code, message }: CommanderError, flags: readonly string[]): string {
  const [reason = "", ...more] = message.replace(/^error: /, "").split(/\s*\n\s*/);
  const [, name] = /^unknown option '--?(?:no-)?([^=']+)/.exec(reason) ?? [];
  if (code === "commander.unknownOption" && name !== undefined) {
    const names = flags.map((flag) => flag.slice("--".length));
    const meant = commonFlag(name, names);
    if (meant !== null) return `${reason} (Did you mean --${meant}?)`;
    const way = otherWay(name);
    if (way !== null) return `${reason}. ${way}`;
  }
  const hint = code === "commander.excessArguments" ? ["Values belong to options, such as --model <model>."] : [];
  return [reason, ...more, ...hint].join(" ");
}
