/**
 * Exits on signals that arrive while the program's modules are still loading. As process 1 of a container, the program would not
 * get them otherwise: the kernel drops signals without a handler there. Import this before everything else.
 */

const names = ["SIGINT", "SIGTERM"] as const;
const end = (): void => process.exit(0);

if (process.argv[2] === "serve") for (const name of names) process.on(name, end);

/** Call it once another handler is installed. */
export function stopEarlyEnd(): void {
  for (const name of names) process.off(name, end);
}
