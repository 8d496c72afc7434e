"""Checkpoints and shards that are broken: each is refused by a message that names the cause, never by a crash."""

import pathlib
import shutil
import struct
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
import safetensors_file  # noqa: E402
import trireme_process as trireme  # noqa: E402

MODEL = "llama3-tiny-f32"  # one safetensors file
TENSOR = "model.layers.0.self_attn.q_proj.weight"
NORM = "model.norm.weight"


class BadCheckpointTest(trireme.TriremeTest):
    def setUp(self):
        super().setUp()
        self.model = self.folder / "model"
        shutil.copytree(trireme.tiny_model(MODEL), self.model)
        self.weights = self.model / "model.safetensors"

    def assert_refused(self, result, *causes):
        text = result.stderr
        self.assertIn(result.returncode, range(1, 126), f"not a refusal but code {result.returncode}:\n{text[-3000:]}")
        self.assertNotIn("AddressSanitizer", text)
        self.assertEqual(result.stdout, "")
        for cause in causes:
            self.assertIn(cause, text)

    def assert_model_refused(self, *causes):
        result, _ = trireme.generate("--model", self.model, "--prompt-tokens", "1,2,3", "--max-tokens", "1")
        self.assert_refused(result, *causes)

    def edit(self, change):
        header, body = safetensors_file.read(self.weights)
        change(header)
        safetensors_file.write(self.weights, header, body)

    def truncate(self, size):
        self.weights.write_bytes(self.weights.read_bytes()[:size])

    def test_the_untouched_copy_is_accepted(self):
        result, lines = trireme.generate("--model", self.model, "--prompt-tokens", "1,2,3", "--max-tokens", "1",
                                         "--ignore-eos")
        self.assert_succeeds(result)
        self.assertEqual(len(lines[0]["tokens"]), 1)

    def test_truncated_in_the_length(self):
        self.truncate(5)
        self.assert_model_refused("model.safetensors")

    def test_truncated_in_the_header(self):
        self.truncate(200)
        self.assert_model_refused("model.safetensors", "header")

    def test_truncated_in_the_data(self):
        self.truncate(self.weights.stat().st_size - 1000)
        self.assert_model_refused("model.safetensors")

    def test_header_length_of_two_to_the_63(self):
        self.weights.write_bytes(struct.pack("<Q", 1 << 63) + self.weights.read_bytes()[8:])
        self.assert_model_refused("model.safetensors", "header")

    def test_overlapping_offsets(self):
        def overlap(header):
            names = sorted((name for name in header if name != "__metadata__"),
                           key=lambda name: header[name]["data_offsets"][0])
            first, second = header[names[0]]["data_offsets"], header[names[1]]["data_offsets"]
            size = second[1] - second[0]
            header[names[1]]["data_offsets"] = [first[0], first[0] + size]
        self.edit(overlap)
        self.assert_model_refused("model.safetensors", "overlap")

    def test_wrong_dtype(self):
        self.edit(lambda header: header[NORM].update(dtype="I32"))
        self.assert_model_refused(NORM, "I32")

    def test_missing_tensor(self):
        def remove(header):
            # Its bytes now belong to another name, so that only the name is missing.
            header["model.layers.0.unexpected.weight"] = header.pop(TENSOR)
        self.edit(remove)
        self.assert_model_refused(TENSOR)

    def test_tensor_of_an_extra_rank(self):
        self.edit(lambda header: header[TENSOR].update(shape=[1] + header[TENSOR]["shape"]))
        self.assert_model_refused(TENSOR)

    def test_more_ranks_than_shards(self):
        shards = trireme.shard(self.model, self.folder / "shards", tp=2)
        result, _ = trireme.generate("--model", shards, "--prompt-tokens", "1,2,3", "--max-tokens", "1", np=3)
        self.assert_refused(result, "tp=2")

    def test_flipped_bit_in_a_shard(self):
        shards = trireme.shard(self.model, self.folder / "shards", tp=2)
        self.assert_succeeds(trireme.run(trireme.program, "verify", "--model", shards))
        damaged = sorted(shards.glob("*.safetensors"))[1]
        content = bytearray(damaged.read_bytes())
        content[-100] ^= 0x10
        damaged.write_bytes(content)
        result = trireme.run(trireme.program, "verify", "--model", shards)
        self.assertNotEqual(result.returncode, 0)
        self.assertIn(damaged.name, result.stderr + result.stdout)
        result, _ = trireme.generate("--model", shards, "--prompt-tokens", "1,2,3", "--max-tokens", "1", "--verify", np=2)
        self.assert_refused(result, damaged.name)

    def test_manifest_of_another_model(self):
        shards = trireme.shard(self.model, self.folder / "shards", tp=2)
        others = trireme.shard(trireme.tiny_model("llama3-tiny-bf16"), self.folder / "others", tp=2)
        shutil.copy(others / "manifest.json", shards / "manifest.json")
        self.assertNotEqual(trireme.run(trireme.program, "verify", "--model", shards).returncode, 0)
        result, _ = trireme.generate("--model", shards, "--prompt-tokens", "1,2,3", "--max-tokens", "1", np=2)
        self.assert_refused(result, "manifest")


if __name__ == "__main__":
    trireme.main()
