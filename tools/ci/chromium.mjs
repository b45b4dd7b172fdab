// A headless Chromium for a check: found, or installed if possible, and driven over the DevTools protocol.
import { execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { setTimeout as sleep } from "node:timers/promises";
import { WebSocket } from "ws";

const names = ["chromium", "chromium-browser", "google-chrome-stable", "google-chrome"];

/** The path of a Chromium, or null. Installs Debian's if there is none and the user is root. */
export function findChromium() {
  const found = () =>
    (process.env.PATH ?? "")
      .split(":")
      .flatMap((folder) => names.map((name) => join(folder, name)))
      .find((path) => existsSync(path)) ?? null;
  if (found() === null && process.getuid() === 0 && existsSync("/usr/bin/apt-get")) {
    const options = { stdio: "inherit", env: { ...process.env, DEBIAN_FRONTEND: "noninteractive" } };
    execFileSync("apt-get", ["update", "-qq"], options);
    execFileSync("apt-get", ["install", "-y", "-qq", "--no-install-recommends", "chromium"], options);
  }
  return found();
}

/** How many times slower pages run than this machine would let them: `CPU_SLOWDOWN=6` shows what a check takes for granted. */
const slowdown = Number(process.env.CPU_SLOWDOWN ?? 1);
/** A call of the protocol may run a script that waits for several things, each for minutes on a busy machine. */
const patienceMs = 600_000;

/** Starts it with every host name except this machine's resolving to loopback. */
export async function startChromium(path) {
  const profile = mkdtempSync(join(tmpdir(), "lorikeet-chromium-"));
  const child = spawn(
    path,
    [
      "--headless",
      ...(process.getuid() === 0 ? ["--no-sandbox"] : []),
      "--disable-gpu",
      "--disable-quic",
      "--disable-dev-shm-usage",
      "--no-first-run",
      "--disable-background-networking",
      "--disable-component-update",
      "--disable-sync",
      "--host-resolver-rules=MAP *.example 127.0.0.1",
      "--remote-debugging-port=0",
      `--user-data-dir=${profile}`,
      "about:blank",
    ],
    { stdio: ["ignore", "ignore", "pipe"] },
  );
  const exited = once(child, "exit");
  const protocol = new Protocol(await addressOf(child));
  await protocol.opened;
  return {
    /** Opens a page in a new tab; `run` evaluates an expression in it. */
    async open(url) {
      const { targetId } = await protocol.send("Target.createTarget", { url: "about:blank" });
      const { sessionId } = await protocol.send("Target.attachToTarget", { targetId, flatten: true });
      const run = async (expression) => {
        const options = { expression, awaitPromise: true, returnByValue: true };
        const { result, exceptionDetails } = await protocol.send("Runtime.evaluate", options, sessionId);
        if (exceptionDetails) throw new Error(`${url}: ${exceptionDetails.exception?.description}`);
        return result.value;
      };
      await protocol.send("Page.enable", {}, sessionId);
      if (slowdown > 1) await protocol.send("Emulation.setCPUThrottlingRate", { rate: slowdown }, sessionId);
      // Answered when the new document is there. An event of its load may be that of the empty tab before it.
      await protocol.send("Page.navigate", { url }, sessionId);
      while ((await run("document.readyState")) !== "complete") await sleep(20);
      return {
        run,
        /** Calls a method of the DevTools protocol in this page. */
        send: (method, params = {}) => protocol.send(method, params, sessionId),
        close: () => protocol.send("Target.closeTarget", { targetId }),
      };
    },
    async stop() {
      protocol.close();
      child.kill("SIGTERM");
      const timer = setTimeout(() => child.kill("SIGKILL"), 5_000);
      await exited;
      clearTimeout(timer);
      await removeProfile(profile);
    },
  };
}

/** Removes the profile. Chromium's children may write into it for some seconds after their parent has exited; leftovers are not an error. */
async function removeProfile(profile) {
  for (let tries = 0; tries < 20; tries++) {
    try {
      return rmSync(profile, { recursive: true, force: true });
    } catch {
      await sleep(500);
    }
  }
  console.error(`${profile} stays: Chromium still writes into it.`);
}

/** The address of its DevTools, which it prints at startup. */
function addressOf(child) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error("Chromium did not start within a minute.")), 60_000);
    child.once("exit", (code) => reject(new Error(`Chromium ended with ${code} before it was ready.`)));
    createInterface({ input: child.stderr }).on("line", (line) => {
      const address = /^DevTools listening on (ws:\S+)/.exec(line)?.[1];
      if (address === undefined) return;
      clearTimeout(timer);
      resolve(address);
    });
  });
}

class Protocol {
  #socket;
  #last = 0;
  #calls = new Map();

  constructor(address) {
    this.#socket = new WebSocket(address, { maxPayload: 2 ** 28 });
    this.opened = once(this.#socket, "open");
    this.#socket.on("message", (data) => this.#receive(JSON.parse(String(data))));
  }

  send(method, params, sessionId) {
    const id = ++this.#last;
    this.#socket.send(JSON.stringify({ id, method, params, sessionId }));
    return new Promise((resolve, reject) => {
      const timer = setTimeout(
        () => reject(new Error(`${method} took more than ${patienceMs / 60_000} minutes.`)),
        patienceMs,
      );
      this.#calls.set(id, { timer, resolve, reject });
    });
  }

  close() {
    this.#socket.terminate();
  }

  /** Events have no id, and nobody waits for them. */
  #receive({ id, result, error }) {
    if (id === undefined) return;
    const call = this.#calls.get(id);
    this.#calls.delete(id);
    clearTimeout(call?.timer);
    if (error) call?.reject(new Error(error.message));
    else call?.resolve(result);
  }
}
