#!/usr/bin/env python3
"""Times `trireme shard` of one rank against dd writing as many bytes, both with fsync, in turns.

example: scripts/make_sparse_checkpoint --out /tmp/maverick
         scripts/bench/shard_against_dd.py --model /tmp/maverick --tp 8 --pp 8 --rank 17 --scratch /tmp/scratch

The checkpoint's holes cost no disk, so what is timed is reading, hashing and writing. One rank file and dd's are on
disk at a time, never both.
"""

import argparse
import os
import pathlib
import shutil
import statistics
import subprocess
import sys
import time


def timed(command):
    """(seconds, CPU seconds, peak resident MiB) of a command that must succeed."""
    started = time.monotonic()
    process = subprocess.Popen([str(word) for word in command], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    error = process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    if status != 0:
        sys.exit(f"{command[0]} failed:\n{error.decode(errors='replace')}")
    return time.monotonic() - started, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--program", type=pathlib.Path, default=pathlib.Path("build/release/trireme"))
    parser.add_argument("--model", type=pathlib.Path, required=True)
    parser.add_argument("--scratch", type=pathlib.Path, required=True)
    for axis in ("tp", "pp", "ep"):
        parser.add_argument("--" + axis, type=int, default=1)
    parser.add_argument("--rank", type=int, default=0)
    parser.add_argument("--repetitions", type=int, default=3)
    flags = parser.parse_args()
    flags.scratch.mkdir(parents=True, exist_ok=True)
    shards, copy = flags.scratch / "shards", flags.scratch / "dd"
    ratios, size = [], 0
    for repetition in range(flags.repetitions):
        shutil.rmtree(shards, ignore_errors=True)
        shard = timed([flags.program, "shard", "--model", flags.model, "--tp", flags.tp, "--pp", flags.pp,
                       "--ep", flags.ep, "--ranks", flags.rank, "--out", shards])
        size = next(shards.glob("rank-*.safetensors")).stat().st_size
        shutil.rmtree(shards)
        blocks = -(-size // (4 << 20))
        dd = timed(["dd", "if=/dev/zero", f"of={copy}", "bs=4M", f"count={blocks}", "conv=fsync"])
        copy.unlink()
        ratios.append(shard[0] / dd[0])
        print(f"{repetition + 1}: shard {shard[0]:.1f} s ({shard[1]:.1f} s CPU, {shard[2]:.0f} MiB)  "
              f"dd {dd[0]:.1f} s ({dd[1]:.1f} s CPU)  ratio {ratios[-1]:.2f}", flush=True)
    print(f"{size} bytes; median ratio {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})")


if __name__ == "__main__":
    main()
