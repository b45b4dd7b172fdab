/** The error of work that must fail. */

import assert from "node:assert/strict";
import { type ErrorCode, LorikeetError } from "../../src/base/errors.js";

/** Fails unless the work is rejected with this code and a message that matches; returns the error. */
export async function rejects(work: Promise<unknown>, code: ErrorCode, message: RegExp = /./): Promise<LorikeetError> {
  let found: unknown;
  await assert.rejects(work, (error) => {
    found = error;
    return true;
  });
  assert.ok(found instanceof LorikeetError, String(found));
  assert.equal(found.code, code, found.message);
  assert.match(found.message, message);
  return found;
}
