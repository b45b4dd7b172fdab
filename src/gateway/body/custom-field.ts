/** A schema from a function that reads a value or says what is wrong with it. */
import * as v from "valibot";
import { Found } from "./parse.js";

/** A value that is wrong: the rule it breaks, and what was found. */
export class Wrong {
  constructor(
    readonly rule: string,
    readonly found: string,
  ) {}
}

export function customField<T>(read: (value: unknown) => T | Wrong) {
  return v.pipe(
    v.unknown(),
    v.rawTransform<unknown, T>(({ dataset, addIssue, NEVER }) => {
      const result = read(dataset.value);
      if (!(result instanceof Wrong)) return result;
      addIssue({ message: result.rule, input: new Found(result.found) });
      return NEVER;
    }),
  );
}
