/** A config as it was read, whoever wrote it. Holds no behaviour. */

import type { MethodConfig } from "../canonical.js";
import type { AdapterMethod } from "../methods/method.js";
import type { MlxTargets, PeftTargets } from "../targets.js";

export interface ReadConfig extends MethodConfig {
  readonly method: AdapterMethod;
  readonly baseName: string | null;
  readonly modulesToSave: readonly string[];
  readonly trainsBias: boolean;
  /** Which modules it names; null where that was looked at before. */
  readonly targets: PeftTargets | MlxTargets | null;
}
