/** The logger that every room takes as an argument. `cli` passes in pino; no room creates its own. */

export interface Logger {
  debug(fields: object, message: string): void;
  info(fields: object, message: string): void;
  warn(fields: object, message: string): void;
  error(fields: object, message: string): void;
}

const nothing = (): void => {};

/** A silent logger: the default for libraries and tests. */
export const silent: Logger = { debug: nothing, info: nothing, warn: nothing, error: nothing };

/** Reports the progress of a long operation. `done` and `total` share a unit, which is shown if it is bytes. */
export type Progress = (what: string, done: number, total: number, unit?: "bytes") => void;
