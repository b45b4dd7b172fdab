/** A lock on an open file that the kernel releases with the file, at the latest when the process ends: what flock(2) promises. */

/**
 * Tries to lock an open file without waiting, until it is closed: for this process alone, or shared with others that ask so too.
 * `unsupported`: this system, or this file system, has no such lock.
 */
export type TryLock = (fd: number, mode?: "exclusive" | "shared") => "locked" | "busy" | "unsupported";
