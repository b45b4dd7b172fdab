"""The models of `lorikeet bench tasks` with PEFT and PyTorch: python peft_tasks.py [REPORT] [--threads N] [--quick]

REPORT is what `lorikeet bench tasks --json` printed; with it each figure stands beside Lorikeet's. Needs torch, transformers and peft.
Rank 8 on the same layers, fp32, random weights, the batch as one call. `distinct` is PEFT's mixed batch, an adapter for each row.
"""

import argparse
import json
import statistics
import time

import torch
from peft import LoraConfig, get_peft_model
from transformers import BertConfig, BertModel, ResNetConfig, ResNetForImageClassification

parser = argparse.ArgumentParser()
parser.add_argument("report", nargs="?")
parser.add_argument("--threads", type=int, default=1)
parser.add_argument("--quick", action="store_true")
options = parser.parse_args()
rounds, warmups = (2, 1) if options.quick else (15, 3)
torch.set_num_threads(options.threads)
torch.manual_seed(0)
most = 8


def encoder():
    config = BertConfig(hidden_size=384, num_hidden_layers=6, num_attention_heads=12, intermediate_size=1536)
    return BertModel(config, add_pooling_layer=False)


def residual():
    sizes = dict(embedding_size=64, hidden_sizes=[64, 128, 256, 512], depths=[2, 2, 2, 2], layer_type="basic")
    return ResNetForImageClassification(ResNetConfig(**sizes, num_labels=1000))


def ids(rows):
    row = torch.arange(64).remainder(97).repeat(rows, 1)
    return {"input_ids": row, "attention_mask": torch.ones_like(row)}


def pixels(rows):
    return {"pixel_values": torch.arange(rows * 3 * 224 * 224).sin().reshape(rows, 3, 224, 224)}


def adapted(base):
    kinds = (torch.nn.Linear, torch.nn.Conv2d)
    layers = [name for name, module in base.named_modules() if isinstance(module, kinds)]
    lora = LoraConfig(r=8, lora_alpha=8, target_modules=layers, init_lora_weights=False)
    model = get_peft_model(base, lora, adapter_name="a0")
    for index in range(1, most):
        model.add_adapter(f"a{index}", lora)
    return model.eval(), len(layers)


def milliseconds(call):
    began = time.perf_counter()
    call()
    return 1000 * (time.perf_counter() - began)


ours = {}
if options.report:
    with open(options.report) as file:
        cells = json.load(file)["cells"]
    ours = {(cell["model"].split()[0].rstrip(","), cell["rows"], cell["adapters"]): cell["ms"]["median"] for cell in cells}

print(f"PyTorch {torch.__version__}, {options.threads} threads; median of {rounds} rounds in turns, ms")
for name, make, inputs in (("encoder", encoder, ids), ("ResNet-18", residual, pixels)):
    model, layers = adapted(make())
    print(f"{name}: rank 8 on {layers} layers")
    for rows in (1, most):
        batch = inputs(rows)
        names = [f"a{row}" for row in range(rows)]

        def base():
            with model.disable_adapter():
                model(**batch)

        contenders = {"none": base, "one": lambda: model(**batch)}
        if rows > 1:
            contenders["distinct"] = lambda: model(**batch, adapter_names=names)
        samples = {key: [] for key in contenders}
        with torch.inference_mode():
            for turn in range(-warmups, rounds):
                for key in list(contenders) if turn % 2 == 0 else list(contenders)[::-1]:
                    taken = milliseconds(contenders[key])
                    if turn >= 0:
                        samples[key].append(taken)
        for key in contenders:
            median = statistics.median(samples[key])
            own = ours.get((name, rows, key))
            beside = f"  Lorikeet {own:8.1f}, {own / median:.2f} of PEFT's" if own else ""
            print(f"  batch {rows} {key:9}{median:8.1f}  {min(samples[key]):8.1f} to {max(samples[key]):8.1f}{beside}")
