/** What stops a template. Knows nothing of requests: `template.ts` says what a fault means to a client. */

/** The Python exceptions that templates meet; some filters go on after some of them. */
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

/** A fault while a template is rendered. */
export class TemplateFault extends Error {
  readonly kind: FaultKind;

  constructor(kind: FaultKind, message: string) {
    super(message);
    this.name = "TemplateFault";
    this.kind = kind;
  }
}

/** A template that is not well formed. `line` counts from 1. */
export class TemplateSyntaxFault extends Error {
  readonly line: number;

  constructor(message: string, line: number) {
    super(`line ${line}: ${message}`);
    this.name = "TemplateSyntaxFault";
    this.line = line;
  }
}

/** What a template says with `raise_exception`. */
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
