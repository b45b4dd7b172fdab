/** The errors of a template. `template.ts` maps them to client errors. */

/** The Python exceptions of templates; some filters catch some of them. */
export type FaultKind =
  | "TypeError"
  | "ValueError"
  | "KeyError"
  | "OverflowError"
  | "ZeroDivisionError"
  | "UndefinedError"
  | "SecurityError"
  | "TemplateRuntimeError"
  | "LimitError"
  | "NotSupported";

/** An error while a template is rendered. */
export class TemplateFault extends Error {
  readonly kind: FaultKind;

  constructor(kind: FaultKind, message: string) {
    super(message);
    this.name = "TemplateFault";
    this.kind = kind;
  }
}

/** A syntax error in a template. `line` counts from 1. */
export class TemplateSyntaxFault extends Error {
  readonly line: number;

  constructor(message: string, line: number) {
    super(`line ${line}: ${message}`);
    this.name = "TemplateSyntaxFault";
    this.line = line;
  }
}

/** The error of a template's call of `raise_exception`. */
export class RaisedFault extends Error {
  constructor(message: string) {
    super(message);
    this.name = "RaisedFault";
  }
}

export function fault(kind: FaultKind, message: string): never {
  throw new TemplateFault(kind, message);
}

export const typeFault = (message: string): never => fault("TypeError", message);
export const valueFault = (message: string): never => fault("ValueError", message);
