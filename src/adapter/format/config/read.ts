/** A config as read, whatever program wrote it. */

import type { MethodConfig } from "../canonical.js";
import type { AdapterMethod } from "../methods/method.js";
import type { MlxTargets, PeftTargets } from "../targets.js";
import type { TrainedTokens } from "../trained-tokens.js";

export interface ReadConfig extends MethodConfig {
  readonly method: AdapterMethod;
  readonly baseName: string | null;
  /** PEFT's `task_type`, as the config has it. */
  readonly taskType: unknown;
  readonly modulesToSave: readonly string[];
  readonly trainsBias: boolean;
  /** Inputs of a group with `use_qalora`, which PEFT follows over bases quantized by GPTQ alone; null without it. */
  readonly qaloraGroup: number | null;
  /** Whether an adapter of the embeddings adapts a tied head, too. */
  readonly tiesWeights: boolean;
  readonly trainedTokens: readonly TrainedTokens[];
  /** The modules that it names; null if they were compared before. */
  readonly targets: PeftTargets | MlxTargets | null;
}
