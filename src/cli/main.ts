#!/usr/bin/env node
/**
 * Runs the program and exits with its code. npx links a package's executable once: a link made when this file was the executable
 * still starts here, with libuv's own number of threads.
 */

// Imported alone: any other static import would load before this runs.
import "./early-end.js";

const { exitAtOnce } = await import("../runtime/exit.js");
const { processTerminal } = await import("./terminal.js");

/** Time for the last output to be read. */
const flushMs = 2_000;
/** These keep running if nobody reads their output. */
const runUnread = ["serve", "train"];
const survivesReader = runUnread.includes(process.argv[2] ?? "");

// A reader that closes early (`lorikeet inspect ... | head`) is not an error. A log that cannot be written, because its reader is
// gone or the disk is full, must not stop the service.
for (const stream of [process.stdout, process.stderr]) {
  stream.on("error", (error: NodeJS.ErrnoException) => {
    if (survivesReader) return;
    if (error.code === "EPIPE") process.exit(0);
    throw error;
  });
}

const { runProgram } = await import("./program.js");
const code = await runProgram(process.argv.slice(2), processTerminal());
// Flush output first, unless nobody reads it. Idle threads, or threads stuck on a hanging disk, do not keep a service alive.
const exit = process.argv[2] === "serve" ? exitAtOnce : process.exit;
setTimeout(() => exitAtOnce(code), flushMs);
process.stdout.write("", () => process.stderr.write("", () => exit(code)));
