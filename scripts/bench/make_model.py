#!/usr/bin/env python3
"""Writes a HuggingFace checkpoint of random weights in Llama's shape, for measurements that need a size and no sense.

usage: make_model.py OUT [--preset dense-1b | llama4-mini]
       make_model.py OUT [--hidden 2048 --layers 16 --heads 32 --kv-heads 8 --head-dim 64 --mlp 8192 --vocabulary 49152]
                         [--context 8192] [--untied] [--experts 16 --expert-width 2048 --every 2 [--fp8]] [--sparse]

With --experts it is a Llama 4: every --every-th layer has routed experts, bf16 and fused, or with --fp8 a matrix each with
scales. Tensors are written one after another, so memory stays small; --sparse writes headers and holes only (a model of any
size takes no room on disk: enough to plan for). The same flags give the same bytes. Maverick's size:

  make_model.py OUT --sparse --untied --hidden 5120 --layers 48 --heads 40 --head-dim 128 --mlp 16384 --vocabulary 202048 \\
    --experts 128 --expert-width 8192 --context 1048576
"""

import argparse
import json
import math
import os
import pathlib
import struct

import numpy as np

ROWS_AT_ONCE = 1 << 22  # elements
DEVIATION = 0.02
# What compare.py runs: the defaults (1.07 billion parameters), and a Llama 4 of 12 layers, every other one routed.
PRESETS = {
    "dense-1b": {},
    "llama4-mini": {"hidden": 1024, "layers": 12, "heads": 16, "kv_heads": 4, "mlp": 4096, "experts": 16,
                    "expert_width": 2048, "untied": True},
}
# Well above what layers add to it, so that tokens stay different and routers deal them evenly, as trained ones do: with
# an embedding like the other matrices, a fourth of the experts were never chosen.
DEVIATION_OF_EMBEDDING = 1.0


def routed(arguments, layer):
    return arguments.experts > 0 and layer % arguments.every == arguments.every - 1


def mlp(prefix, hidden, width):
    yield prefix + "gate_proj.weight", (width, hidden), "BF16"
    yield prefix + "up_proj.weight", (width, hidden), "BF16"
    yield prefix + "down_proj.weight", (hidden, width), "BF16"


def experts(arguments, prefix):
    hidden, width, count = arguments.hidden, arguments.expert_width, arguments.experts
    yield prefix + "router.weight", (count, hidden), "BF16"
    yield from mlp(prefix + "shared_expert.", hidden, width)
    if not arguments.fp8:
        yield prefix + "experts.gate_up_proj", (count, hidden, 2 * width), "BF16"
        yield prefix + "experts.down_proj", (count, width, hidden), "BF16"
        return
    for expert in range(count):
        for name, shape, _ in mlp(f"{prefix}experts.{expert}.", hidden, width):
            yield name, shape, "F8_E4M3"
            yield name + "_scale", (shape[0], 1), "BF16"


def tensors(arguments):
    """(name, shape, dtype) in the order of the file."""
    hidden, dim = arguments.hidden, arguments.head_dim
    vocabulary = (arguments.vocabulary, hidden)
    yield "model.embed_tokens.weight", vocabulary, "BF16"
    for layer in range(arguments.layers):
        prefix = f"model.layers.{layer}."
        yield prefix + "input_layernorm.weight", (hidden,), "BF16"
        yield prefix + "self_attn.q_proj.weight", (arguments.heads * dim, hidden), "BF16"
        yield prefix + "self_attn.k_proj.weight", (arguments.kv_heads * dim, hidden), "BF16"
        yield prefix + "self_attn.v_proj.weight", (arguments.kv_heads * dim, hidden), "BF16"
        yield prefix + "self_attn.o_proj.weight", (hidden, arguments.heads * dim), "BF16"
        yield prefix + "post_attention_layernorm.weight", (hidden,), "BF16"
        if routed(arguments, layer):
            yield from experts(arguments, prefix + "feed_forward.")
        else:
            yield from mlp(prefix + ("feed_forward." if arguments.experts else "mlp."), hidden, arguments.mlp)
    yield "model.norm.weight", (hidden,), "BF16"
    if arguments.untied:
        yield "lm_head.weight", vocabulary, "BF16"


