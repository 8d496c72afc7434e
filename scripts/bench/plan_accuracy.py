#!/usr/bin/env python3
"""Compares what `trireme plan` predicts with what ranks on this machine do: decode step, prefill and peak RSS.

usage: plan_accuracy.py MODEL[:tp=T,pp=P]... [--cluster FILE] [--only step,prompt,rss] [--rounds 3] [--context 256] [--json FILE]

The constants are this machine's, measured with each case's number of ranks just before it (`trireme plan --measure`), or
those of --cluster.

For each model and mesh `mpirun -n N trireme generate` completes prompts one after another, and the time between its lines is
taken: of one-token prompts to 8 tokens (8 decode steps), and of --context tokens to one (a prefill). The low eighth of
each counts, so that other work on the machine disturbs little. A rank's peak RSS is what the kernel tells its parent
(ru_maxrss) in a run of one prompt of --context tokens and 8 more. The last
column says how many cores other work kept busy: times are worth something only where that is near 0.
"""

import argparse
import json
import os
import pathlib
import random
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
STEPS = 8
# Runs its arguments and writes peak RSS in KiB and CPU seconds to a file named after its rank.
WATCH = ("import os,sys,resource\n"
         "pid=os.spawnvp(os.P_NOWAIT,sys.argv[2],sys.argv[2:])\n"
         "status=os.wait4(pid,0)\n"
         "rank=os.environ.get('OMPI_COMM_WORLD_RANK','0')\n"
         "open(os.path.join(sys.argv[1],rank),'w').write(f'{status[2].ru_maxrss} {status[2].ru_utime+status[2].ru_stime}')\n"
         "sys.exit(os.waitstatus_to_exitcode(status[1]))\n")


def low(values):
    """The lowest eighth's upper end: what other work on the machine disturbed least."""
    return sorted(values)[len(values) // 8]


def spread(seconds, lines=4):
    """Means of so many lines in a row: mpirun passes lines on in bursts where ranks take all cores."""
    return [sum(seconds[i:i + lines]) / lines for i in range(len(seconds) - lines + 1)]


def busy_seconds():
    """Of all cores since the machine started."""
    ticks = [int(word) for word in pathlib.Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]]
    return (sum(ticks[:8]) - ticks[3] - ticks[4]) / os.sysconf("SC_CLK_TCK")


def parse_case(text):
    path, _, axes = text.partition(":")
    mesh = {"pp": 1, "ep": 1, "tp": 1}
    for axis in filter(None, axes.split(",")):
        name, _, value = axis.partition("=")
        mesh[name] = int(value)
    return path, mesh


def mesh_flags(mesh):
    return [word for axis, size in mesh.items() for word in (f"--{axis}", str(size))]


def ranks_of(mesh):
    return mesh["pp"] * mesh["ep"] * mesh["tp"]


def environment():
    return dict(os.environ, OMPI_ALLOW_RUN_AS_ROOT="1", OMPI_ALLOW_RUN_AS_ROOT_CONFIRM="1")


def measure_cluster(arguments, path, mesh, folder):
    """The file of this machine's constants."""
    file = folder / "cluster.yaml"
    command = ["mpirun", "--oversubscribe", "-n", str(ranks_of(mesh)), arguments.program, "plan", "--model", path, "--measure",
               "--context", "1", "--save-cluster", str(file), *mesh_flags(mesh)]
    ran = subprocess.run(command, stdout=subprocess.DEVNULL, check=False, env=environment())
    if ran.returncode not in (0, 1):
        sys.exit(f"plan_accuracy: {' '.join(command)} ended with {ran.returncode}")
    return str(file)


def predict(arguments, cluster, path, mesh, workload):
    context, prompt = workload
    command = [arguments.program, "plan", "--model", path, "--cluster", cluster, "--output", "json", "--batch", "1",
               "--context", str(context), "--prompt", str(prompt), *mesh_flags(mesh)]
    ran = subprocess.run(command, stdout=subprocess.PIPE, check=False, text=True)
    if ran.returncode not in (0, 1):
        sys.exit(f"plan_accuracy: {' '.join(command)} ended with {ran.returncode}")
    return next(plan for plan in json.loads(ran.stdout)["meshes"] if plan["mesh"] == mesh)


def run(arguments, path, mesh, prompts, folder):
    """Seconds between the completions of `prompts`, (length, tokens to generate) each; each rank's peak RSS; cores that
    other work kept busy meanwhile."""
    draw = random.Random(1)
    lines = [json.dumps({"prompt_tokens": [draw.randrange(arguments.vocabulary) for _ in range(length)], "max_tokens": tokens})
             for length, tokens in prompts]
    (folder / "prompts.jsonl").write_text("\n".join(lines) + "\n")
    (folder / "watch.py").write_text(WATCH)
    positions = max(length + tokens for length, tokens in prompts)
    ranks = ranks_of(mesh)
    command = ["mpirun", "--oversubscribe", "-n", str(ranks), sys.executable, str(folder / "watch.py"), str(folder),
               arguments.program, "generate", "--model", path, *mesh_flags(mesh), "--threads", "1", "--max-sequences", "1",
               "--ignore-eos", "--kv-positions", str((positions + 31) // 32 * 32), "--prompts-file",
               str(folder / "prompts.jsonl"), "--output", "json"]
    seconds = []
    busy, start = busy_seconds(), time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment()) as job:
        last = time.perf_counter()
        for _ in job.stdout:
            now = time.perf_counter()
            seconds.append(now - last)
            last = now
    if job.returncode != 0 or len(seconds) != len(prompts):
        sys.exit(f"plan_accuracy: {' '.join(command)} ended with {job.returncode}")
    busy, wall = busy_seconds() - busy, time.perf_counter() - start
    resident, own = zip(*((folder / str(rank)).read_text().split() for rank in range(ranks)))
    others = max(0.0, busy - sum(map(float, own))) / wall
    return seconds, [int(kib) * 1024 for kib in resident], others


