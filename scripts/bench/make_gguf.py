#!/usr/bin/env python3
"""Writes the GGUF file of a HuggingFace checkpoint of make_model.py (Llama, or Llama 4 with fused experts, in BF16), so that
engines that read only GGUF run the very same weights.

usage: make_gguf.py CHECKPOINT OUT.gguf --tokenizer OTHER.gguf

The tokenizer is another GGUF file's, of as many tokens: llama.cpp loads no model without one. Vectors and routers are kept
in F32, as llama.cpp wants them. Needs the package gguf (build_peers.sh).
"""

import argparse
import json
import os
import pathlib
import re
import sys

import gguf
import numpy as np

GLOBAL = {"model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output"}
LAYER = {"input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm", "self_attn.q_proj": "attn_q",
         "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v", "self_attn.o_proj": "attn_output",
         "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down",
         "feed_forward.gate_proj": "ffn_gate", "feed_forward.up_proj": "ffn_up", "feed_forward.down_proj": "ffn_down",
         "feed_forward.router": "ffn_gate_inp", "feed_forward.shared_expert.gate_proj": "ffn_gate_shexp",
         "feed_forward.shared_expert.up_proj": "ffn_up_shexp", "feed_forward.shared_expert.down_proj": "ffn_down_shexp"}


def write_metadata(writer, config):
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_head_count_kv(config["num_key_value_heads"])
    writer.add_key_length(config["head_dim"])
    writer.add_value_length(config["head_dim"])
    writer.add_rope_dimension_count(config["head_dim"])
    writer.add_rope_freq_base(config["rope_theta"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_vocab_size(config["vocab_size"])
    writer.add_feed_forward_length(config.get("intermediate_size_mlp", config["intermediate_size"]))
    if "num_local_experts" in config:
        writer.add_expert_count(config["num_local_experts"])
        writer.add_expert_used_count(config["num_experts_per_tok"])
        writer.add_expert_feed_forward_length(config["intermediate_size"])
        writer.add_interleave_moe_layer_step(config["moe_layers"][0] + 1)


def copy_tokenizer(writer, path, vocabulary):
    reader = gguf.GGUFReader(path)
    found = len(reader.fields["tokenizer.ggml.tokens"].data)
    if found != vocabulary:
        sys.exit(f"make_gguf: {path} has a tokenizer of {found} tokens; the model has {vocabulary}")
    for field in reader.fields.values():
        if field.name.startswith("tokenizer."):
            element = field.types[-1] if len(field.types) > 1 else None
            writer.add_key_value(field.name, field.contents(), field.types[0], element)


def tensors_of(name, bits, config):
    """(GGUF name, bits) of one tensor of the checkpoint."""
    name = name.removesuffix(".weight")
    if name in GLOBAL:
        yield f"{GLOBAL[name]}.weight", bits
        return
    layer, rest = re.fullmatch(r"model\.layers\.(\d+)\.(.+)", name).groups()
    if rest.endswith("experts.gate_up_proj"):  # [experts, in, gate's outputs and up's]
        gate, up = np.split(bits, 2, axis=2)
        yield f"blk.{layer}.ffn_gate_exps.weight", gate.transpose(0, 2, 1)
        yield f"blk.{layer}.ffn_up_exps.weight", up.transpose(0, 2, 1)
        return
    if rest.endswith("experts.down_proj"):
        yield f"blk.{layer}.ffn_down_exps.weight", bits.transpose(0, 2, 1)
        return
    # llama.cpp rotates neighbours, HuggingFace's Llama the halves of a head (its Llama 4 neighbours too).
    if config["model_type"] == "llama" and rest in ("self_attn.q_proj", "self_attn.k_proj"):
        dim = config["head_dim"]
        bits = bits.reshape(-1, 2, dim // 2, bits.shape[1]).swapaxes(1, 2).reshape(bits.shape)
    yield f"blk.{layer}.{LAYER[rest]}.weight", bits


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("checkpoint", type=pathlib.Path)
    parser.add_argument("out", type=pathlib.Path)
    parser.add_argument("--tokenizer", type=pathlib.Path, required=True)
    arguments = parser.parse_args()
    config = json.loads((arguments.checkpoint / "config.json").read_text())
    unfinished = arguments.out.with_suffix(".part")
    writer = gguf.GGUFWriter(unfinished, "llama4" if "num_local_experts" in config else "llama")
    write_metadata(writer, config)
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_BF16)
    copy_tokenizer(writer, arguments.tokenizer, config["vocab_size"])
    with open(arguments.checkpoint / "model.safetensors", "rb") as file:
        header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
        begin = file.tell()
    header.pop("__metadata__", None)
    whole = np.memmap(arguments.checkpoint / "model.safetensors", np.uint8, "r")
    for name, entry in header.items():
        if entry["dtype"] != "BF16":
            sys.exit(f"make_gguf: {name} is {entry['dtype']}; expected BF16")
        first, end = entry["data_offsets"]
        bits = whole[begin + first:begin + end].view(np.uint16).reshape(entry["shape"])
        for gguf_name, converted in tensors_of(name, bits, config):
            if converted.ndim == 1 or "ffn_gate_inp" in gguf_name:
                writer.add_tensor(gguf_name, (converted.astype(np.uint32) << 16).view(np.float32))
            else:
                writer.add_tensor(gguf_name, np.ascontiguousarray(converted), raw_dtype=gguf.GGMLQuantizationType.BF16)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    os.replace(unfinished, arguments.out)
    print(f"{arguments.out}: {arguments.out.stat().st_size / 1e9:.2f} GB")


if __name__ == "__main__":
    main()
