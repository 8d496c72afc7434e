#!/usr/bin/env python3
"""Time to first token of requests that share a long prompt: the first computes it, the others find it in the cache.

usage: shared_prompt.py --server HOST:PORT [--requests 32] [--prompt 1000] [--rounds 5]

Needs a running server and, in its Python, grpcio and grpcio-tools (.cache/venv has them). Each round draws a prompt that
the server has not seen, asks once, and then the others: one after another, and, of another prompt, all at once.
"""

import argparse
import concurrent.futures
import importlib
import pathlib
import random
import statistics
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]


def protocol(folder):
    from grpc_tools import protoc
    arguments = ["protoc", f"-I{ROOT / 'proto'}", f"--python_out={folder}", f"--grpc_python_out={folder}",
                 "trireme/v1/inference.proto"]
    if protoc.main(arguments) != 0:
        sys.exit("shared_prompt: protoc failed")
    sys.path.insert(0, folder)
    return importlib.import_module("trireme.v1.inference_pb2"), importlib.import_module("trireme.v1.inference_pb2_grpc")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--server", default="127.0.0.1:50051")
    parser.add_argument("--requests", type=int, default=32)
    parser.add_argument("--prompt", type=int, default=1000, help="tokens")
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    import grpc
    with tempfile.TemporaryDirectory() as folder:
        messages, services = protocol(folder)
    stub = services.InferenceStub(grpc.insecure_channel(arguments.server))
    vocabulary = stub.Models(messages.ModelsRequest(), timeout=10).models[0].vocabulary
    draw = random.Random()

    def first_token_ms(prompt):
        request = messages.GenerateRequest(prompt_tokens=messages.TokenIds(ids=prompt), max_tokens=1, ignore_eos=True)
        start = time.perf_counter()
        stream = stub.Generate(request, timeout=120)
        next(iter(stream))
        stream.cancel()
        return (time.perf_counter() - start) * 1e3

    print(f"{'round':>5} {'first ms':>9} {'one by one: median':>19} {'worst':>7} {'share':>7}   {'first ms':>9} {'at once: median':>16} {'worst':>7} {'share':>7}")
    shares = []
    for number in range(arguments.rounds):
        alone = [draw.randrange(vocabulary) for _ in range(arguments.prompt)]
        first = first_token_ms(alone)
        others = [first_token_ms(alone) for _ in range(arguments.requests - 1)]
        crowded = [draw.randrange(vocabulary) for _ in range(arguments.prompt)]
        first_of_crowd = first_token_ms(crowded)
        with concurrent.futures.ThreadPoolExecutor(arguments.requests - 1) as pool:
            crowd = list(pool.map(first_token_ms, [crowded] * (arguments.requests - 1)))
        shares.append(statistics.median(others) / first)
        print(f"{number:5} {first:9.1f} {statistics.median(others):19.1f} {max(others):7.1f} {statistics.median(others) / first:7.1%}   "
              f"{first_of_crowd:9.1f} {statistics.median(crowd):16.1f} {max(crowd):7.1f} {statistics.median(crowd) / first_of_crowd:7.1%}", flush=True)
    print(f"share of the first's time, one by one, median of {arguments.rounds} rounds: {statistics.median(shares):.1%}")


if __name__ == "__main__":
    main()
