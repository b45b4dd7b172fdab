#!/usr/bin/env node
/** The executable: hands the process to the program and ends with its exit code. */

// Alone: what is imported beside it would be read from disk before any of it runs.
import "./early-end.js";

const { exitAtOnce } = await import("../runtime/exit.js");
const { processTerminal } = await import("./terminal.js");

/** How long the last lines may take to be read. */
const flushMs = 2_000;
/** These work for others than the reader of their lines. */
const goOnUnread = ["serve", "train"];
const isGoingOn = goOnUnread.includes(process.argv[2] ?? "");

// A reader that has seen enough (`lorikeet inspect ... | head`) is no fault. A log that cannot be written, since its reader
// has ended or its disk is full, must not end the service.
for (const stream of [process.stdout, process.stderr]) {
  stream.on("error", (error: NodeJS.ErrnoException) => {
    if (isGoingOn) return;
    if (error.code === "EPIPE") process.exit(0);
    throw error;
  });
}

// The loader opens all files of an import at once. A low limit of open files is no reason not to start: one part after the other.
await import("../train/session.js");
await import("../text/tokenizer/tokenizer.js");
const { runProgram } = await import("./program.js");
const code = await runProgram(process.argv.slice(2), processTerminal());
// Written text leaves first, unless nobody reads it; threads that still wait for work, or for a disk that hangs, do not keep
// a service.
const exit = process.argv[2] === "serve" ? exitAtOnce : process.exit;
setTimeout(() => exitAtOnce(code), flushMs);
process.stdout.write("", () => process.stderr.write("", () => exit(code)));
