/** The `lorikeet` command: its subcommands, and the one place where a fault becomes a line and an exit code. */

import { readFileSync } from "node:fs";
import { Command, CommanderError } from "commander";
import { addAdapters } from "./adapters.js";
import { addInspect } from "./inspect.js";
import { printLine, type Terminal } from "./terminal.js";
import { describeFault, exitCodeOf, exitCodes, Quit } from "./usage.js";

/** Runs one command line (without node and script) to its end and returns the exit code. Never throws. */
export async function runProgram(args: readonly string[], terminal: Terminal): Promise<number> {
  try {
    await createProgram(terminal).parseAsync([...args], { from: "user" });
    return exitCodes.ok;
  } catch (error) {
    if (error instanceof CommanderError) return endOfParsing(error, terminal);
    if (!(error instanceof Quit)) printLine(terminal.stderr, `lorikeet: ${describeFault(error)}`);
    return exitCodeOf(error);
  }
}

export function createProgram(terminal: Terminal): Command {
  const program = new Command("lorikeet")
    .description("Serve one resident base model with many LoRA adapters that come and go while it runs.")
    .version(readVersion())
    .exitOverride()
    .configureHelp({ showGlobalOptions: false })
    .configureOutput({
      writeOut: (text) => void terminal.stdout.write(text),
      writeErr: (text) => void terminal.stderr.write(text),
      // Told in one line by endOfParsing.
      outputError: () => {},
    });
  for (const add of [addInspect, addAdapters]) add(program, terminal);
  return program;
}

/** Help and version end well; everything else that commander throws is a wrong command line. */
function endOfParsing(error: CommanderError, terminal: Terminal): number {
  if (error.exitCode === 0) return exitCodes.ok;
  if (error.code !== "commander.help") {
    const reason = error.message.replace(/^error: /, "").replace(/\s*\n\s*/g, " ");
    printLine(terminal.stderr, `lorikeet: ${reason} (see lorikeet --help)`);
  }
  return exitCodes.usage;
}

/** From the package's own package.json, wherever it was compiled to. */
function readVersion(): string {
  for (const up of ["../../package.json", "../../../package.json"]) {
    try {
      const content: unknown = JSON.parse(readFileSync(new URL(up, import.meta.url), "utf8"));
      if (typeof content === "object" && content !== null && "version" in content) return String(content.version);
    } catch {
      // Not there: compiled code lies one folder deeper than sources.
    }
  }
  return "unknown";
}
