#!/usr/bin/env python3
"""What plans in flight are worth: tokens a second of a pipeline with one plan in flight and with one a stage.

Runs `trireme generate` under mpirun with a thread a rank on prompts of its own, in turns, and compares the times by
their ratio. Of decoding alone: the time of a run that makes no more than its first tokens is taken off (start, prompts).
With --prompt, of whole requests with prompts of so many tokens: only the start is taken off, as a run of one token shows
it. The tokens of all runs must be equal.

    scripts/bench/pipeline_overlap.py --model .cache/models/smollm2/SmolLM2-135M-Instruct.Q4_1.gguf [--prompt 256]
"""

import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

WORDS = "river stone lantern harbour winter copper meadow signal orchard compass".split()


def write_prompts(path, count, length):
    with open(path, "w", encoding="utf-8") as out:
        for i in range(count):
            if length > 0:
                out.write(json.dumps({"prompt_tokens": [1000 + (i * 997 + k * 31) % 40000 for k in range(length)]}) + "\n")
                continue
            words = " ".join(WORDS[(i + k) % len(WORDS)] for k in range(4))
            out.write(json.dumps({"prompt": f"Story {i} about {words}."}) + "\n")


def generate(options, prompts, max_tokens, in_flight):
    command = ["mpirun", "--oversubscribe", "--bind-to", "none", "-n", str(options.pp), str(options.program), "generate", "--model",
               str(options.model), "--pp", str(options.pp), "--threads", "1", "--prompts-file", str(prompts),
               "--max-tokens", str(max_tokens), "--ignore-eos", "--output", "json", "--max-in-flight", str(in_flight)]
    environment = dict(os.environ, OMPI_ALLOW_RUN_AS_ROOT="1", OMPI_ALLOW_RUN_AS_ROOT_CONFIRM="1")
    began = time.monotonic()
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, env=environment,
                          timeout=200)
    if done.returncode != 0:
        sys.exit(f"{' '.join(command)} ended with {done.returncode}:\n{done.stderr[-2000:]}")
    return time.monotonic() - began, [json.loads(line)["tokens"] for line in done.stdout.splitlines()]


def main():
    root = pathlib.Path(__file__).resolve().parents[2]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=pathlib.Path, required=True)
    parser.add_argument("--program", type=pathlib.Path, default=root / "build/release/trireme")
    parser.add_argument("--pp", type=int, default=2)
    parser.add_argument("--requests", type=int, default=16)
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--prompt", type=int, default=0, help="tokens of a prompt, which then counts; 0: decoding alone")
    parser.add_argument("--repetitions", type=int, default=5)
    options = parser.parse_args()

    few = 2
    seconds = {1: [], options.pp: []}
    texts = []
    with tempfile.TemporaryDirectory() as folder:
        prompts, least = pathlib.Path(folder, "prompts.jsonl"), pathlib.Path(folder, "least.jsonl")
        write_prompts(prompts, options.requests, options.prompt)
        write_prompts(least, *((1, 1) if options.prompt > 0 else (options.requests, 0)))
        before = 1 if options.prompt > 0 else few
        for repetition in range(options.repetitions):
            for in_flight, times in seconds.items():
                start, _ = generate(options, least, before, in_flight)
                whole, tokens = generate(options, prompts, options.tokens, in_flight)
                times.append(whole - start)
                texts.append(tokens)
                made = options.tokens - (0 if options.prompt > 0 else few)
                print(f"repetition={repetition} max_in_flight={in_flight} seconds={times[-1]:.2f} "
                      f"tokens_per_s={options.requests * made / times[-1]:.1f}", flush=True)
    if any(tokens != texts[0] for tokens in texts):
        sys.exit("the runs' tokens differ")
    ratios = [one / many for one, many in zip(seconds[1], seconds[options.pp])]
    print(f"speedup median={statistics.median(ratios):.2f} least={min(ratios):.2f} most={max(ratios):.2f} "
          f"(pp={options.pp}, {options.requests} requests, prompts of {options.prompt or 'a few'} tokens, {options.tokens} made each, "
          "tokens equal)")


if __name__ == "__main__":
    main()
