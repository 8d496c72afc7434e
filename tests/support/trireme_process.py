"""Starts `trireme` as a user would, talks to it, and leaves nothing behind: the driver of the black-box tests.

A test calls main(TestCase classes), which reads --program and --source, switches to the Python environment of
the test clients, and makes this process the reaper of everything that the program starts: whatever is alive
at the end of a test is killed, however deep mpirun or the supervisor hid it. Every wait has a deadline.
"""

import argparse
import contextlib
import ctypes
import importlib
import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import unittest

SKIPPED = 77  # ctest's SKIP_RETURN_CODE
_PR_SET_CHILD_SUBREAPER = 36
_CLOCK_TICKS = os.sysconf("SC_CLK_TCK")

program = None  # pathlib.Path of build/…/trireme
source = None  # pathlib.Path of the project's root


def skip(reason):
    print(f"SKIPPED: {reason}", flush=True)
    sys.exit(SKIPPED)


def setup():
    """Reads --program and --source; runs this test again in .cache/venv where it is not there yet."""
    global program, source
    parser = argparse.ArgumentParser()
    parser.add_argument("--program", type=pathlib.Path, required=True)
    parser.add_argument("--source", type=pathlib.Path, default=pathlib.Path(__file__).resolve().parents[2])
    arguments, rest = parser.parse_known_args()
    program, source = arguments.program.resolve(), arguments.source.resolve()
    environment = source / ".cache/venv"
    if pathlib.Path(sys.prefix).resolve() != environment.resolve():
        python = environment / "bin/python"
        if not python.exists():
            skip(f"no Python environment in {environment}: run scripts/setup.sh")
        os.execv(python, [str(python)] + sys.argv)
    sys.argv[1:] = rest
    os.environ.update(OMPI_ALLOW_RUN_AS_ROOT="1", OMPI_ALLOW_RUN_AS_ROOT_CONFIRM="1", PYTHONDONTWRITEBYTECODE="1")
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def main(before=lambda: None):
    """Runs the test cases of the calling file, after `before`."""
    setup()
    before()
    try:
        unittest.main(module="__main__", verbosity=2)
    finally:
        kill_descendants()


# ---- processes ---------------------------------------------------------------------------------------------

class ProcessStat:
    """One line of /proc/PID/stat."""

    def __init__(self, pid):
        text = pathlib.Path(f"/proc/{pid}/stat").read_text()
        name, fields = text[text.index("(") + 1:text.rindex(")")], text[text.rindex(")") + 2:].split()
        self.pid, self.name, self.state, self.parent = pid, name, fields[0], int(fields[1])
        self.cpu_seconds = (int(fields[11]) + int(fields[12])) / _CLOCK_TICKS


def descendants(root=None):
    """ProcessStat of each process below `root` (this one), zombies left out."""
    stats = []
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            with contextlib.suppress(OSError, ValueError):
                stats.append(ProcessStat(int(entry)))
    below, grew = {root or os.getpid()}, True
    while grew:
        found = {stat.pid for stat in stats if stat.parent in below}
        grew = not found <= below
        below |= found
    below.discard(root or os.getpid())
    return [stat for stat in stats if stat.pid in below and stat.state != "Z"]


def kill_descendants(timeout=10):
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        alive = descendants()
        for stat in alive:
            with contextlib.suppress(ProcessLookupError):
                os.kill(stat.pid, signal.SIGKILL)
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        if not alive:
            for started in Running.all:
                started.process.poll()  # it was reaped above
            return
        time.sleep(0.02)
    raise TimeoutError(f"still alive: {[(stat.pid, stat.name) for stat in descendants()]}")


def arguments_of(pid):
    with contextlib.suppress(OSError):
        return pathlib.Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split("\0")[:-1]
    return []


def ranks(root=None):
    """{rank: pid} of the processes of an MPI job below `root`, as Open MPI's environment numbers them."""
    found = {}
    for stat in descendants(root):
        words = arguments_of(stat.pid)
        if not words or pathlib.Path(words[0]).name != program.name:
            continue
        with contextlib.suppress(OSError):
            environment = pathlib.Path(f"/proc/{stat.pid}/environ").read_bytes().split(b"\0")
            for entry in environment:
                if entry.startswith(b"OMPI_COMM_WORLD_RANK="):
                    found[int(entry.split(b"=")[1])] = stat.pid
    return found


