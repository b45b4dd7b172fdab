"""Decode steps of transformers with PEFT, as `lorikeet bench engine` measures its own: python peft_decode.py MODEL

MODEL is the random model of the benchmark: bench/360M.1/model below the cache folder. Needs torch, transformers and peft. Prints JSON:
tokens a second of batches with no adapter, with one, and with as many as rows, each row at 256 tokens. On a GPU in bf16, else in fp32.
"""

import json
import statistics
import sys
import time

import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM
from transformers.cache_utils import DynamicCache

CONTEXT, RANK, STEPS = 256, 16, 12

device = "cuda" if torch.cuda.is_available() else "cpu"
dtype = torch.bfloat16 if device == "cuda" else torch.float32
model = AutoModelForCausalLM.from_pretrained(sys.argv[1], dtype=dtype).to(device).eval()
vocabulary = model.config.vocab_size
batches = [1, 4, 16] if device == "cuda" else [1, 4]

lora = LoraConfig(r=RANK, lora_alpha=2 * RANK, target_modules="all-linear", task_type="CAUSAL_LM", init_lora_weights=False)
names = [f"adapter{i}" for i in range(max(batches))]
adapted = get_peft_model(model, lora, adapter_name=names[0])
for name in names[1:]:
    adapted.add_adapter(name, lora)
adapted = adapted.to(dtype).eval()


def wait():
    if device == "cuda":
        torch.cuda.synchronize()


@torch.no_grad()
def rate(rows, adapters):
    """Median tokens a second of steps after the prompt; the first steps do not count."""
    which = {} if adapters == 0 else {"adapter_names": [names[row % adapters] for row in range(rows)]}
    if adapters == 0:
        which = {"adapter_names": ["__base__"] * rows}
    ids = torch.randint(0, vocabulary, (rows, CONTEXT), device=device)
    cache = DynamicCache()
    logits = adapted(input_ids=ids, past_key_values=cache, use_cache=True, logits_to_keep=1, **which).logits
    times = []
    for _ in range(STEPS):
        token = logits[:, -1:].argmax(-1)
        wait()
        began = time.perf_counter()
        logits = adapted(input_ids=token, past_key_values=cache, use_cache=True, **which).logits
        wait()
        times.append(time.perf_counter() - began)
    return rows / statistics.median(times[3:])


cells = [
    {"rows": rows, "adapters": adapters, "tokens_per_second": round(rate(rows, adapters), 2)}
    for rows in batches
    for adapters in sorted({0, 1, rows})
]
name = torch.cuda.get_device_name() if device == "cuda" else "cpu"
print(json.dumps({"device": name, "dtype": str(dtype), "context": CONTEXT, "rank": RANK, "cells": cells}, indent=2))
