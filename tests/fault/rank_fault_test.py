"""Ranks that die, stop or idle: named in time, the group ended with the documented code, no core burnt meanwhile."""

import os
import pathlib
import signal
import sys
import time

sys.dont_write_bytecode = True
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
import serving  # noqa: E402
import trireme_process as trireme  # noqa: E402

RANK_LOST = 65  # launcher/exit_codes.h
NAMED_WITHIN_S = 2.0
SLACK_S = 1.0  # a busy machine may be slow to run the one that names, and the one that looks


def names(log, victim):
    """Whether a line that says who was lost names the rank."""
    return any(f"rank {victim}" in line and "lost" in line for line in log.splitlines())


class GenerateFaultTest(trireme.TriremeTest):
    """Two ranks under mpirun, without a coordinator."""

    def start_generating(self):
        running = self.start(*trireme.mpirun(2), trireme.program, "generate", "--model", trireme.smollm2(), "--tp", 2,
                             "--prompt", "Once upon a time", "--max-tokens", 4000, "--ignore-eos")
        running.wait_until(lambda: len(running.out()) > 20, "text is printed", 60)
        ranks = trireme.ranks(running.pid)
        self.assertEqual(sorted(ranks), [0, 1])
        return running, ranks

    def test_a_killed_rank_ends_the_job(self):
        for victim in (0, 1):
            running, ranks = self.start_generating()
            os.kill(ranks[victim], signal.SIGKILL)
            self.assertNotEqual(running.wait(10), 0)
            self.assertEqual([stat.name for stat in trireme.descendants()], [])

    def test_a_stopped_rank_is_named_and_ends_the_job(self):
        for victim in (0, 1):
            running, ranks = self.start_generating()
            stopped = time.monotonic()
            os.kill(ranks[victim], signal.SIGSTOP)
            running.wait_until(lambda: names(running.err(), victim), f"rank {victim} is named", NAMED_WITHIN_S + SLACK_S)
            print(f"rank {victim} named after {time.monotonic() - stopped:.2f} s", flush=True)
            self.assertEqual(running.wait(10), RANK_LOST, running.err()[-3000:])


class ServeFaultTest(serving.ServingTest):
    """The same under `trireme serve`."""

    shares_processes = False

    def start_streaming(self):
        request = self.generate_request("Once upon a time", 4000)
        request.ignore_eos = True
        call = self.stub.Generate(request, timeout=60)
        next(iter(call))
        ranks = trireme.ranks(self.server.pid)
        self.assertEqual(sorted(ranks), [0, 1])
        return call, ranks

    def assert_restarts_or_ends(self):
        """After a fault: ready again with a new group, or gone with a code that says so."""
        deadline = time.monotonic() + 60
        while self.server.process.poll() is None:
            if trireme.health(self.channel) == "SERVING":
                answer = self.stub.GenerateUnary(self.generate_request("The sky is", 4), timeout=30)
                self.assertEqual(len(answer.tokens), 4)
                return
            self.assertLess(time.monotonic(), deadline, "neither ready again nor ended")
            time.sleep(0.1)
        self.assertIn(self.server.wait(1), range(64, 126), self.server.err()[-3000:])

    def assert_named(self, victim, seconds):
        self.server.wait_until(lambda: names(self.server.err(), victim), f"rank {victim} is named", seconds)

    def test_a_killed_rank_is_named(self):
        _, ranks = self.start_streaming()
        os.kill(ranks[1], signal.SIGKILL)
        self.assert_named(1, 10)
        self.assert_restarts_or_ends()

    def test_a_stopped_rank_is_named(self):
        _, ranks = self.start_streaming()
        os.kill(ranks[1], signal.SIGSTOP)
        self.assert_named(1, NAMED_WITHIN_S + SLACK_S)
        self.assert_restarts_or_ends()

    def test_idle_ranks_leave_the_cores_alone(self):
        self.stub.GenerateUnary(self.generate_request("Hello", 4), timeout=60)
        time.sleep(1)
        before = {pid: trireme.ProcessStat(pid).cpu_seconds for pid in trireme.ranks(self.server.pid).values()}
        self.assertEqual(len(before), 2)
        time.sleep(10)
        for pid, seconds in before.items():
            self.assertLess(trireme.ProcessStat(pid).cpu_seconds - seconds, 0.2)


if __name__ == "__main__":
    trireme.main()
