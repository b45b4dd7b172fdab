/** The words of PEFT's configs: keys that are harmless, keys that are refused, methods and initializations by name. */

/** Read, or without effect on what a finished LoRA computes. */
export const harmlessKeys: ReadonlySet<string> = new Set([
  "alpha_pattern",
  "auto_mapping",
  "base_model_name_or_path",
  "bias",
  "corda_config",
  "ensure_weight_tying",
  "eva_config",
  "exclude_modules",
  "fan_in_fan_out",
  "inference_mode",
  "init_lora_weights",
  "layers_pattern",
  "layers_to_transform",
  "lora_alpha",
  "lora_bias",
  "lora_dropout",
  "lora_ga_config",
  "megatron_config",
  "megatron_core",
  "modules_to_save",
  "peft_type",
  "peft_version",
  "qalora_group_size",
  "r",
  "rank_pattern",
  "revision",
  "runtime_config",
  "target_modules",
  "task_type",
  "trainable_token_indices",
  "use_dora",
  "use_rslora",
]);

/** Change the arithmetic: refused when set to anything but null, false or empty. */
export const refusedKeys: ReadonlyMap<string, string> = new Map([
  ["alora_invocation_tokens", "activated LoRA"],
  ["arrow_config", "Arrow routing"],
  ["kasa_config", "KaSA"],
  ["layer_replication", "replicated layers"],
  ["loftq_config", "LoftQ quantized the base"],
  ["monteclora_config", "MonteCLoRA"],
  ["target_parameters", "LoRA on bare parameters"],
  ["use_bdlora", "block-diagonal LoRA"],
  ["use_qalora", "QA-LoRA"],
  ["velora_config", "VeLoRA"],
]);

/** `init_lora_weights` in lower case, by prefix: those that subtract the first product from the base's weights. */
export const refusedInits: readonly (readonly [prefix: string, name: string])[] = [
  ["pissa", "PiSSA"],
  ["olora", "OLoRA"],
  ["corda", "CorDA"],
  ["loftq", "LoftQ"],
  ["lora_ga", "LoRA-GA"],
];

export const otherMethods: ReadonlyMap<string, string> = new Map([
  ["ADAPTION_PROMPT", "LLaMA-Adapter"],
  ["BOFT", "BOFT"],
  ["CPT", "context-aware prompt tuning"],
  ["FOURIERFT", "FourierFT"],
  ["HRA", "HRA"],
  ["IA3", "(IA)³"],
  ["LN_TUNING", "LayerNorm tuning"],
  ["LOHA", "LoHa"],
  ["LOKR", "LoKr"],
  ["MISS", "MiSS"],
  ["MULTITASK_PROMPT_TUNING", "multitask prompt tuning"],
  ["OFT", "OFT"],
  ["POLY", "Polytropon"],
  ["P_TUNING", "p-tuning"],
  ["PREFIX_TUNING", "prefix tuning"],
  ["PROMPT_TUNING", "prompt tuning"],
  ["RANDLORA", "RandLoRA"],
  ["TRAINABLE_TOKENS", "trainable tokens"],
  ["VBLORA", "VB-LoRA"],
  ["VERA", "VeRA"],
  ["XLORA", "X-LoRA"],
]);
