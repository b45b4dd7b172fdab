/** Faults in the form of Hugging Face's inference API: the message as `error`. Lorikeet's own code is the `code`. */

import type { ErrorForm } from "../fault.js";

export const huggingFaceErrorForm: ErrorForm = (fault) => ({
  status: fault.status,
  body: { error: fault.message, code: fault.code, param: fault.param },
});