def bf16(values):
    return (values.astype(np.float32).view(np.uint32) >> 16).astype(np.uint16).tobytes()


def write_tensor(file, shape, dtype, random, deviation):
    if len(shape) == 1:
        file.write(bf16(np.ones(shape[0])))
        return
    left = math.prod(shape)
    while left > 0:
        count = min(left, ROWS_AT_ONCE)
        if dtype == "BF16":
            file.write(bf16(random.standard_normal(count, dtype=np.float32) * deviation))
        else:  # signs and small magnitudes, never NaN
            file.write((random.integers(0, 48, count, dtype=np.uint8) | random.integers(0, 2, count, dtype=np.uint8) << 7).tobytes())
        left -= count


def llama4_config(arguments):
    layers = range(arguments.layers)
    config = {"architectures": ["Llama4ForCausalLM"], "model_type": "llama4_text", "intermediate_size": arguments.expert_width,
              "intermediate_size_mlp": arguments.mlp, "num_local_experts": arguments.experts, "num_experts_per_tok": 1,
              "moe_layers": [layer for layer in layers if routed(arguments, layer)],
              "no_rope_layers": [int(layer % 4 != 3) for layer in layers], "attn_temperature_tuning": True,
              "floor_scale": 8192, "attn_scale": 0.1, "attention_chunk_size": 8192, "use_qk_norm": arguments.experts != 128}  # Scout has it, Maverick not
    if arguments.fp8:
        weights = {"num_bits": 8, "type": "float", "strategy": "channel", "symmetric": True, "dynamic": False}
        config["quantization_config"] = {"quant_method": "compressed-tensors", "format": "float-quantized",
                                         "config_groups": {"group_0": {"targets": ["Linear"], "weights": weights}}}
    return config


def config(arguments):
    values = {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": arguments.hidden,
            "num_hidden_layers": arguments.layers, "num_attention_heads": arguments.heads,
            "num_key_value_heads": arguments.kv_heads, "head_dim": arguments.head_dim,
            "intermediate_size": arguments.mlp, "vocab_size": arguments.vocabulary, "rope_theta": 500000.0,
            "rms_norm_eps": 1e-5, "hidden_act": "silu", "max_position_embeddings": arguments.context,
            "tie_word_embeddings": not arguments.untied, "bos_token_id": 1, "eos_token_id": 2,
            "torch_dtype": "bfloat16"}
    return values | (llama4_config(arguments) if arguments.experts else {})


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("out", type=pathlib.Path)
    for flag, default in (("hidden", 2048), ("layers", 16), ("heads", 32), ("kv-heads", 8), ("head-dim", 64),
                          ("mlp", 8192), ("vocabulary", 49152), ("context", 8192), ("experts", 0), ("expert-width", 2048), ("every", 2)):
        parser.add_argument(f"--{flag}", type=int, default=default)
    parser.add_argument("--preset", choices=PRESETS, help="other flags' values, which they may still change")
    parser.add_argument("--untied", action="store_true", help="the head is a tensor of its own")
    parser.add_argument("--fp8", action="store_true", help="routed experts are FP8, with a scale an output")
    parser.add_argument("--sparse", action="store_true", help="headers and holes only")
    parser.set_defaults(**PRESETS.get(parser.parse_args().preset, {}))
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    (arguments.out / "config.json").write_text(json.dumps(config(arguments), indent=1) + "\n")
    header, offset = {}, 0
    elements = 0
    for name, shape, dtype in tensors(arguments):
        end = offset + math.prod(shape) * (2 if dtype == "BF16" else 1)
        elements += math.prod(shape)
        header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [offset, end]}
        offset = end
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    unfinished = arguments.out / "model.safetensors.part"
    random = np.random.default_rng(1)
    with open(unfinished, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        if arguments.sparse:
            file.truncate(8 + len(text) + offset)
        else:
            for name, shape, dtype in tensors(arguments):
                write_tensor(file, shape, dtype, random, DEVIATION_OF_EMBEDDING if "embed" in name else DEVIATION)
    os.replace(unfinished, arguments.out / "model.safetensors")
    print(f"{arguments.out}: {elements / 1e6:.0f} million parameters, {offset / 1e9:.2f} GB")


if __name__ == "__main__":
    main()
