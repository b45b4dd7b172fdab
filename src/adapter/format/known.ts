/** The vocabulary of PEFT's configs: harmless keys, refused keys, methods and initializations by name. */

/** Keys that are read, or that do not affect what a finished LoRA computes. */
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
  "use_qalora",
  "use_rslora",
  "velora_config",
]);

/** Keys that hold objects, with the known keys in them. `megatron_config` belongs to another library and may hold anything. */
export const harmlessObjects: ReadonlyMap<string, ReadonlySet<string>> = new Map([
  ["auto_mapping", new Set(["base_model_class", "parent_library", "unsloth_fixed"])],
  ["runtime_config", new Set(["ephemeral_gpu_offload"])],
  // It keeps less of the inputs for the gradients of A.
  ["velora_config", new Set(["num_groups", "init_type", "scale"])],
  ["eva_config", new Set(["rho", "tau", "use_label_mask", "label_mask_value", "whiten", "adjust_scaling_factors"])],
  [
    "corda_config",
    new Set([
      ...["cache_file", "covariance_file", "corda_method", "verbose"],
      ...["use_float16_for_covariance", "prune_temporary_fields"],
    ]),
  ],
  ["lora_ga_config", new Set(["direction", "scale", "stable_gamma"])],
]);

/** Arguments of mlx-lm's training that do not affect a finished adapter. */
export const harmlessMlxKeys: ReadonlySet<string> = new Set([
  ...["adapter_path", "batch_size", "chat_feature", "clear_cache_threshold", "completion_feature", "config", "data"],
  ...["fine_tune_type", "fuse", "grad_accumulation_steps", "grad_checkpoint", "hf_dataset", "iters", "learning_rate"],
  ...["lora_layers", "lora_parameters", "lr_schedule", "mask_prompt", "max_seq_length", "model", "num_layers"],
  ...["optimizer", "optimizer_config", "project_name", "prompt_feature", "report_to"],
  ...["resume_adapter_file", "save_every", "seed", "steps_per_eval", "steps_per_report", "test", "test_batches"],
  ...["text_feature", "train", "trust_remote_code", "use_chat_template", "use_dora", "val_batches", "wandb"],
]);

/** Keys of `lora_parameters` that are read or only concern training. */
export const mlxParameterKeys: ReadonlySet<string> = new Set(["alpha", "dropout", "keys", "rank", "scale"]);

/** Keys that change the computation: refused unless null, false or empty. */
export const refusedKeys: ReadonlyMap<string, string> = new Map([
  ["alora_invocation_tokens", "activated LoRA"],
  ["arrow_config", "Arrow routing"],
  ["kasa_config", "KaSA"],
  ["layer_replication", "replicated layers"],
  ["loftq_config", "LoftQ quantized the base"],
  ["monteclora_config", "MonteCLoRA"],
  ["target_parameters", "LoRA on bare parameters"],
  ["use_bdlora", "block-diagonal LoRA"],
]);

/** Values of `init_lora_weights`, in lower case, that do not change the base. */
export const harmlessInits: ReadonlySet<string> = new Set(["eva", "gaussian", "mica", "orthogonal"]);

/** Prefixes of `init_lora_weights`, in lower case, that subtract the initial product from the base's weights. */
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
