#!/usr/bin/env python3
"""How much of the machine's read bandwidth a lone sequence's decode reaches: 1 rank x 2 threads, and 2 ranks x 1 thread.

usage: decode_baseline.py [MODEL] [--rounds 5] [--tokens 128] [--program build/release/trireme]

Each round measures, one after the other: the plain read loop of ops_bench on two threads, decode on one rank, decode on two,
the read loop again. Decode is the time between completions of --tokens tokens from a prompt of one, taken from `trireme
generate` under --max-sequences 1; the first completion warms up and does not count. A share is the weights' bytes times
tokens/s over the mean of its own round's two read loops, so that a machine that slows down slows both. Prints a line a round,
then best and median. Wants a quiet machine: other work shows as a spread.
"""

import argparse
import json
import os
import pathlib
import re
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
MODEL = ROOT / ".cache/models/smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
CLUSTER = ROOT / "configs/clusters/2-core-cpu.yaml"
ROOT_MAY_MPIRUN = {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}
COMPLETIONS = 4  # that count, a round


def read_gb_s(bench):
    ran = subprocess.run([bench, "--threads=2", "--benchmark_filter=^$"], capture_output=True, check=False, text=True)
    found = re.search(r"read ([0-9.]+) GB/s", ran.stderr)
    if not found:
        sys.exit(f"decode_baseline: {bench} printed no read bandwidth: build the target ops_bench")
    return float(found.group(1))


def weight_bytes(program, model):
    """Of all weights: a tied head is read once a token, and the embedding's rows are few."""
    ran = subprocess.run([program, "plan", "--model", model, "--cluster", CLUSTER, "--output", "json", "--tp", "1", "--pp", "1"],
                         capture_output=True, check=False, text=True)
    return json.loads(ran.stdout)["meshes"][0]["per_rank"][0]["weights_bytes"]


def tokens_per_second(program, model, ranks, tokens):
    with tempfile.NamedTemporaryFile("w", suffix=".jsonl") as prompts:
        for token in range(COMPLETIONS + 1):
            prompts.write(json.dumps({"prompt_tokens": [1000 + token], "max_tokens": tokens}) + "\n")
        prompts.flush()
        command = [program, "generate", "--model", model, "--tp", str(ranks), "--threads", str(2 // ranks), "--max-sequences", "1",
                   "--ignore-eos", "--prompts-file", prompts.name, "--output", "json"]
        if ranks > 1:
            command = ["mpirun", "--bind-to", "core", "-n", str(ranks), *command]
        seconds = []
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=os.environ | ROOT_MAY_MPIRUN) as job:
            last = time.perf_counter()
            for _ in job.stdout:
                now = time.perf_counter()
                seconds.append(now - last)
                last = now
    if job.returncode != 0 or len(seconds) != COMPLETIONS + 1:
        sys.exit(f"decode_baseline: {' '.join(map(str, command))} ended with {job.returncode}")
    return COMPLETIONS * tokens / sum(seconds[1:])


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("model", nargs="?", default=str(MODEL))
    parser.add_argument("--program", default=str(ROOT / "build/release/trireme"))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--tokens", type=int, default=128)
    arguments = parser.parse_args()
    bench = pathlib.Path(arguments.program).parent / "tests/bench/ops_bench"
    gb = weight_bytes(arguments.program, arguments.model) * 1e-9
    print(f"{gb * 1e3:.1f} MB of weights a token\n{'round':>6} {'read GB/s':>13} {'1x2 tok/s':>10} {'share':>6} {'2x1 tok/s':>10} {'share':>6}")
    rows = []
    for index in range(arguments.rounds):
        before = read_gb_s(bench)
        one = tokens_per_second(arguments.program, arguments.model, 1, arguments.tokens)
        two = tokens_per_second(arguments.program, arguments.model, 2, arguments.tokens)
        after = read_gb_s(bench)
        read = (before + after) / 2
        rows.append((read, one, one * gb / read, two, two * gb / read))
        print(f"{index:>6} {before:6.1f} {after:6.1f} {one:10.1f} {one * gb / read:6.0%} {two:10.1f} {two * gb / read:6.0%}", flush=True)
    for name, pick in (("best", max), ("median", statistics.median)):
        read, one, one_share, two, two_share = (pick(column) for column in zip(*rows))
        print(f"{name:>6} {read:13.1f} {one:10.1f} {one_share:6.0%} {two:10.1f} {two_share:6.0%}")


if __name__ == "__main__":
    main()
