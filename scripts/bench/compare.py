#!/usr/bin/env python3
"""Trireme beside other engines: one machine, one model file, as many threads, by turns (A B A B …).

usage: compare.py run [--models smollm2,dense-1b,llama4-mini] [--types BF16,Q8_0,Q4_0] [--rounds 5] [--threads 2]
                      [--metrics speed,start,tp2,machine] [--peer NAME=FOLDER …] [--results FILE]
       compare.py table [--results FILE] [--json FILE] [--plot FILE.png]

`run` adds samples to the results file, so that a comparison may be made in pieces, while the machine is quiet; `table`
prints the medians of all of them, and draws them. Each round starts every engine once, one after the other, as a process of
its own on the same GGUF file of .cache/models/bench (made on first use: needs build_peers.sh). Engines: trireme, and each
folder with llama-bench and llama-batched-bench in it: .cache/peers/llama.cpp, .cache/peers/ik_llama.cpp where they are, and
those given with --peer.

Metrics: tokens/s of a prompt of 512 read (prefill), of one sequence decoding (decode 1), of 16 that decode together (decode
16); seconds from the start of a process to its first token with the file in the page cache (start); peak memory of the
process (rss). With tp2, also Trireme on two ranks of one thread beside one rank of two. machine: a plain read loop, and
multiply-adds from registers.
"""

import argparse
import collections
import json
import os
import pathlib
import platform
import re
import statistics
import subprocess
import sys
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
FOLDER = ROOT / ".cache/models/bench"
PEERS = ROOT / ".cache/peers"
SMOLLM2 = ROOT / ".cache/models/smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
PROMPT, CONTEXT, BATCH = 512, 32, 16
TOKENS = {1: 48, BATCH: 24}  # decoded of each sequence
METRICS = ("prefill", "decode 1", f"decode {BATCH}", "start s", "rss MiB")
LOWER_IS_BETTER = ("start s", "rss MiB")
TIMEOUT_S = 600
ENVIRONMENT = dict(os.environ, OMPI_ALLOW_RUN_AS_ROOT="1", OMPI_ALLOW_RUN_AS_ROOT_CONFIRM="1")
COLOURS = ("#0b6e99", "#d9730d", "#8a6f9e", "#6b9b52", "#b0413e")


