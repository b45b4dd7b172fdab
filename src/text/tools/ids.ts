/** Ids of calls. */
import { randomBytes } from "node:crypto";

/** As OpenAI's look. */
export const callId = (): string => `call_${randomBytes(12).toString("hex")}`;

const letters = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/** Mistral's templates refuse other ids than nine letters and digits. */
export const shortId = (): string => Array.from(randomBytes(9), (byte) => letters[byte % letters.length]).join("");
