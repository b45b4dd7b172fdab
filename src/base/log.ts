/** The logger that every room takes as an argument. `cli` hands in pino; a room never makes its own. */

export interface Logger {
  debug(fields: object, message: string): void;
  info(fields: object, message: string): void;
  warn(fields: object, message: string): void;
  error(fields: object, message: string): void;
}

const nothing = (): void => {};

/** A logger that says nothing: the default for libraries and tests. */
export const silent: Logger = { debug: nothing, info: nothing, warn: nothing, error: nothing };

/** Reports how far a long piece of work has come; `done` and `total` are in the same unit, which is shown where it is bytes. */
export type Progress = (what: string, done: number, total: number, unit?: "bytes") => void;