def run(command):
    """(stdout and stderr, seconds, peak resident MiB) of a command; an error ends the comparison."""
    started = time.perf_counter()
    with subprocess.Popen([str(word) for word in command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=ENVIRONMENT,
                          text=True, errors="replace") as process:
        watch = threading.Timer(TIMEOUT_S, process.kill)
        watch.start()
        out = process.stdout.read()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        watch.cancel()
    if process.returncode != 0:
        sys.exit(f"compare: {' '.join(map(str, command))} ended with {process.returncode}:\n{out[-2000:]}")
    return out, time.perf_counter() - started, usage.ru_maxrss / 1024


def last_json(text):
    """The last line that is a JSON object."""
    lines = [line for line in text.splitlines() if line.startswith("{")]
    if not lines:
        sys.exit(f"compare: expected a JSON line; found:\n{text[-2000:]}")
    return json.loads(lines[-1])


class Trireme:
    def __init__(self, program, ranks=1):
        self.program, self.ranks = program, ranks
        self.name = "trireme" if ranks == 1 else f"trireme tp={ranks}"

    def _command(self, threads, *words):
        launch = ["mpirun", "--bind-to", "core", "-n", self.ranks] if self.ranks > 1 else []
        return [*launch, self.program, *words, "--tp", self.ranks, "--threads", threads // self.ranks]

    def _bench(self, model, threads, batch):
        out, _, rss = run(self._command(threads, "bench", "model", "--model", model, "--prompt", PROMPT, "--batch", batch,
                                        "--context", CONTEXT, "--tokens", TOKENS[batch], "--repetitions", 1,
                                        "--max-step-tokens", PROMPT, "--output", "json"))
        rows = {row["what"]: row["tokens_per_second"] for row in last_json(out)["rows"]}
        return rows, rss

    def speed(self, model, threads):
        one, _ = self._bench(model, threads, 1)
        many, rss = self._bench(model, threads, BATCH)
        # The prompt is read in both runs: their mean.
        return {"prefill": (one["prefill"] + many["prefill"]) / 2, "decode 1": one["decode"],
                f"decode {BATCH}": many["decode"]} | ({"rss MiB": rss} if self.ranks == 1 else {})

    def start(self, model, threads):
        return run(self._command(threads, "generate", "--model", model, "--prompt-tokens", "1,2", "--max-tokens", "1",
                                 "--kv-positions", "1024"))[1]


class LlamaCpp:
    """llama.cpp, or what has its benchmarks' command lines."""

    def __init__(self, name, folder):
        self.name, self.folder = name, pathlib.Path(folder)

    def speed(self, model, threads):
        out, _, _ = run([self.folder / "llama-bench", "-m", model, "-t", threads, "-p", PROMPT, "-n", TOKENS[1], "-r", 1,
                         "-o", "json"])
        rows = json.loads(out[out.index("[\n"):out.rindex("]") + 1])
        prefill = next(row["avg_ts"] for row in rows if row["n_prompt"] > 0 and row["n_gen"] == 0)
        decode = next(row["avg_ts"] for row in rows if row["n_gen"] > 0 and row["n_prompt"] == 0)
        out, _, rss = run([self.folder / "llama-batched-bench", "-m", model, "-t", threads, "-c", 2048, "-b", 2048, "-ub", 512,
                           "-npp", CONTEXT, "-ntg", TOKENS[BATCH], "-npl", BATCH])
        row = re.search(rf"\|\s+{CONTEXT} \|\s+{TOKENS[BATCH]} \|\s+{BATCH} \|(?:\s+[\d.]+ \|){{4}}\s+([\d.]+) \|", out)
        if not row:
            sys.exit(f"compare: {self.name}'s llama-batched-bench printed no row:\n{out[-1500:]}")
        return {"prefill": prefill, "decode 1": decode, f"decode {BATCH}": float(row[1]), "rss MiB": rss}

    def start(self, model, threads):
        return run([self.folder / "llama-bench", "-m", model, "-t", threads, "-p", 0, "-n", 1, "-r", 1, "--no-warmup"])[1]


def engines_of(arguments):
    engines = [Trireme(arguments.program)]
    folders = {"llama.cpp": PEERS / "llama.cpp", "ik_llama.cpp": PEERS / "ik_llama.cpp"}
    folders |= dict(peer.split("=", 1) for peer in arguments.peer)
    for name, folder in folders.items():
        if (pathlib.Path(folder) / "llama-bench").exists():
            engines.append(LlamaCpp(name, folder))
        else:
            print(f"compare: no {name} in {folder}", file=sys.stderr)
    return engines


def quantise(source, target, name):
    part = target.with_suffix(".part")
    run([PEERS / "llama.cpp/llama-quantize", "--allow-requantize", "--pure", source, part, name])
    os.replace(part, target)


def model_file(model, name):
    """The GGUF file of a model in a type, made where it is not there yet."""
    path, whole = FOLDER / f"{model}-{name}.gguf", FOLDER / f"{model}-BF16.gguf"
    if path.exists():
        return path
    FOLDER.mkdir(parents=True, exist_ok=True)
    print(f"compare: making {path}", file=sys.stderr)
    if name != "BF16":
        quantise(model_file(model, "BF16"), path, name)
    elif model == "smollm2":
        quantise(SMOLLM2, path, "BF16")
    else:
        here = pathlib.Path(__file__).parent
        run([sys.executable, here / "make_model.py", FOLDER / model, "--preset", model])
        run([PEERS / "venv/bin/python", here / "make_gguf.py", FOLDER / model, whole, "--tokenizer", SMOLLM2])
    return path


def measure_machine(arguments):
    bench = pathlib.Path(arguments.program).parent / "tests/bench/ops_bench"
    if not bench.exists():
        print(f"compare: no {bench} (build the target ops_bench): the machine's limits are not measured", file=sys.stderr)
        return {}
    out, _, _ = run([bench, f"--threads={arguments.threads}", "--benchmark_filter=^$"])
    return {f"{name} {unit}/s": float(value) for name, value, unit in re.findall(r"(\w+) ([\d.]+) (G(?:B|FLOP|OP))/s", out)}


class Results:
    def __init__(self, path):
        self.path = path
        self.samples = json.loads(path.read_text())["samples"] if path.exists() else []

    def add(self, engine, model, name, values):
        for metric, value in values.items():
            self.samples.append({"engine": engine, "model": model, "type": name, "metric": metric, "value": value})
            print(f"{engine:<14} {model:<12} {name:<5} {metric:<10} {value:10.2f}", flush=True)
        machine = {"cpu": cpu_name(), "kernel": platform.release()}
        self.path.write_text(json.dumps({"machine": machine, "samples": self.samples}, indent=1) + "\n")

    def medians(self):
        """{(model, type): {engine: {metric: [samples]}}}"""
        grouped = collections.defaultdict(lambda: collections.defaultdict(lambda: collections.defaultdict(list)))
        for one in self.samples:
            grouped[one["model"], one["type"]][one["engine"]][one["metric"]].append(one["value"])
        return grouped


def cpu_name():
    match = re.search(r"model name\s*: (.*)", pathlib.Path("/proc/cpuinfo").read_text())
    return match[1] if match else platform.machine()


def run_rounds(arguments):
    results = Results(arguments.results)
    engines = engines_of(arguments)
    cases = [(model, name, model_file(model, name)) for model in arguments.models for name in arguments.types]
    for _ in range(arguments.rounds):
        if "machine" in arguments.metrics:
            results.add("machine", "", "", measure_machine(arguments))
        for model, name, path in cases:
            if "speed" in arguments.metrics:
                for engine in engines:
                    results.add(engine.name, model, name, engine.speed(path, arguments.threads))
            if "tp2" in arguments.metrics:
                for ranks in (1, 2) if "speed" not in arguments.metrics else (2,):
                    engine = Trireme(arguments.program, ranks)
                    results.add(engine.name, model, name, engine.speed(path, arguments.threads))
            if "start" in arguments.metrics:
                for engine in engines:
                    results.add(engine.name, model, name, {"start s": engine.start(path, arguments.threads)})


def best_peer(engines, metric):
    medians = [statistics.median(metrics[metric]) for name, metrics in engines.items()
               if not name.startswith("trireme") and metrics.get(metric)]
    if not medians:
        return None
    return min(medians) if metric in LOWER_IS_BETTER else max(medians)


def table_rows(results):
    """[(model, type, engine, {metric: (median, least, most, samples, ratio to the best peer)})]"""
    for (model, name), engines in results.medians().items():
        for engine, metrics in engines.items():
            figures = {}
            for metric, values in metrics.items():
                peer = best_peer(engines, metric) if engine.startswith("trireme") else None
                median = statistics.median(values)
                figures[metric] = {"median": median, "least": min(values), "most": max(values), "samples": len(values),
                                   "of_best_peer": median / peer if peer else None}
            yield model, name, engine, figures


def print_table(results):
    print(f"{'model':<12} {'type':<5} {'engine':<14}" + "".join(f"{metric:>18}" for metric in METRICS))
    for model, name, engine, figures in table_rows(results):
        if not model:
            print(f"{engine}: " + ", ".join(f"{metric} {figure['median']:.1f}" for metric, figure in figures.items()))
            continue
        cells = []
        for metric in METRICS:
            figure = figures.get(metric)
            text = ""
            if figure:
                text = f"{figure['median']:.2f}" if metric == "start s" else f"{figure['median']:.1f}"
                if figure["of_best_peer"]:
                    text += f" ({figure['of_best_peer']:.2f}x)"
            cells.append(f"{text:>18}")
        print(f"{model:<12} {name:<5} {engine:<14}" + "".join(cells))
    print("medians; in brackets: of the best peer's")


def draw(results, path):
    import matplotlib
    matplotlib.use("Agg")
    from matplotlib import pyplot
    grouped = {key: engines for key, engines in results.medians().items() if key[0]}
    names = sorted({engine for engines in grouped.values() for engine in engines}, key=lambda name: (not name.startswith("tri"), name))
    speeds = METRICS[:3]
    figure, axes = pyplot.subplots(1, len(speeds), figsize=(4.6 * len(speeds), 0.45 * len(grouped) * max(2, len(names)) * 0.5 + 2))
    for axis, metric in zip(axes, speeds):
        height = 0.8 / len(names)
        for index, name in enumerate(names):
            for row, engines in enumerate(grouped.values()):
                values = engines.get(name, {}).get(metric)
                best = max(statistics.median(m[metric]) for m in engines.values() if m.get(metric)) if values else 0
                if values:
                    median = statistics.median(values)
                    axis.barh(row + index * height, median / best, height, color=COLOURS[index % len(COLOURS)],
                              label=name if row == 0 else None)
                    axis.text(median / best, row + index * height, f" {median:.0f}", va="center", fontsize=7)
        axis.set_yticks([row + 0.4 - height / 2 for row in range(len(grouped))],
                        [f"{model} {name}" for model, name in grouped] if axis is axes[0] else [])
        axis.invert_yaxis()
        axis.set_xlim(0, 1.18)
        axis.set_title(f"{metric}: tokens/s, of the fastest")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="lower center", ncols=len(names))
    figure.tight_layout(rect=(0, 0.06, 1, 1))
    figure.savefig(path, dpi=120)
    print(f"compare: drew {path}", file=sys.stderr)


def show_table(arguments):
    results = Results(arguments.results)
    print_table(results)
    if arguments.json:
        rows = [{"model": model, "type": name, "engine": engine, "figures": figures}
                for model, name, engine, figures in table_rows(results)]
        arguments.json.write_text(json.dumps(rows, indent=1) + "\n")
    if arguments.plot:
        draw(results, arguments.plot)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    verbs = parser.add_subparsers(required=True, metavar="run|table")
    words = lambda text: text.split(",")  # noqa: E731
    runs = verbs.add_parser("run", help="add samples")
    runs.set_defaults(go=run_rounds)
    runs.add_argument("--models", type=words, default="smollm2,dense-1b,llama4-mini")
    runs.add_argument("--types", type=words, default="BF16,Q8_0,Q4_0")
    runs.add_argument("--metrics", type=words, default="machine,speed,start,tp2")
    runs.add_argument("--rounds", type=int, default=5)
    runs.add_argument("--threads", type=int, default=os.cpu_count())
    runs.add_argument("--program", default=ROOT / "build/release/trireme")
    runs.add_argument("--peer", action="append", default=[], metavar="NAME=FOLDER", help="another llama.cpp")
    tables = verbs.add_parser("table", help="show what there is")
    tables.set_defaults(go=show_table)
    tables.add_argument("--json", type=pathlib.Path)
    tables.add_argument("--plot", type=pathlib.Path)
    for verb in (runs, tables):
        verb.add_argument("--results", type=pathlib.Path, default=ROOT / ".cache/compare.json")
    arguments = parser.parse_args()
    arguments.go(arguments)


if __name__ == "__main__":
    main()
