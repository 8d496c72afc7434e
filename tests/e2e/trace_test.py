"""`trireme status --dump`: the last steps of a group that serves, as a trace that Perfetto opens."""

import json
import pathlib
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
import chrome_trace  # noqa: E402
import serving  # noqa: E402
import trireme_process as trireme  # noqa: E402


class TraceTest(serving.ServingTest):
    @classmethod
    def make_shards(cls, folder):
        return trireme.shard(trireme.smollm2(), folder / "shards", tp=1, pp=2)

    def dump(self, *arguments):
        return trireme.run(trireme.program, "status", "--server", self.address, "--dump", *arguments)

    def test_shows_the_steps_of_a_request(self):
        request = self.generate_request("Once upon a time", 20)
        request.ignore_eos = True
        self.stub.GenerateUnary(request, timeout=60)
        file = self.folder / "steps.json"
        self.assert_succeeds(self.dump(file))
        trace = json.loads(file.read_text())
        chrome_trace.check(self, trace)
        events = trace["traceEvents"]
        plans = [event["args"] for event in events if "rows" in event["args"]]
        self.assertGreaterEqual(sum(plan["decode_rows"] for plan in plans), 19)
        self.assertGreaterEqual(sum(plan["prefill_rows"] for plan in plans), 4)
        names = {event["args"]["name"] for event in events if event["ph"] == "M" and event["name"] == "thread_name"}
        self.assertLessEqual({"stage 0 computes", "stage 1 computes"}, names)
        computes = [event for event in events if event["ph"] == "X" and "waited_us" in event["args"]]
        self.assertEqual({event["pid"] for event in computes}, {0, 1})
        self.assertTrue(all(event["dur"] > 0 for event in computes))

    def test_goes_to_stdout_where_no_file_is_named(self):
        chrome_trace.check(self, json.loads(self.assert_succeeds(self.dump()).stdout))

    def test_an_unknown_group_is_named(self):
        result = self.dump("--group", "elsewhere")
        self.assertEqual(result.returncode, 1)
        self.assertIn("elsewhere", result.stderr)


if __name__ == "__main__":
    trireme.main()
