// Starts a server of this project for a check, waits until it is ready, and ends it.
import { spawn } from "node:child_process";
import { createServer } from "node:net";

/** A free port of 127.0.0.1. */
export function freePort() {
  return new Promise((resolve, reject) => {
    const probe = createServer();
    probe.once("error", reject).listen(0, "127.0.0.1", () => {
      const { port } = probe.address();
      probe.close(() => resolve(port));
    });
  });
}

/** Starts `command` in its own process group, waits until `url` answers 200, and returns a function that stops it. */
export async function startServer(command, args, url, options) {
  const child = spawn(command, args, { stdio: ["ignore", "inherit", "inherit"], detached: true, ...options });
  const exited = new Promise((resolve) => child.once("exit", (code, signal) => resolve(code ?? signal)));
  const deadline = Date.now() + 180_000;
  while (!(await answers(url))) {
    const code = await Promise.race([exited, new Promise((resolve) => setTimeout(resolve, 200, null))]);
    if (code !== null) throw new Error(`The server ended with ${code} before it was ready.`);
    if (Date.now() > deadline) {
      process.kill(-child.pid, "SIGKILL");
      throw new Error("The server was not ready within 3 minutes.");
    }
  }
  return async () => {
    process.kill(-child.pid, "SIGTERM");
    const code = await Promise.race([exited, new Promise((resolve) => setTimeout(resolve, 45_000, "a hang").unref())]);
    if (code === "a hang") process.kill(-child.pid, "SIGKILL");
    return code;
  };
}

async function answers(url) {
  try {
    return (await fetch(url, { signal: AbortSignal.timeout(2000) })).ok;
  } catch {
    return false;
  }
}
