/** The `system_fingerprint` of responses: a hash of the base model's weights and the options that affect results. */

import { createHash } from "node:crypto";
import { weightsIdentity } from "../model/checkpoint/identity.js";
import type { Checkpoint } from "../model/types.js";
import type { Tokenizer } from "../text/types.js";
import type { EngineSettings } from "./options/engine-options.js";
import type { Precision } from "./precision.js";
import { readVersion } from "./version.js";

export async function systemFingerprint(
  checkpoint: Checkpoint,
  { dtype, headDtype }: Precision,
  { exact, generationConfig, device, kvCacheDtype, activationDtype, accuracyLevel }: EngineSettings,
  tokenizer: Pick<Tokenizer, "chatTemplate" | "toolTemplate"> | null,
): Promise<string> {
  const weights = await weightsIdentity(checkpoint);
  const templates = [tokenizer?.chatTemplate ?? null, tokenizer?.toolTemplate ?? null];
  const types = [dtype, headDtype, kvCacheDtype, activationDtype, accuracyLevel];
  const parts = [readVersion(), weights, ...types, device, exact, generationConfig, ...templates];
  return `fp_${createHash("sha256").update(JSON.stringify(parts)).digest("hex").slice(0, 12)}`;
}
