#!/usr/bin/env node
/** The executable: hands the process to the program and ends with its exit code. */

import { runProgram } from "./program.js";
import { processTerminal } from "./terminal.js";

// A reader that has seen enough (`lorikeet inspect ... | head`) is no fault.
process.stdout.on("error", (error: NodeJS.ErrnoException) => {
  if (error.code === "EPIPE") process.exit(0);
  throw error;
});

const code = await runProgram(process.argv.slice(2), processTerminal());
// Written text leaves first; threads that still wait for work do not keep the process.
process.stdout.write("", () => process.stderr.write("", () => process.exit(code)));
