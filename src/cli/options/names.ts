/** The names of an option on the command line, in a config file and in the environment. */

/** `maxBatch` → `max-batch`: the flag without its dashes, and the key in a config file. */
export function flagName(name: string): string {
  return name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);
}

/** `maxBatch` → `LORIKEET_MAX_BATCH`. */
export function environmentName(name: string): string {
  return `LORIKEET_${flagName(name).replaceAll("-", "_").toUpperCase()}`;
}
