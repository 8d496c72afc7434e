"""One request has one answer: `trireme generate` prints the same bytes on every mesh, and the reference's tokens."""

import json
import pathlib
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
import trireme_process as trireme  # noqa: E402

MESHES = ((2, 1, 1), (1, 2, 1), (2, 2, 1), (4, 1, 1))  # (tp, pp, ep)
EXPERT_MESHES = ((2, 1, 1), (4, 1, 1), (1, 2, 1), (1, 1, 2), (1, 1, 4), (2, 2, 2))


class MeshTest(trireme.TriremeTest):
    def prompts_file(self, golden):
        path = self.folder / "prompts.jsonl"
        path.write_text("".join(json.dumps({"prompt_tokens": prompt["ids"]}) + "\n" for prompt in golden["prompts"]))
        return path

    def assert_meshes_agree(self, model, golden, flags, meshes):
        """Runs `model` alone and on each mesh; returns the lines of the run alone."""
        flags = ["--prompts-file", self.prompts_file(golden), "--ignore-eos", "--logprobs", "3", *flags]
        alone, lines = trireme.generate("--model", model, *flags)
        self.assert_succeeds(alone)
        self.assertEqual(len(lines), len(golden["prompts"]))
        for tp, pp, ep in meshes:
            with self.subTest(tp=tp, pp=pp, ep=ep):
                result, _ = trireme.generate("--model", model, "--tp", tp, "--pp", pp, "--ep", ep, *flags,
                                             np=tp * pp * ep)
                self.assert_succeeds(result)
                self.assertEqual(result.stdout, alone.stdout)
        return lines

    def check_tiny(self, name, model=None, meshes=MESHES):
        golden = json.loads((trireme.tiny_model(name) / "golden.json").read_text())
        lines = self.assert_meshes_agree(model or trireme.tiny_model(name), golden,
                                         ["--max-tokens", "24", "--compute", "fp32"], meshes)
        self.assertEqual([line["tokens"] for line in lines], [prompt["greedy"] for prompt in golden["prompts"]])

    def test_grouped_queries_in_bf16(self):
        self.check_tiny("llama3-tiny-bf16")

    def test_tied_embeddings(self):
        self.check_tiny("llama-tied")

    def test_gguf_of_q8_0(self):
        self.check_tiny("llama3-tiny-gguf-q8_0", trireme.tiny_model("llama3-tiny-gguf-q8_0") / "model-q8_0.gguf")

    def test_routed_experts_in_bf16(self):
        self.check_tiny("llama4-maverick-tiny", meshes=EXPERT_MESHES)

    def test_routed_experts_with_normed_queries(self):
        self.check_tiny("llama4-scout-tiny", meshes=EXPERT_MESHES)

    def test_routed_experts_in_fp8(self):
        self.check_tiny("llama4-fp8", meshes=EXPERT_MESHES)

    def test_routed_experts_from_shards_of_a_multimodal_checkpoint(self):
        model = trireme.tiny_model("llama4-multimodal-wrapper")
        golden = json.loads((model / "golden.json").read_text())
        flags = ["--prompts-file", self.prompts_file(golden), "--ignore-eos", "--compute", "fp32", "--max-tokens", "24"]
        for tp, pp, ep in ((1, 1, 2), (2, 1, 1), (2, 2, 2)):
            with self.subTest(tp=tp, pp=pp, ep=ep):
                shards = trireme.shard(model, self.folder / f"shards-{tp}-{pp}-{ep}", tp=tp, pp=pp, ep=ep)
                result, lines = trireme.generate("--model", shards, *flags, np=tp * pp * ep)
                self.assert_succeeds(result)
                self.assertEqual([line["tokens"] for line in lines],
                                 [prompt["greedy"] for prompt in golden["prompts"]])

    def test_smollm2_cut_unevenly_and_from_shards(self):
        golden = json.loads((trireme.source / "tests/data/smollm2/golden.json").read_text())
        flags = ["--max-tokens", "24"]
        lines = self.assert_meshes_agree(trireme.smollm2(), golden, flags, ((2, 1, 1), (1, 2, 1), (2, 2, 1)))
        shards = trireme.shard(trireme.smollm2(), self.folder / "shards", tp=2)
        result, sharded = trireme.generate("--model", shards, "--prompts-file", self.folder / "prompts.jsonl",
                                           "--ignore-eos", "--logprobs", "3", *flags, np=2)
        self.assert_succeeds(result)
        self.assertEqual(sharded, lines)

    def test_an_unknown_choice_is_refused_with_those_there_are(self):
        for command, flag, choices in (("generate", "--kv-dtype", "{f16,f32,q8_0}"), ("plan", "--kv-dtype", "{f16,f32,q8_0}"),
                                       ("plan", "--compute", "{native,fp32}")):
            with self.subTest(command=command, flag=flag):
                result = trireme.run(trireme.program, command, "--model", trireme.tiny_model(), flag, "q9")
                self.assertEqual(result.returncode, 2)
                self.assertIn(f"{flag}: q9 not in {choices}", result.stderr)


if __name__ == "__main__":
    trireme.main()
