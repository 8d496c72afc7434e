"""Quantised shards answer like the checkpoint they are made of, and alike on every mesh, in both arithmetics."""

import json
import pathlib
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "support"))
import trireme_process as trireme  # noqa: E402

# A Llama 4 whose every matrix is quantised, those of its fused experts transposed.
FLAGS = ("--hidden", "64", "--layers", "4", "--heads", "4", "--kv-heads", "2", "--head-dim", "32", "--mlp", "256",
         "--vocabulary", "288", "--context", "256", "--experts", "4", "--expert-width", "256", "--untied")
IDS = [3, 141, 59, 26, 250, 35, 89, 79, 32, 38, 46, 264, 33, 83, 27, 95]


class QuantizedShardsTest(trireme.TriremeTest):
    def make_model(self):
        folder = self.folder / "model"
        script = trireme.source / "scripts/bench/make_model.py"
        self.assert_succeeds(trireme.run(sys.executable, script, folder, *FLAGS))
        return folder

    def shard(self, model, quant, tp=1, ep=1):
        folder = self.folder / f"{quant}-{tp}-{ep}"
        ran = trireme.run(trireme.program, "shard", "--model", model, "--quant", quant, "--tp", tp, "--ep", ep, "--out", folder)
        self.assert_succeeds(ran)
        self.assert_succeeds(trireme.run(trireme.program, "verify", folder))
        return folder

    def generate(self, model, np=None, compute="native"):
        ran, lines = trireme.generate("--model", model, "--prompt-tokens", ",".join(map(str, IDS)), "--max-tokens", "12",
                                      "--ignore-eos", "--logprobs", "3", "--compute", compute, np=np)
        self.assert_succeeds(ran)
        return ran.stdout, lines[0]

    def mean_nll(self, model):
        text = self.folder / "text.jsonl"
        text.write_text(json.dumps({"ids": IDS * 4}) + "\n")
        ran = self.assert_succeeds(trireme.run(trireme.program, "perplexity", "--model", model, "--file", text, "--compute", "fp32"))
        return json.loads(ran.stdout)["mean_nll"]

    def test_meshes_agree_and_the_text_is_nearly_as_likely(self):
        model = self.make_model()
        whole = self.mean_nll(model)
        for quant, most in (("int8", 0.02), ("int4", 0.3)):
            with self.subTest(quant=quant):
                alone = self.shard(model, quant)
                self.assertAlmostEqual(self.mean_nll(alone), whole, delta=most)
                for compute in ("native", "fp32"):
                    expected, _ = self.generate(alone, compute=compute)
                    self.assertEqual(self.generate(self.shard(model, quant, tp=2), 2, compute)[0], expected)
                self.assertEqual(self.generate(self.shard(model, quant, tp=2, ep=2), 4)[0], self.generate(alone)[0])

    def test_a_plan_knows_what_they_will_hold(self):
        model = self.make_model()
        for quant in ("int8", "int4"):
            with self.subTest(quant=quant):
                planned = self.plan(model, "--quant", quant)
                self.assertEqual(planned, self.plan(self.shard(model, quant)))
                self.assertLess(planned, 0.6 * self.plan(model))

    def plan(self, model, *flags):
        ran = trireme.run(trireme.program, "plan", "--model", model, "--tp", "1", "--pp", "1", "--context", "64", "--output", "json",
                          *flags)
        self.assert_succeeds(ran)
        return json.loads(ran.stdout)["meshes"][0]["per_rank"][0]["weights_bytes"]

    def test_int4_of_fp8_experts_is_refused(self):
        ran = trireme.run(trireme.program, "shard", "--model", trireme.tiny_model("llama4-fp8"), "--quant", "int4", "--out",
                          self.folder / "out")
        self.assertEqual(ran.returncode, 1)
        self.assertIn("BF16 checkpoint", ran.stderr)


if __name__ == "__main__":
    trireme.main()
