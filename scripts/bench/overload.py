#!/usr/bin/env python3
"""What a server does when ten times more is asked of it than it can do.

Measures the goodput of a running `trireme serve` at its capacity (as many requests at a time as the groups have
slots, each followed by the next), then sends open loop, at 10 times that rate, for --seconds: whoever is refused does
not come again. Prints for both: requests answered in full a second, the time to the first token, refusals by code and
reason, and the coordinator's resident memory before, during and after.

usage: overload.py --server 127.0.0.1:50051 [--pid COORDINATOR] [--slots 8] [--seconds 60] [--factor 10]
The server should have limits.max_queue_ms well below --seconds (5000, say).  Needs grpcio (scripts/setup.sh).
"""

import argparse
import asyncio
import collections
import pathlib
import statistics
import sys
import tempfile
import time

import grpc
from grpc_tools import protoc

ROOT = pathlib.Path(__file__).resolve().parents[2]


def load_protos():
    out = tempfile.mkdtemp()
    include = [f"-I{ROOT / 'proto'}", f"--python_out={out}", f"--grpc_python_out={out}"]
    files = [str(ROOT / "proto/trireme/v1" / name) for name in ("inference.proto",)]
    if protoc.main(["protoc", *include, *files]) != 0:
        sys.exit("overload: cannot compile the protos")
    sys.path.insert(0, out)
    from trireme.v1 import inference_pb2, inference_pb2_grpc
    return inference_pb2, inference_pb2_grpc


class Tally:
    """What became of the requests of one phase."""

    def __init__(self):
        self.first_token_s = []
        self.refusal_s = []
        self.done = 0
        self.refused = collections.Counter()
        self.broken = collections.Counter()
        self.untyped = 0


def rss_kb(pid):
    if pid == 0:
        return 0
    for line in open(f"/proc/{pid}/status", encoding="ascii"):
        if line.startswith("VmRSS:"):
            return int(line.split()[1])
    return 0


async def ask(stub, request, tally):
    start = time.monotonic()
    first = None
    call = stub.Generate(request, timeout=120)
    try:
        async for chunk in call:
            if chunk.tokens and first is None:
                first = time.monotonic() - start
    except grpc.aio.AioRpcError as error:
        metadata = {key: value for key, value in error.trailing_metadata() or ()}
        name = f"{error.code().name} {metadata.get('refusal-reason', '-')}"
        if first is not None:
            tally.broken[name] += 1
            return
        tally.refused[name] += 1
        tally.refusal_s.append(time.monotonic() - start)
        if "retry-after" not in metadata:
            tally.untyped += 1
        return
    tally.done += 1
    tally.first_token_s.append(first)


async def at_capacity(stub, request, slots, seconds):
    tally = Tally()
    end = time.monotonic() + seconds

    async def worker():
        while time.monotonic() < end:
            await ask(stub, request, tally)

    start = time.monotonic()
    await asyncio.gather(*(worker() for _ in range(slots)))
    return tally, tally.done / (time.monotonic() - start)


async def open_loop(stub, request, rate, seconds, sample):
    tally = Tally()
    tasks = set()
    start = time.monotonic()
    sent = 0
    next_sample = start
    while (now := time.monotonic()) < start + seconds:
        while sent < (now - start) * rate:
            tasks.add(asyncio.create_task(ask(stub, request, tally)))
            sent += 1
        tasks = {task for task in tasks if not task.done()}
        if now >= next_sample:
            sample()
            next_sample = now + 1
        await asyncio.sleep(0.005)
    in_time = tally.done
    await asyncio.gather(*tasks)
    return tally, sent, in_time / seconds


def percentile(values, share):
    return sorted(values)[min(int(len(values) * share), len(values) - 1)] if values else float("nan")


def report(name, tally, goodput):
    times = [value for value in tally.first_token_s if value is not None]
    middle = statistics.median(times) if times else float("nan")
    print(f"{name}: {goodput:.2f} requests/s answered in full ({tally.done} in all), first token after "
          f"{middle:.3f} s median, {percentile(times, 0.99):.3f} s p99", flush=True)


async def run(options):
    pb, rpc = load_protos()
    async with grpc.aio.insecure_channel(options.server) as channel:
        stub = rpc.InferenceStub(channel)
        request = pb.GenerateRequest(prompt="Once upon a time", max_tokens=options.max_tokens, ignore_eos=True)
        warm, _ = await at_capacity(stub, request, options.slots, options.warm_seconds / 2)
        if warm.done == 0:
            sys.exit(f"overload: nothing was answered: {dict(warm.refused)} {dict(warm.broken)}")
        tally, capacity = await at_capacity(stub, request, options.slots, options.warm_seconds)
        report("at capacity", tally, capacity)
        before = rss_kb(options.pid)
        during = []
        tally, sent, goodput = await open_loop(stub, request, capacity * options.factor, options.seconds,
                                               lambda: during.append(rss_kb(options.pid)))
        report(f"at {options.factor:g} x, open loop", tally, goodput)
        print(f"  {sent} sent in {options.seconds} s; goodput {goodput / capacity:.1%} of that at capacity")
        print(f"  refused: {dict(tally.refused)}, of these without retry-after: {tally.untyped}; "
              f"broken after the first token: {dict(tally.broken)}")
        print(f"  refusals: {statistics.median(tally.refusal_s or [float('nan')]) * 1e3:.1f} ms median, "
              f"{percentile(tally.refusal_s, 0.99) * 1e3:.1f} ms p99 (this client's own queue included)")
        if options.pid:
            print(f"  coordinator RSS: {before / 1024:.1f} MiB before, {max(during) / 1024:.1f} MiB at most during, "
                  f"{rss_kb(options.pid) / 1024:.1f} MiB after")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--server", default="127.0.0.1:50051")
    parser.add_argument("--pid", type=int, default=0, help="of the coordinator, for its memory")
    parser.add_argument("--slots", type=int, default=8, help="max_sequences of all groups together")
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--warm-seconds", type=float, default=20)
    parser.add_argument("--factor", type=float, default=10)
    parser.add_argument("--max-tokens", type=int, default=32)
    asyncio.run(run(parser.parse_args()))


if __name__ == "__main__":
    main()
