"""Ranks that die, stop or idle: named in time, the group ended with the documented code, no core burnt meanwhile."""

import json
import os
import pathlib
import re
import signal
import sys
import time

sys.dont_write_bytecode = True
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
import chrome_trace  # noqa: E402
import serving  # noqa: E402
import trireme_process as trireme  # noqa: E402

RANK_LOST, GROUP_LOST = 65, 68  # launcher/exit_codes.h
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
            other = 1 - victim
            self.assertRegex(running.err(), rf'rank {victim} on host \S+ has not been heard from .*; rank {other} on host '
                                            rf'\S+ waits for it in (tree sum|all-gather) .?"[^"]+" of step \d+')

    def test_a_stopped_stage_is_named_with_several_plans_in_flight(self):
        prompts = pathlib.Path(self.folder, "prompts.jsonl")
        prompts.write_text("".join(json.dumps({"prompt": f"Story {i}:"}) + "\n" for i in range(8)))
        for victim in (0, 1):
            traces = pathlib.Path(self.folder, f"traces{victim}")
            traces.mkdir()
            running = self.start(*trireme.mpirun(2), trireme.program, "generate", "--model", trireme.smollm2(), "--pp", 2,
                                 "--prompts-file", prompts, "--max-tokens", 1500, "--ignore-eos", "--trace-directory", traces)
            running.wait_until(lambda running=running: running.err().count("rank ready") == 2, "the group stands", 60)
            ranks = trireme.ranks(running.pid)
            time.sleep(2)
            os.kill(ranks[victim], signal.SIGSTOP)
            running.wait_until(lambda running=running, victim=victim: names(running.err(), victim), f"rank {victim} is named",
                               NAMED_WITHIN_S + SLACK_S)
            self.assertEqual(running.wait(10), RANK_LOST, running.err()[-3000:])
            self.assertRegex(running.err(), rf"rank {victim} on host \S+ has not been heard from .* of step \d+")
            named = re.search(rf'; rank {1 - victim} on host \S+ waits for it in (receive|receive message|send|send message) '
                              r'.?"[^"]+" of step (\d+)', running.err())
            # A follower that waits for its next plan is in no operation.
            self.assertTrue(named or victim == 0, running.err()[-3000:])
            (trace,) = [json.loads(path.read_text()) for path in traces.glob(f"trireme-rank{1 - victim}-*.trace.json")]
            chrome_trace.check(self, trace)
            self.assertIn(f"rank {victim} on host", trace["otherData"]["reason"])
            if victim == 1:  # the leader tells what was in flight: more than one plan
                planned = [event["args"] for event in trace["traceEvents"] if "rows" in event.get("args", {})]
                self.assertGreater(sum(step["in_flight"] for step in planned), 1)
                waits = [event for event in trace["traceEvents"] if event["name"].endswith(f" of step {named[2]}")]
                self.assertTrue(any(event["args"].get("in_flight") for event in waits), waits)


class ServeFaultTest(serving.ServingTest):
    """The same under `trireme serve`."""

    shares_processes = False

    def assert_outlives(self, victim, fault, named_within_s):
        """A rank faults in the middle of an answer: it is named, and the client gets the answer that it would have got."""
        request = self.generate_request("Once upon a time", 80)
        request.ignore_eos = True
        expected = list(self.stub.GenerateUnary(request, timeout=60).tokens)
        call = self.stub.Generate(request, timeout=90)
        tokens = []
        for piece in call:
            tokens += piece.tokens
            if len(tokens) >= 8:
                break
        ranks = trireme.ranks(self.server.pid)
        self.assertEqual(sorted(ranks), [0, 1])
        os.kill(ranks[victim], fault)
        self.server.wait_until(lambda: names(self.server.err(), victim), f"rank {victim} is named", named_within_s)
        for piece in call:
            tokens += piece.tokens
        self.assertEqual(tokens, expected)
        self.assertNotIn(ranks[victim], trireme.ranks(self.server.pid).values())

    def test_a_killed_rank_is_named_and_its_request_continues(self):
        self.assert_outlives(1, signal.SIGKILL, 10)

    def test_a_killed_leader_is_named_and_its_request_continues(self):
        self.assert_outlives(0, signal.SIGKILL, 10)

    def test_a_stopped_rank_is_named_in_time_and_its_request_continues(self):
        self.assert_outlives(1, signal.SIGSTOP, NAMED_WITHIN_S + SLACK_S)

    def test_a_stopped_leader_is_named_in_time_and_its_request_continues(self):
        self.assert_outlives(0, signal.SIGSTOP, NAMED_WITHIN_S + SLACK_S)

    def test_without_restarts_the_server_ends_with_a_code_that_says_so(self):
        self.server.process.send_signal(signal.SIGTERM)
        self.assertEqual(self.server.wait(20), 0)
        self.server = self.serve(self.folder, "restart: {max_restarts: 0}\n")
        os.kill(trireme.ranks(self.server.pid)[1], signal.SIGKILL)
        self.assertEqual(self.server.wait(20), GROUP_LOST, self.server.err()[-3000:])
        self.assertTrue(names(self.server.err(), 1), self.server.err()[-3000:])
        self.assertEqual([stat.name for stat in trireme.descendants()], [])

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
