"""Maverick's true sizes, without its 800 GB: a checkpoint whose data are file holes is cut, verified, or refused.

By default it has 16 of the 128 experts, so that a rank's file is 1.9 GB and the test takes seconds. The true one (a rank
file of 12.5 GB) is run with TRIREME_FULL_SIZE=128 in the environment; it needs 30 GB of free disk.
"""

import json
import os
import pathlib
import re
import sys
import tempfile
import time

sys.dont_write_bytecode = True
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
import trireme_process as trireme  # noqa: E402

EXPERTS = int(os.environ.get("TRIREME_FULL_SIZE", "16"))
MESH = ("--tp", 8, "--pp", 8)
RANK = 17
MAX_RESIDENT_BYTES = 512 << 20
FREE_BYTES = 20_000_000_000 if EXPERTS <= 16 else 30_000_000_000
REFUSAL_SECONDS = 1


def skip_without_room():
    """Where the scratch folder's file system cannot hold the test."""
    with tempfile.TemporaryDirectory(prefix="trireme-test-") as folder:
        free = os.statvfs(folder)
        if free.f_bavail * free.f_frsize < FREE_BYTES:
            trireme.skip(f"less than {FREE_BYTES // 10**9} GB are free in {folder}; set TMPDIR")
        hole = pathlib.Path(folder, "hole")
        try:
            with open(hole, "wb") as file:
                file.truncate(40 << 30)
        except OSError as error:
            trireme.skip(f"no large files in {folder}: {error}")
        if hole.stat().st_blocks > 2048:
            trireme.skip(f"the file system of {folder} has no sparse files")


def make_checkpoint(folder, *flags):
    result = trireme.run(sys.executable, trireme.source / "scripts/make_sparse_checkpoint", "--out", folder, *flags)
    if result.returncode != 0:
        raise AssertionError(result.stderr)
    return folder


def run_with_usage(*command):
    """(exit code, stdout, stderr, peak resident bytes, seconds)."""
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        started = time.monotonic()
        pid = os.posix_spawn(command[0], [str(word) for word in command], os.environ,
                             file_actions=[(os.POSIX_SPAWN_DUP2, out.fileno(), 1),
                                           (os.POSIX_SPAWN_DUP2, err.fileno(), 2)])
        _, status, usage = os.wait4(pid, 0)
        seconds = time.monotonic() - started
        texts = []
        for file in (out, err):
            file.seek(0)
            texts.append(file.read().decode())
        return os.waitstatus_to_exitcode(status), *texts, usage.ru_maxrss * 1024, seconds


class FullSizeTest(trireme.TriremeTest):
    @classmethod
    def setUpClass(cls):
        cls.scratch = tempfile.TemporaryDirectory(prefix="trireme-test-")
        cls.addClassCleanup(cls.scratch.cleanup)
        cls.model = make_checkpoint(pathlib.Path(cls.scratch.name, "maverick"), "--experts", EXPERTS, "--pattern")

    def assert_refused(self, *command, causes):
        """In time at the best of three, because other processes may hold the machine."""
        best = None
        for _ in range(3):
            code, out, err, _, seconds = run_with_usage(trireme.program, *command)
            self.assertIn(code, (1, 2), err)
            self.assertEqual(out, "")
            for cause in causes:
                self.assertRegex(err, re.escape(cause))
            best = min(seconds, best or seconds)
        self.assertLess(best, REFUSAL_SECONDS)

    def test_one_rank_is_cut_as_the_rules_say(self):
        shards = self.folder / "shards"
        code, _, err, resident, seconds = run_with_usage(trireme.program, "shard", "--model", self.model, *MESH,
                                                         "--ranks", RANK, "--out", shards)
        self.assertEqual(code, 0, err)
        self.assertLess(resident, MAX_RESIDENT_BYTES)
        print(f"shard: {seconds:.1f} s, {resident >> 20} MiB", file=sys.stderr)
        self.assert_succeeds(trireme.run(trireme.program, "verify", shards))
        check = trireme.run(sys.executable, trireme.source / "scripts/check_shard_slices.py", "--checkpoint", self.model,
                            "--shards", shards, *MESH, "--rank", RANK)
        self.assert_succeeds(check)
        print(check.stdout.strip(), file=sys.stderr)
        nonzero = int(re.search(r"(\d+) of them not zero", check.stdout)[1])
        self.assertGreater(nonzero, 5000, "the marks were not compared")

    def test_the_slice_check_finds_a_wrong_slice(self):
        model = make_checkpoint(self.folder / "small", "--layers", 2, "--experts", 4, "--hidden", 256, "--intermediate", 512,
                                "--intermediate-mlp", 512, "--vocabulary", 512, "--heads", 8, "--kv-heads", 4,
                                "--head-dim", 32, "--pattern")
        shards = trireme.shard(model, self.folder / "shards", tp=2, ep=2)
        check = [sys.executable, trireme.source / "scripts/check_shard_slices.py", "--checkpoint", model,
                 "--shards", shards, "--tp", 2, "--ep", 2, "--all"]
        for rank in range(4):
            self.assert_succeeds(trireme.run(*check, "--rank", rank))
        # Of another rank, with as many bytes in the same places.
        (shards / "rank-00001-of-00004.safetensors").write_bytes((shards / "rank-00003-of-00004.safetensors").read_bytes())
        result = trireme.run(*check, "--rank", 1)
        self.assertEqual(result.returncode, 1)
        self.assertIn("has other bytes than", result.stderr)

    def test_verify_reads_the_headers_of_the_whole_checkpoint(self):
        code, _, err, resident, _ = run_with_usage(trireme.program, "verify", self.model)
        self.assertEqual(code, 0, err)
        self.assertLess(resident, MAX_RESIDENT_BYTES)

    def test_meshes_that_do_not_fit_are_refused_at_once(self):
        out = ("--out", self.folder / "none")
        self.assert_refused("shard", "--model", self.model, "--tp", 3, *out,
                            causes=("tp must be a power of two", "got tp=3", "--tp 2", "--tp 4"))
        self.assert_refused("shard", "--model", self.model, "--ep", 5, *out,
                            causes=("ep must be a power of two", "got ep=5", "--ep 4", "--ep 8"))
        self.assertFalse((self.folder / "none").exists())

    def test_weights_of_fewer_experts_than_the_configuration_says_are_refused_at_once(self):
        lying = self.folder / "lying"
        lying.mkdir()
        for path in self.model.iterdir():
            (lying / path.name).symlink_to(path)
        (lying / "config.json").unlink()
        config = json.loads((self.model / "config.json").read_text())
        config["text_config"]["num_local_experts"] = 8 * EXPERTS
        (lying / "config.json").write_text(json.dumps(config))
        self.assert_refused("shard", "--model", lying, *MESH, "--ranks", RANK, "--out", self.folder / "none",
                            causes=(f"[{EXPERTS}, 5120]", f"[{8 * EXPERTS}, 5120]",
                                    f"the configuration says {8 * EXPERTS} where the weights have {EXPERTS}",
                                    "take both from one checkpoint"))


if __name__ == "__main__":
    trireme.main(before=skip_without_room)
