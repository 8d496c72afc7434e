#!/usr/bin/env python3
"""Checks one rank's file of a Llama 4 shard directory against the checkpoint it was cut from.

An opinion of its own: which slices a rank must hold is computed here from config.json and the rules of the design, not
read from the manifest; so are names and shapes, and that nothing is missing and nothing is extra. Bytes are compared
at the edges of every slice (where make_sparse_checkpoint --pattern has its marks) and in sampled rows, or with --all
everywhere.

example: .cache/venv/bin/python scripts/check_shard_slices.py --checkpoint /tmp/maverick --shards /tmp/shards \\
             --tp 8 --pp 8 --rank 17

The rules: of a model with routed experts, stage p of P has layers [L*p/P, L*(p+1)/P). A stage's ep*tp ranks are shards of its layers. What is halved
is halved once a bit of the shard's number, highest first, the left half the larger. Attention halves KV heads, and
query heads below one KV head; MLPs halve their 8 leaves, which halve the width; the vocabulary is halved; routed
experts are halved among ep groups, and their width among the tp ranks of a group; norms and the router are whole.
"""

import argparse
import json
import mmap
import pathlib
import struct
import sys

import numpy
import safetensors

SIZES = {"F32": 4, "F16": 2, "BF16": 2, "F8_E4M3": 1}
MLP_LEAVES = 8
CHUNK_BYTES = 64 << 20


# ---- the rules ---------------------------------------------------------------------------------------------

def halved(extent, part, parts):
    """[begin, end) of the part."""
    begin, end = 0, extent
    while parts > 1:
        parts //= 2
        middle = end - (end - begin) // 2
        if part >= parts:
            begin, part = middle, part - parts
        else:
            end = middle
    return begin, end


def halved_width(width, part, parts):
    first, last = halved(MLP_LEAVES, part, parts)
    return halved(width, first, MLP_LEAVES)[0], halved(width, last - 1, MLP_LEAVES)[1]


