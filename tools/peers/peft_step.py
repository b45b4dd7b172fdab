"""The step of `lorikeet bench train` with PEFT and PyTorch: python peft_step.py MODEL [fp32|bf16] [rows length]

MODEL is the random model of the benchmark: bench/135M.1/model below the cache folder. Needs torch, transformers and peft.
Prints the median of five steps after three, and the process's peak memory.
"""

import resource
import statistics
import sys
import time

import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM

folder, form, rows, length = (sys.argv[1:] + ["fp32", "4", "256"][len(sys.argv) - 2 :])[:4]
rows, length = int(rows), int(length)
torch.set_num_threads(2)
torch.manual_seed(0)
model = AutoModelForCausalLM.from_pretrained(folder, dtype={"fp32": torch.float32, "bf16": torch.bfloat16}[form])
lora = LoraConfig(r=16, lora_alpha=32, target_modules="all-linear", task_type="CAUSAL_LM")
model = get_peft_model(model, lora).train()
trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
optimizer = torch.optim.AdamW(trained, lr=2e-4)
ids = torch.randint(0, model.config.vocab_size, (rows, length))
seconds = []
for _ in range(8):
    began = time.perf_counter()
    model(input_ids=ids, labels=ids).loss.backward()
    torch.nn.utils.clip_grad_norm_(trained, 1.0)
    optimizer.step()
    optimizer.zero_grad()
    seconds.append(time.perf_counter() - began)
median = statistics.median(seconds[3:])
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
print(f"{form} {rows} x {length}: {rows * length / median:.1f} tokens/s, step {median * 1000:.0f} ms, peak {peak / 1e9:.2f} GB")
