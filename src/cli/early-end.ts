/**
 * Signals that arrive while the program's modules are still being read. As the first process of a container it would not
 * get them otherwise: there the system drops signals that nobody listens for. Import it before everything else.
 */

const names = ["SIGINT", "SIGTERM"] as const;
const end = (): void => process.exit(0);

if (process.argv[2] === "serve") for (const name of names) process.on(name, end);

/** From now on signals are someone else's. */
export function stopEarlyEnd(): void {
  for (const name of names) process.off(name, end);
}
