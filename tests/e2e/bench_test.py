"""`trireme bench model` prints a figure for each case it was asked for, alone and on two ranks."""

import json
import pathlib
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
import trireme_process as trireme  # noqa: E402

CASES = ["--prompt", "24", "--batch", "1,3", "--context", "8,16", "--tokens", "64", "--repetitions", "2"]


class BenchTest(trireme.TriremeTest):
    def bench_model(self, *flags, ranks=None):
        command = trireme.mpirun(ranks) if ranks else []
        ran = trireme.run(*command, trireme.program, "bench", "model", "--model", trireme.tiny_model(), *CASES, *flags)
        return self.assert_succeeds(ran).stdout

    def check_rows(self, output):
        rows = json.loads(output)["rows"]
        cases = [(row["what"], row["batch"], row.get("prompt", row.get("context"))) for row in rows]
        self.assertEqual(cases, [("prefill", 1, 24), ("decode", 1, 8), ("decode", 3, 8), ("decode", 1, 16), ("decode", 3, 16)])
        for row in rows:
            self.assertEqual(len(row["samples"]), 2)
            self.assertGreater(min(row["samples"]), 0)
            self.assertAlmostEqual(row["tokens_per_second"], sum(row["samples"]) / 2)

    def test_a_model_alone(self):
        self.check_rows(self.bench_model("--output", "json"))
        self.assertIn("prefill", self.bench_model())

    def test_a_model_on_two_ranks(self):
        self.check_rows(self.bench_model("--tp", "2", "--output", "json", ranks=2))

    def test_an_unknown_bench_is_misuse(self):
        ran = trireme.run(trireme.program, "bench", "everything")
        self.assertEqual(ran.returncode, 2)
        self.assertIn("Usage: trireme bench", ran.stderr)


if __name__ == "__main__":
    trireme.main()
