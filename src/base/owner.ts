/**
 * The identity of a process as a short key that fits a file name, and whether that process is still alive. Keys of this machine
 * are checked by process id and start time. Keys of another machine or container cannot be checked.
 */

import { createHash, randomBytes } from "node:crypto";
import { readFileSync, readlinkSync } from "node:fs";
import { hostname } from "node:os";

/** `<place>.<pid>.<start>.<random>`: letters, digits and dots. */
const pattern = /^([0-9a-f]{12})\.([0-9]{1,10})\.([0-9]{1,20})\.([0-9a-f]{8})$/;

/** A fresh key for one opened store of this process. */
export function ownerKey(): string {
  return `${place()}.${process.pid}.${startOf(process.pid) ?? "0"}.${randomBytes(4).toString("hex")}`;
}

/** `elsewhere`: a process of another machine or container, which cannot be checked. */
export type Life = "alive" | "dead" | "elsewhere";

/** Whether the process of a key is alive. */
export function lifeOf(key: string): Life {
  const match = pattern.exec(key);
  if (!match) return "dead";
  const [, where, pidText, start] = match;
  if (where !== place()) return "elsewhere";
  const pid = Number(pidText);
  try {
    process.kill(pid, 0);
  } catch (cause) {
    if (cause instanceof Error && "code" in cause && cause.code === "ESRCH") return "dead";
  }
  if (process.platform !== "linux") return "alive";
  return startOf(pid) === start ? "alive" : "dead"; // the id may since have gone to another process
}

let knownPlace: string | undefined;

/** A hash of the machine and, on Linux, of the namespace in which process ids are valid. */
function place(): string {
  if (knownPlace === undefined) {
    let namespace = "";
    try {
      namespace = readlinkSync("/proc/self/ns/pid");
    } catch {
      // Not Linux, or /proc is hidden: the host's name must do.
    }
    knownPlace = createHash("sha256").update(`${hostname()}\n${namespace}`).digest("hex").slice(0, 12);
  }
  return knownPlace;
}

/** A process's start time in ticks since boot (Linux); undefined for one that is gone or a zombie. */
function startOf(pid: number): string | undefined {
  try {
    const text = readFileSync(`/proc/${pid}/stat`, "latin1");
    const fields = text.slice(text.lastIndexOf(")") + 2).split(" "); // the name before it may contain spaces
    if (fields[0] === "Z" || fields[0] === "X") return undefined;
    return fields[19];
  } catch {
    return undefined;
  }
}
