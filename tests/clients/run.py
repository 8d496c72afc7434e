"""Drives a heavy package of others, unmodified, against a two-rank `trireme serve` of SmolLM2. Not part of ctest.

usage: run.py lm_eval | aiperf [SECONDS]      from a built tree; installs the package into .cache/venv-NAME
"""

import json
import math
import pathlib
import subprocess
import sys
import tempfile
import urllib.request

sys.dont_write_bytecode = True
ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests/support"))
import trireme_process as trireme  # noqa: E402

# Sentences with four ends each, the first of which is right: enough to show that every score arrives.
QUESTIONS = [
    ("The capital of France is", [" Paris", " seven", " under", " green"]),
    ("Water is made of hydrogen and", [" oxygen", " Tuesday", " loudly", " chairs"]),
    ("The opposite of hot is", [" cold", " banana", " north", " quickly"]),
    ("Two plus two equals", [" four", " yellow", " Paris", " sleeping"]),
    ("A dog is a kind of", [" animal", " minute", " purple", " above"]),
    ("The sun rises in the", [" east", " spoon", " seventeen", " whisper"]),
]


def tool(name):
    """The bin folder of the environment that holds the package."""
    environment = ROOT / f".cache/venv-{name}"
    stamp = environment / "installed"
    wanted = pathlib.Path(__file__).with_name(f"{name}.txt")
    if not stamp.exists() or stamp.read_text() != wanted.read_text():
        subprocess.run([sys.executable, "-m", "venv", "--clear", environment], check=True)
        subprocess.run([environment / "bin/pip", "install", "--quiet", "-r", wanted], check=True)
        stamp.write_text(wanted.read_text())
    return environment / "bin"


def serve(folder):
    http = f"127.0.0.1:{trireme.free_port()}"
    shards = trireme.shard(trireme.smollm2(), folder / "shards", tp=2)
    config = folder / "serve.yaml"
    config.write_text(f"model: {shards}\nmodel_name: smollm2\nlisten: 127.0.0.1:0\nhttp:\n  listen: {http}\n")
    server = trireme.Running(folder, trireme.program, "serve", config)

    def ready():
        try:
            return urllib.request.urlopen(f"http://{http}/readyz", timeout=2).status == 200
        except OSError:
            return False
    server.wait_until(ready, "the server is ready", 120)
    return http


def lm_eval(http, folder):
    tasks = folder / "tasks"
    tasks.mkdir()
    rows = [json.dumps({"question": question, "choices": choices, "answer": 0}) for question, choices in QUESTIONS]
    (tasks / "ends.jsonl").write_text("\n".join(rows) + "\n")
    (tasks / "ends.yaml").write_text(
        "task: ends\ndataset_path: json\n"
        f"dataset_kwargs:\n  data_files:\n    test: {tasks}/ends.jsonl\n"
        "test_split: test\noutput_type: multiple_choice\ndoc_to_text: \"{{question}}\"\n"
        "doc_to_choice: choices\ndoc_to_target: answer\ntarget_delimiter: \"\"\n"
        "metric_list:\n  - metric: acc\n")
    subprocess.run([tool("lm_eval") / "lm_eval", "--model", "local-completions", "--model_args",
                    f"model=smollm2,base_url=http://{http}/v1/completions,tokenizer_backend=remote,"
                    "num_concurrent=4,max_retries=1", "--batch_size", "4",
                    "--include_path", tasks, "--tasks", "ends", "--output_path", folder / "results"],
                   check=True, env={"HF_HOME": str(folder / "hf"), "HF_HUB_OFFLINE": "1", "PATH": "/usr/bin:/bin",
                                    "HF_DATASETS_OFFLINE": "1", "HOME": str(folder)})
    result = json.loads(next((folder / "results").rglob("results*.json")).read_text())
    accuracy = result["results"]["ends"]["acc,none"]
    print(f"lm_eval: accuracy {accuracy:.2f} of {len(QUESTIONS)} questions")
    if math.isnan(accuracy) or accuracy < 0.6:
        sys.exit("lm_eval: SmolLM2 knows more than that: the scores did not arrive as they should")


def aiperf(http, folder, seconds="60"):
    tokenizer = ROOT / "tests/data/tokenizers/smollm2"
    subprocess.run([tool("aiperf") / "aiperf", "profile", "--model", "smollm2", "--url", f"http://{http}",
                    "--endpoint-type", "chat", "--streaming", "--tokenizer", tokenizer, "--concurrency", "8",
                    "--benchmark-duration", seconds, "--synthetic-input-tokens-mean", "64",
                    "--output-tokens-mean", "32", "--extra-inputs", "ignore_eos:true",
                    "--extra-inputs", "min_tokens:32", "--ui", "none", "--artifact-dir", folder / "aiperf"],
                   check=True)
    report = json.loads(next((folder / "aiperf").rglob("profile_export_aiperf.json")).read_text())
    for name in ("request_throughput", "output_token_throughput", "time_to_first_token", "inter_token_latency"):
        print(f"aiperf: {name}: {json.dumps(report.get(name))}")
    errors = report.get("error_summary") or []
    if errors:
        sys.exit(f"aiperf: errors: {errors}")


def main():
    if "--program" not in sys.argv:
        sys.argv[1:1] = ["--program", str(ROOT / "build/release/trireme")]
    trireme.setup()
    arguments = sys.argv[1:]
    if not arguments or arguments[0] not in ("lm_eval", "aiperf"):
        sys.exit(__doc__)
    with tempfile.TemporaryDirectory(prefix="trireme-client-") as name:
        try:
            {"lm_eval": lm_eval, "aiperf": aiperf}[arguments[0]](serve(pathlib.Path(name)), pathlib.Path(name), *arguments[1:])
        finally:
            trireme.kill_descendants()


if __name__ == "__main__":
    main()