def halved_heads(heads, kv_heads, part, parts):
    """(query heads, KV heads)."""
    if parts <= kv_heads:
        kv = halved(kv_heads, part, parts)
        return tuple(head * (heads // kv_heads) for head in kv), kv
    # Below one KV head, if they run out evenly: the shards that share it halve its query heads.
    if kv_heads & (kv_heads - 1):
        sys.exit(f"{kv_heads} KV heads over {parts} shards: not a case that this check knows")
    sharing, group = parts // kv_heads, heads // kv_heads
    kv = part // sharing
    begin, end = halved(group, part % sharing, sharing)
    return (kv * group + begin, kv * group + end), (kv, kv + 1)


class Expected:
    """What the rank's file must hold: {name: (tensor of the checkpoint, [range of each axis])}."""

    def __init__(self, config, flags):
        text = config.get("text_config", config)
        self.text, self.quantized = text, "quantization_config" in config or "quantization_config" in text
        self.prefix = "language_model." if "text_config" in config else ""
        self.tensors = {}
        shards = flags.ep * flags.tp
        stage, self.shard = divmod(flags.rank, shards)
        self.shards, self.ep, self.tp = shards, flags.ep, flags.tp
        self.hidden = text["hidden_size"]
        layers = text["num_hidden_layers"]
        for layer in range(layers * stage // flags.pp, layers * (stage + 1) // flags.pp):
            self.add_layer(layer)
        vocabulary = halved(text["vocab_size"], self.shard, shards)
        if stage == 0:
            self.add(self.prefix + "model.embed_tokens.weight", [vocabulary, (0, self.hidden)])
        if stage == flags.pp - 1:
            self.add(self.prefix + "model.norm.weight", [(0, self.hidden)])
            self.add(self.prefix + "lm_head.weight", [vocabulary, (0, self.hidden)])

    def add(self, name, ranges, source=None):
        self.tensors[name] = (source or name, ranges)

    def add_mlp(self, name, width):
        mine = halved_width(width, self.shard, self.shards)
        self.add(name + "gate_proj.weight", [mine, (0, self.hidden)])
        self.add(name + "up_proj.weight", [mine, (0, self.hidden)])
        self.add(name + "down_proj.weight", [(0, self.hidden), mine])

    def add_layer(self, layer):
        text, name = self.text, f"{self.prefix}model.layers.{layer}."
        whole = (0, self.hidden)
        heads, kv_heads = text["num_attention_heads"], text["num_key_value_heads"]
        dim = text.get("head_dim") or self.hidden // heads
        query, kv = ([head * dim for head in held] for held in halved_heads(heads, kv_heads, self.shard, self.shards))
        self.add(name + "input_layernorm.weight", [whole])
        self.add(name + "post_attention_layernorm.weight", [whole])
        self.add(name + "self_attn.q_proj.weight", [query, whole])
        self.add(name + "self_attn.k_proj.weight", [kv, whole])
        self.add(name + "self_attn.v_proj.weight", [kv, whole])
        self.add(name + "self_attn.o_proj.weight", [whole, query])
        routed = text.get("moe_layers") or [every for every in range(text["num_hidden_layers"])
                                            if (every + 1) % text["interleave_moe_layer_step"] == 0]
        if layer not in routed:
            self.add_mlp(name + "feed_forward.", text["intermediate_size_mlp"])
            return
        self.add(name + "feed_forward.router.weight", [(0, text["num_local_experts"]), whole])
        self.add_mlp(name + "feed_forward.shared_expert.", text["intermediate_size"])
        self.add_experts(name + "feed_forward.experts.")

    def add_experts(self, name):
        width, whole = self.text["intermediate_size"], (0, self.hidden)
        group, slice_of_group = divmod(self.shard, self.tp)
        experts = halved(self.text["num_local_experts"], group, self.ep)
        mine = halved_width(width, slice_of_group, self.tp)
        if not self.quantized:
            # [experts, inputs, outputs]; the checkpoint's gate_up_proj has gate's columns, then up's.
            self.add(name + "gate_proj", [experts, whole, mine], name + "gate_up_proj")
            self.add(name + "up_proj", [experts, whole, tuple(width + edge for edge in mine)], name + "gate_up_proj")
            self.add(name + "down_proj", [experts, mine, whole])
            return
        for expert in range(*experts):
            for matrix, outputs, inputs in (("gate", mine, whole), ("up", mine, whole), ("down", whole, mine)):
                weight = f"{name}{expert}.{matrix}_proj.weight"
                self.add(weight, [outputs, inputs])
                self.add(weight + "_scale", [outputs, (0, 1)])


# ---- files -------------------------------------------------------------------------------------------------

class File:
    """A mapped safetensors file; its header read here, because numpy has no bfloat16."""

    def __init__(self, path):
        with safetensors.safe_open(path, framework="numpy") as opened:  # has an opinion on the header too
            self.names = set(opened.keys())
        with open(path, "rb") as file:
            length = struct.unpack("<Q", file.read(8))[0]
            self.header = json.loads(file.read(length))
            self.mapped = mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)
        self.mapped.madvise(mmap.MADV_RANDOM)
        self.begin = 8 + length

    def tensor(self, name):
        """(dtype, an array of unsigned integers of its size)."""
        entry = self.header[name]
        begin, end = entry["data_offsets"]
        raw = numpy.frombuffer(self.mapped, dtype=f"u{SIZES[entry['dtype']]}", offset=self.begin + begin,
                               count=(end - begin) // SIZES[entry["dtype"]])
        return entry["dtype"], raw.reshape(entry["shape"])


class Checkpoint:
    def __init__(self, folder):
        self.folder, self.files = folder, {}
        index = folder / "model.safetensors.index.json"
        self.places = json.loads(index.read_text())["weight_map"] if index.exists() else None

    def tensor(self, name):
        file = self.places[name] if self.places else "model.safetensors"
        if file not in self.files:
            self.files[file] = File(self.folder / file)
        return self.files[file].tensor(name)


class Comparison:
    """Compares regions with slices, and counts what it saw."""

    def __init__(self, everything, rows, seed):
        self.everything, self.rows, self.random = everything, rows, numpy.random.default_rng(seed)
        self.compared = self.nonzero = 0

    def equal(self, region, held):
        """Of at most two axes."""
        region, held = numpy.asarray(region), numpy.asarray(held)
        self.compared += held.size
        self.nonzero += int(numpy.count_nonzero(held))
        return numpy.array_equal(region, held)

    def matrices_agree(self, region, held):
        if held.ndim < 2 or held.shape[-1] == 1:
            return self.equal(region, held)
        count = held.shape[0]
        if self.everything:
            step = max(1, CHUNK_BYTES // (held.shape[1] * held.itemsize))
            return all(self.equal(region[row:row + step], held[row:row + step]) for row in range(0, count, step))
        rows = {0, 1, count // 2, count - 2, count - 1} & set(range(count))
        rows |= set(self.random.integers(0, count, self.rows).tolist())
        columns = [0, held.shape[1] - 1]
        return (all(self.equal(region[row], held[row]) for row in sorted(rows))
                and self.equal(region[::max(1, count // 64), columns], held[::max(1, count // 64), columns]))

    def agrees(self, region, held):
        if held.ndim == 3:
            return all(self.matrices_agree(region[expert], held[expert]) for expert in range(held.shape[0]))
        return self.matrices_agree(region, held)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", type=pathlib.Path, required=True)
    parser.add_argument("--shards", type=pathlib.Path, required=True)
    for axis in ("tp", "pp", "ep"):
        parser.add_argument("--" + axis, type=int, default=1)
    parser.add_argument("--rank", type=int, required=True)
    parser.add_argument("--all", action="store_true", help="compare every byte")
    parser.add_argument("--rows", type=int, default=4, help="rows of each matrix drawn at random (4)")
    parser.add_argument("--seed", type=int, default=0)
    flags = parser.parse_args()

    config = json.loads((flags.checkpoint / "config.json").read_text())
    expected = Expected(config, flags).tensors
    checkpoint = Checkpoint(flags.checkpoint)
    ranks = flags.tp * flags.pp * flags.ep
    path = flags.shards / f"rank-{flags.rank:05}-of-{ranks:05}.safetensors"
    shard = File(path)
    wrong = [f"{name} is missing" for name in sorted(set(expected) - shard.names)]
    wrong += [f"{name} is extra" for name in sorted(shard.names - set(expected))]
    comparison, total = Comparison(flags.all, flags.rows, flags.seed), 0
    for name in sorted(set(expected) & shard.names):
        source_name, ranges = expected[name]
        stored_as, source = checkpoint.tensor(source_name)
        dtype, held = shard.tensor(name)
        region = source[tuple(slice(*each) for each in ranges)]
        total += held.nbytes
        if dtype != stored_as or held.shape != region.shape:
            wrong.append(f"{name} is {dtype} {list(held.shape)}; expected {stored_as} {list(region.shape)}")
        elif not comparison.agrees(region, held):
            wrong.append(f"{name} has other bytes than {source_name}{[tuple(each) for each in ranges]}")
    if path.stat().st_size != shard.begin + total + sum(shard.tensor(name)[1].nbytes
                                                        for name in shard.names - set(expected)):
        wrong.append("the file's size is not that of its header and tensors")
    for line in wrong:
        print(f"{path}: {line}", file=sys.stderr)
    print(f"{path}: {len(expected)} slices, {total} bytes, {comparison.compared} values compared, "
          f"{comparison.nonzero} of them not zero: {'WRONG' if wrong else 'OK'}")
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