def times(arguments, path, mesh, folder):
    """[(what, predicted, measured, cores busy with other work)] of one round. Constants are measured, and ranks timed, one
    right after the other: a virtual machine's memory is a fifth faster in one minute than in the next."""
    cluster = arguments.cluster or measure_cluster(arguments, path, mesh, folder)
    rows = []
    if "step" in arguments.only:
        # A prompt of one token is a step like those after it. The first line reads the weights from disk.
        seconds, _, others = run(arguments, path, mesh, [(1, STEPS)] * (arguments.repeats + 1), folder)
        predicted = predict(arguments, cluster, path, mesh, (STEPS // 2, 1))["decode"]["total_s"]
        rows.append(("step ms", predicted * 1e3, low(spread(seconds[1:])) / STEPS * 1e3, others))
    if "prompt" in arguments.only:
        seconds, _, others = run(arguments, path, mesh, [(arguments.context, 1)] * 4, folder)
        predicted = predict(arguments, cluster, path, mesh, (arguments.context + 1, arguments.context))["prefill"]["total_s"]
        rows.append(("prompt ms", predicted * 1e3, low(seconds[1:]) * 1e3, others))
    return rows


def memory(arguments, path, mesh, folder):
    """The same of each rank's peak, which no other work changes."""
    cluster = arguments.cluster or measure_cluster(arguments, path, mesh, folder)
    predicted = predict(arguments, cluster, path, mesh, (arguments.context + STEPS, arguments.context))["per_rank"]
    _, resident, others = run(arguments, path, mesh, [(arguments.context, STEPS)], folder)
    return [(f"rss {rank} MB", predicted[rank]["resident_bytes"] / 1e6, peak / 1e6, others) for rank, peak in enumerate(resident)]


def measure(arguments, path, mesh, folder):
    """(what, predicted, measured, least and largest ratio, cores busy with other work) of one model and mesh: medians of
    the rounds."""
    rounds = [times(arguments, path, mesh, folder) for _ in range(arguments.rounds)] if {"step", "prompt"} & set(arguments.only) else []
    if "rss" in arguments.only:
        rounds = [rows + more for rows, more in zip(rounds or [[]], [memory(arguments, path, mesh, folder)] * max(1, len(rounds)))]
    for rows in zip(*rounds):
        ratios = [predicted / measured for _, predicted, measured, _ in rows]
        yield (rows[0][0], statistics.median(row[1] for row in rows), statistics.median(row[2] for row in rows), min(ratios),
               max(ratios), statistics.median(row[3] for row in rows))


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("cases", nargs="+", metavar="MODEL[:tp=T,pp=P]")
    parser.add_argument("--program", default=str(ROOT / "build/release/trireme"))
    parser.add_argument("--cluster", help="constants; without it they are measured")
    parser.add_argument("--only", default="step,prompt,rss", type=lambda text: text.split(","), help="what to compare")
    parser.add_argument("--context", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=3, help="of measuring constants and timing ranks")
    parser.add_argument("--repeats", type=int, default=24, help="completions of a round that are timed")
    parser.add_argument("--vocabulary", type=int, default=49152, help="token ids are drawn below it")
    parser.add_argument("--json", type=pathlib.Path, help="also write the rows there")
    arguments = parser.parse_args()
    rows = []
    print(f"{'model':<22} {'mesh':<12} {'':>9} {'predicted':>10} {'measured':>10} {'ratio':>6} {'of rounds':>12} {'others':>6}")
    for text in arguments.cases:
        path, mesh = parse_case(text)
        name = pathlib.Path(path).stem[:22]
        label = f"pp{mesh['pp']} tp{mesh['tp']}" + (f" ep{mesh['ep']}" if mesh["ep"] > 1 else "")
        with tempfile.TemporaryDirectory() as folder:
            for what, predicted, measured, least, most, others in measure(arguments, path, mesh, pathlib.Path(folder)):
                print(f"{name:<22} {label:<12} {what:>9} {predicted:10.2f} {measured:10.2f} {predicted / measured:6.2f}"
                      f"  {least:4.2f} - {most:4.2f} {others:6.2f}", flush=True)
                rows.append({"model": name, "mesh": mesh, "what": what, "predicted": predicted, "measured": measured, "others": others})
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