class Running:
    """A started command; stdout and stderr go to files in `folder`."""

    all = []

    def __init__(self, folder, *command, name="trireme", **options):
        self.name = name
        self.out_path, self.err_path = pathlib.Path(folder, name + ".out"), pathlib.Path(folder, name + ".err")
        with open(self.out_path, "wb") as out, open(self.err_path, "wb") as err:
            self.process = subprocess.Popen([str(word) for word in command], stdin=subprocess.DEVNULL,
                                            stdout=out, stderr=err, start_new_session=True, **options)
        Running.all.append(self)

    @property
    def pid(self):
        return self.process.pid

    def out(self):
        return self.out_path.read_text(errors="replace")

    def err(self):
        return self.err_path.read_text(errors="replace")

    def wait(self, seconds):
        """Exit code, as a shell would show it."""
        try:
            code = self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"{self.name} still runs after {seconds} s; stderr ends:\n{self.err()[-4000:]}") from None
        return code if code >= 0 else 128 - code

    def wait_until(self, true, what, seconds):
        """Polls true() until it is; an early end of the command is an error."""
        deadline = time.monotonic() + seconds
        while not true():
            code = self.process.poll()
            if code is not None and not true():
                raise AssertionError(f"{self.name} ended with {code} before {what}; stderr ends:\n{self.err()[-4000:]}")
            if time.monotonic() > deadline:
                raise AssertionError(f"not within {seconds} s: {what}; stderr ends:\n{self.err()[-4000:]}")
            time.sleep(0.005)


def run(*command, timeout=120, **options):
    """Runs to the end; the result has .returncode, .stdout and .stderr as text. A hang is killed and is an error."""
    options.setdefault("stdin", subprocess.DEVNULL)
    return subprocess.run([str(word) for word in command], capture_output=True, text=True, check=False, timeout=timeout,
                          **options)


def wait_until(true, what, seconds):
    deadline = time.monotonic() + seconds
    while not true():
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds} s: {what}")
        time.sleep(0.05)


def mpirun(count):
    """The beginning of a command that runs under MPI on this machine, however few its cores."""
    return ["mpirun", "--oversubscribe", "-n", str(count)]


class TriremeTest(unittest.TestCase):
    """A test case with a scratch folder, after which nothing runs any more but what its class shares."""

    shares_processes = False  # between cases; the class then ends them itself

    def setUp(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="trireme-test-"))
        self.addCleanup(shutil.rmtree, self.folder, ignore_errors=True)
        if not self.shares_processes:
            self.addCleanup(kill_descendants)

    def start(self, *command, **options):
        return Running(self.folder, *command, **options)

    def assert_succeeds(self, result):
        self.assertEqual(result.returncode, 0, f"stderr ends:\n{result.stderr[-4000:]}")
        return result


# ---- models ------------------------------------------------------------------------------------------------

def smollm2():
    path = source / ".cache/models/smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
    if not path.exists():
        skip(f"{path} is not there: run scripts/fetch_models.sh")
    return path


def tiny_model(name="llama3-tiny-bf16"):
    return source / "tests/data/models" / name


def shard(model, folder, tp=2, pp=1, ep=1):
    result = run(program, "shard", "--model", model, "--tp", tp, "--pp", pp, "--ep", ep, "--out", folder)
    if result.returncode != 0:
        raise AssertionError(f"trireme shard ended with {result.returncode}:\n{result.stderr[-4000:]}")
    return folder


def generate(*arguments, np=None, timeout=120):
    """`trireme generate --output json`: (its result, the parsed lines; splitlines would also cut at U+0085)."""
    command = (mpirun(np) if np else []) + [program, "generate", "--output", "json", *arguments]
    result = run(*command, timeout=timeout)
    return result, [json.loads(line) for line in result.stdout.split("\n") if line] if result.returncode == 0 else []


# ---- gRPC --------------------------------------------------------------------------------------------------

# A client that tries again at once: servers of tests start while it waits for them.
CHANNEL_OPTIONS = (("grpc.initial_reconnect_backoff_ms", 100), ("grpc.min_reconnect_backoff_ms", 100),
                   ("grpc.max_reconnect_backoff_ms", 300))


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def protocol(schema="trireme/v1/inference"):
    """(messages, stubs) of a schema in proto/, generated from the tree as any client would."""
    from grpc_tools import protoc
    folder = tempfile.mkdtemp(prefix="trireme-proto-")
    try:
        code = protoc.main(["protoc", f"-I{source / 'proto'}", f"--python_out={folder}", f"--grpc_python_out={folder}",
                            f"{schema}.proto"])
        if code != 0:
            raise RuntimeError(f"protoc ended with {code}")
        sys.path.insert(0, folder)
        module = schema.replace("/", ".")
        return importlib.import_module(f"{module}_pb2"), importlib.import_module(f"{module}_pb2_grpc")
    finally:
        if folder in sys.path:
            sys.path.remove(folder)
        shutil.rmtree(folder)


def health(channel, service=""):
    """The name of the health status, or of the error's code."""
    import grpc
    from grpc_health.v1 import health_pb2, health_pb2_grpc
    try:
        reply = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(service=service), timeout=5)
        return health_pb2.HealthCheckResponse.ServingStatus.Name(reply.status)
    except grpc.RpcError as error:
        return error.code().name
