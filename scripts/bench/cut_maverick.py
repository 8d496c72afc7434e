#!/usr/bin/env python3
"""Runs a cut of Maverick at full width on two ranks, and times a token against the memory it touches.

The cut has 2 of the 48 layers (one dense, one of routed experts), 16 of the 128 experts, the full vocabulary, random
weights: 9.2 GB in bf16. It is written and sharded (tp 2, ep 2) where that is not done yet, which takes minutes and
28 GB of disk. Then, by turns, both shards generate; their tokens and log-probabilities must be the same bytes. The time
of a token is the difference of two lengths, each the fastest of its repetitions (9 GB are mapped by each run, and other
work on the machine takes their pages); what it touches is counted from config.json; the bandwidth is the most that two
processes read at the same time, measured before each turn.

example: .cache/venv/bin/python scripts/bench/cut_maverick.py --scratch /tmp/cut
"""

import argparse
import json
import multiprocessing
import os
import pathlib
import subprocess
import sys
import time

import numpy

SOURCE = pathlib.Path(__file__).resolve().parents[2]
RANKS = 2
PROMPT = "1,2,3,4,5,6,7,8"
READ_BYTES = 1 << 30


def run(*command):
    result = subprocess.run([str(word) for word in command], capture_output=True, text=True, check=False)
    if result.returncode != 0:
        sys.exit(f"{command[0]} ended with {result.returncode}:\n{result.stderr[-3000:]}")
    return result.stdout


def prepare(flags):
    """{axis: shard directory}"""
    checkpoint = flags.scratch / "checkpoint"
    if not (checkpoint / "config.json").exists():  # written last
        run(sys.executable, SOURCE / "scripts/make_sparse_checkpoint", "--out", checkpoint, "--layers", 2,
            "--experts", 16, "--fill", "random")
    shards = {axis: flags.scratch / f"{axis}2" for axis in ("tp", "ep")}
    for axis, folder in shards.items():
        run(flags.program, "shard", "--model", checkpoint, f"--{axis}", RANKS, "--out", folder)
    return shards


def bytes_per_token(shards):
    """Of the weights that a decoded token reads, over all ranks: one expert of all, and one row of the embedding."""
    text = json.loads((shards["tp"] / "config.json").read_text())["text_config"]
    hidden, dim = text["hidden_size"], text["head_dim"]
    layers = text["num_hidden_layers"]
    routed = layers // text["interleave_moe_layer_step"]
    attention = 2 * hidden * dim * (text["num_attention_heads"] + text["num_key_value_heads"])
    dense = 3 * hidden * text["intermediate_size_mlp"]
    expert = 3 * hidden * text["intermediate_size"]
    parts = {"attention": layers * attention, "dense": (layers - routed) * dense, "shared expert": routed * expert,
             "routed expert": routed * expert, "router": routed * hidden * text["num_local_experts"],
             "head": hidden * text["vocab_size"]}
    return {name: 2 * elements for name, elements in parts.items()}


def read_memory(seconds, barrier, rates):
    memory = numpy.ones(READ_BYTES // 8, numpy.uint64)
    barrier.wait()
    started, total = time.monotonic(), 0
    while time.monotonic() - started < seconds:
        numpy.bitwise_or.reduce(memory)
        total += memory.nbytes
    rates.put(total / (time.monotonic() - started))


def bandwidth(seconds=1.5):
    """Bytes a second that RANKS processes read together."""
    barrier, rates = multiprocessing.Barrier(RANKS), multiprocessing.Queue()
    readers = [multiprocessing.Process(target=read_memory, args=(seconds, barrier, rates)) for _ in range(RANKS)]
    for reader in readers:
        reader.start()
    total = sum(rates.get() for _ in readers)
    for reader in readers:
        reader.join()
    return total


def generate(flags, folder, tokens):
    """(seconds, standard output)."""
    started = time.monotonic()
    out = run("mpirun", "--oversubscribe", "-n", RANKS, flags.program, "generate", "--model", folder, "--prompt-tokens",
              PROMPT, "--max-tokens", tokens, "--ignore-eos", "--output", "json", "--compute", flags.compute,
              "--threads", 1, "--logprobs", 3)
    return time.monotonic() - started, out


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--program", type=pathlib.Path, default=SOURCE / "build/release/trireme")
    parser.add_argument("--scratch", type=pathlib.Path, required=True)
    parser.add_argument("--compute", choices=("fp32", "native"), default="fp32")
    parser.add_argument("--short", type=int, default=16)
    parser.add_argument("--long", type=int, default=112)
    parser.add_argument("--repetitions", type=int, default=3)
    flags = parser.parse_args()
    os.environ.update(OMPI_ALLOW_RUN_AS_ROOT="1", OMPI_ALLOW_RUN_AS_ROOT_CONFIRM="1")
    flags.scratch.mkdir(parents=True, exist_ok=True)
    shards = prepare(flags)

    touched = bytes_per_token(shards)
    total = sum(touched.values())
    print("a token reads " + ", ".join(f"{name} {size / 1e6:.0f}" for name, size in touched.items())
          + f": {total / 1e6:.0f} MB")
    outputs, limits, seconds = set(), [], {}
    for repetition in range(flags.repetitions):
        for axis, folder in shards.items():
            limits.append(bandwidth())
            for tokens in (flags.short, flags.long):
                took, out = generate(flags, folder, tokens)
                seconds.setdefault((axis, tokens), []).append(took)
                if tokens == flags.short:
                    outputs.add(out)
            print(f"{repetition + 1}: {axis} {RANKS}: {seconds[axis, flags.short][-1]:.1f} s for {flags.short} tokens, "
                  f"{seconds[axis, flags.long][-1]:.1f} s for {flags.long}; memory {limits[-1] / 1e9:.1f} GB/s", flush=True)
    if len(outputs) != 1:
        sys.exit("the meshes disagree:\n" + "\n".join(sorted(outputs)))
    print(f"the same bytes with tp {RANKS} and ep {RANKS}: {json.loads(outputs.pop())['tokens']}")
    for axis in shards:
        a_token = (min(seconds[axis, flags.long]) - min(seconds[axis, flags.short])) / (flags.long - flags.short)
        print(f"{axis} {RANKS}: {1000 * a_token:.0f} ms a token, {total / a_token / 1e9:.1f} GB/s of {max(limits) / 1e9:.1f} "
              f"GB/s measured: {total / a_token / max(limits):.0%}")


if __name__ == "__main__":
    main()
