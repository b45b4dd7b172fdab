/** A lock on an open file that the kernel releases with the file, at the latest when the process ends: what flock(2) promises. */

/**
 * Tries to lock an open file without waiting, until it is closed: exclusively, or shared with other `shared` locks.
 * `unsupported`: this system, or this file system, has no such lock.
 */
export type TryLock = (fd: number, mode?: "exclusive" | "shared") => "locked" | "busy" | "unsupported";
