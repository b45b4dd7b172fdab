/** Starts the server of a recipe on a free port, and ends it. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdir } from "node:fs/promises";
import { createServer } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { program } from "./lorikeet.js";

export interface Server extends AsyncDisposable {
  readonly url: string;
}

/** Serves a base, and adapters of a folder, which is made. Throws if the server ends before it is ready. */
export async function serve(model: string, adapters: string): Promise<Server> {
  await mkdir(adapters, { recursive: true });
  const port = await freePort();
  const url = `http://127.0.0.1:${port}`;
  const options = ["--adapters", adapters, "--port", String(port), "--log-level", "warn", "--threads", "1"];
  const child = spawn(process.execPath, [program, "serve", model, ...options], {
    stdio: ["ignore", "ignore", "inherit"],
  });
  const exited = once(child, "exit");
  while (!(await isReady(url))) {
    const ended = await Promise.race([exited.then(() => true), sleep(100, false)]);
    if (ended) throw new Error(`The server of ${model} ended with ${child.exitCode ?? child.signalCode}.`);
  }
  return {
    url,
    async [Symbol.asyncDispose]() {
      child.kill("SIGTERM");
      await exited;
    },
  };
}

const isReady = (url: string): Promise<boolean> =>
  fetch(`${url}/ready`).then(
    ({ ok }) => ok,
    () => false,
  );

async function freePort(): Promise<number> {
  const probe = createServer().listen(0, "127.0.0.1");
  await once(probe, "listening");
  const address = probe.address();
  probe.close();
  await once(probe, "close");
  return typeof address === "object" && address ? address.port : 0;
}
