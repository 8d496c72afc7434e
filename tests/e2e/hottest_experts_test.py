"""`trireme status` shows the hottest experts of a model with routed experts, served over stages and expert groups."""

import pathlib
import re
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
import byte_model  # noqa: E402
import serving  # noqa: E402
import trireme_process as trireme  # noqa: E402

EXPERTS, ROUTED_LAYERS = 8, {1, 3, 5, 7}
SHOWN = re.compile(r"layer (\d+) expert (\d+) ([0-9.]+) % of ([0-9,]+) tokens")


class HottestExpertsTest(serving.ServingTest):
    @classmethod
    def make_shards(cls, folder):
        model = byte_model.copy("llama4-maverick-tiny", folder / "model")
        return trireme.shard(model, folder / "shards", tp=1, pp=2, ep=2)

    def status(self):
        return self.assert_succeeds(trireme.run(trireme.program, "status", "--server", self.address)).stdout

    def test_status_shows_the_hottest_experts(self):
        self.assertNotIn("hottest", self.status())
        request = self.generate_request("Experts differ", 40)
        request.ignore_eos = True
        tokens = self.stub.GenerateUnary(request, timeout=60).usage.prompt_tokens
        # A prompt's step reports, and then every 16th: 32 more tokens by the last of them.
        trireme.wait_until(lambda: f"of {tokens + 32} tokens" in self.status(), "the last report is shown", 20)
        lines = [line for line in self.status().splitlines() if "hottest experts" in line]
        self.assertEqual(len(lines), 1)
        shown = SHOWN.findall(lines[0])
        self.assertEqual(len(shown), 8, lines[0])
        shares = [float(share) for _, _, share, _ in shown]
        self.assertEqual(shares, sorted(shares, reverse=True))
        self.assertGreaterEqual(shares[0], 100 / EXPERTS)
        self.assertEqual(len({(layer, expert) for layer, expert, _, _ in shown}), 8)
        for layer, expert, _, of in shown:
            self.assertIn(int(layer), ROUTED_LAYERS)
            self.assertLess(int(expert), EXPERTS)
            self.assertEqual(int(of), tokens + 32)


if __name__ == "__main__":
    trireme.main()
