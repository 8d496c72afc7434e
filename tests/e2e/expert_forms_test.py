"""Routed experts in every form that checkpoints have: one model, rewritten from form to form, gives one answer."""

import json
import pathlib
import struct
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
import safetensors_file  # noqa: E402
import trireme_process as trireme  # noqa: E402

GGUF_ALIGNMENT = 32
GGUF_UINT32, GGUF_FLOAT32, GGUF_STRING = 4, 6, 8
GGML_F32, GGML_BF16 = 0, 30


class Tensor:
    def __init__(self, dtype, shape, content):
        self.dtype, self.shape, self.content = dtype, list(shape), bytes(content)

    @property
    def element(self):
        return {"F8_E4M3": 1, "BF16": 2, "F32": 4}[self.dtype]

    def transposed(self):
        """The last two axes exchanged."""
        *stack, rows, columns = self.shape
        size, out, plane = self.element, bytearray(), rows * columns * self.element
        for begin in range(0, len(self.content), plane):
            for column in range(columns):
                for row in range(rows):
                    at = begin + (row * columns + column) * size
                    out += self.content[at:at + size]
        return Tensor(self.dtype, [*stack, columns, rows], out)

    def columns(self, begin, end):
        """Of the last axis."""
        row = self.shape[-1] * self.element
        pieces = [self.content[at + begin * self.element:at + end * self.element]
                  for at in range(0, len(self.content), row)]
        return Tensor(self.dtype, [*self.shape[:-1], end - begin], b"".join(pieces))

    def as_f32(self):
        if self.dtype == "F32":
            return self
        # bfloat16 is the upper half of a float.
        halves = [self.content[i:i + 2] for i in range(0, len(self.content), 2)]
        return Tensor("F32", self.shape, b"".join(b"\0\0" + half for half in halves))


def beside(left, right):
    """Concatenated along the last axis."""
    row_left, row_right = left.shape[-1] * left.element, right.shape[-1] * right.element
    rows = len(left.content) // row_left
    content = b"".join(left.content[i * row_left:(i + 1) * row_left] + right.content[i * row_right:(i + 1) * row_right]
                       for i in range(rows))
    return Tensor(left.dtype, [*left.shape[:-1], left.shape[-1] + right.shape[-1]], content)


def stack(tensors):
    return Tensor(tensors[0].dtype, [len(tensors), *tensors[0].shape], b"".join(t.content for t in tensors))


def read_safetensors(path):
    header, body = safetensors_file.read(path)
    return {name: Tensor(entry["dtype"], entry["shape"], body[entry["data_offsets"][0]:entry["data_offsets"][1]])
            for name, entry in header.items() if name != "__metadata__"}


def write_safetensors(path, tensors):
    header, body = {}, b""
    # Wider types first, so that each is aligned.
    for name, tensor in sorted(tensors.items(), key=lambda item: -item[1].element):
        header[name] = {"dtype": tensor.dtype, "shape": tensor.shape,
                        "data_offsets": [len(body), len(body) + len(tensor.content)]}
        body += tensor.content
    safetensors_file.write(path, header, body)


def write_gguf(path, metadata, tensors):
    def text(value):
        return struct.pack("<Q", len(value)) + value.encode()

    content = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(metadata))
    for key, value in metadata.items():
        content += text(key)
        if isinstance(value, str):
            content += struct.pack("<I", GGUF_STRING) + text(value)
        elif isinstance(value, float):
            content += struct.pack("<If", GGUF_FLOAT32, value)
        else:
            content += struct.pack("<II", GGUF_UINT32, value)
    body = b""
    for name, tensor in tensors.items():
        kind = GGML_F32 if tensor.dtype == "F32" else GGML_BF16
        content += text(name) + struct.pack("<I", len(tensor.shape))
        content += b"".join(struct.pack("<Q", extent) for extent in reversed(tensor.shape))
        content += struct.pack("<IQ", kind, len(body))
        body += tensor.content + b"\0" * (-len(tensor.content) % GGUF_ALIGNMENT)
    path.write_bytes(content + b"\0" * (-len(content) % GGUF_ALIGNMENT) + body)


def fuse(tensors, scale_of):
    """Experts stored one by one as the fused tensors of transformers' fbgemm_fp8."""
    fused = {name: tensor for name, tensor in tensors.items() if ".experts." not in name}
    layers = sorted({name.split(".experts.")[0] for name in tensors if ".experts." in name})
    for layer in layers:
        count = 1 + max(int(name.split(".experts.")[1].split(".")[0]) for name in tensors
                        if name.startswith(layer + ".experts."))

        def all_of(matrix, kind):
            return [tensors[f"{layer}.experts.{expert}.{matrix}.{kind}"] for expert in range(count)]

        gate, up, down = (stack([m.transposed() for m in all_of(f"{name}_proj", "weight")])
                          for name in ("gate", "up", "down"))
        fused[f"{layer}.experts.gate_up_proj"] = beside(gate, up)
        fused[f"{layer}.experts.down_proj"] = down
        gate, up, down = (stack([scale_of(m) for m in all_of(f"{name}_proj", "weight_scale")])
                          for name in ("gate", "up", "down"))
        fused[f"{layer}.experts.gate_up_proj_scale"] = beside(gate.transposed(), up.transposed())
        fused[f"{layer}.experts.down_proj_scale"] = down
    return fused


def gguf_tensors(tensors, config):
    """HuggingFace's tensors under llama.cpp's names; experts as [experts, out, in], vectors in F32."""
    names = {"input_layernorm.weight": "attn_norm.weight", "post_attention_layernorm.weight": "ffn_norm.weight",
             "feed_forward.router.weight": "ffn_gate_inp.weight"}
    names |= {f"self_attn.{x}_proj.weight": f"attn_{y}.weight" for x, y in zip("qkvo", ("q", "k", "v", "output"))}
    names |= {f"feed_forward.{x}_proj.weight": f"ffn_{x}.weight" for x in ("gate", "up", "down")}
    names |= {f"feed_forward.shared_expert.{x}_proj.weight": f"ffn_{x}_shexp.weight" for x in ("gate", "up", "down")}
    ends = {"model.embed_tokens.weight": "token_embd.weight", "model.norm.weight": "output_norm.weight",
            "lm_head.weight": "output.weight"}
    width, converted = config["intermediate_size"], {}
    for name, tensor in tensors.items():
        if name in ends:
            converted[ends[name]] = tensor
            continue
        _, _, layer, rest = name.split(".", 3)
        if rest == "feed_forward.experts.gate_up_proj":
            converted[f"blk.{layer}.ffn_gate_exps.weight"] = tensor.columns(0, width).transposed()
            converted[f"blk.{layer}.ffn_up_exps.weight"] = tensor.columns(width, 2 * width).transposed()
        elif rest == "feed_forward.experts.down_proj":
            converted[f"blk.{layer}.ffn_down_exps.weight"] = tensor.transposed()
        else:
            converted[f"blk.{layer}.{names[rest]}"] = tensor
    return {name: tensor.as_f32() if len(tensor.shape) == 1 else tensor for name, tensor in converted.items()}


class ExpertFormsTest(trireme.TriremeTest):
    def answers(self, model, golden, *flags, np=None):
        path = self.folder / "prompts.jsonl"
        path.write_text("".join(json.dumps({"prompt_tokens": prompt["ids"]}) + "\n" for prompt in golden["prompts"]))
        result, lines = trireme.generate("--model", model, "--prompts-file", path, "--max-tokens", "24", "--ignore-eos",
                                         "--logprobs", "3", "--compute", "fp32", *flags, np=np)
        self.assert_succeeds(result)
        return result.stdout, [line["tokens"] for line in lines]

    def read(self, name):
        model = trireme.tiny_model(name)
        tensors = {}
        for file in model.glob("model*.safetensors"):
            tensors |= read_safetensors(file)
        return json.loads((model / "config.json").read_text()), tensors, json.loads((model / "golden.json").read_text())

    def write(self, name, config, tensors):
        folder = self.folder / name
        folder.mkdir()
        (folder / "config.json").write_text(json.dumps(config))
        write_safetensors(folder / "model.safetensors", tensors)
        return folder

    def check_fp8(self, model, golden, stdout):
        for tp, ep in ((2, 1), (1, 2), (2, 2)):
            with self.subTest(tp=tp, ep=ep):
                self.assertEqual(self.answers(model, golden, "--tp", tp, "--ep", ep, np=tp * ep)[0], stdout)

    def test_fused_fp8(self):
        config, tensors, golden = self.read("llama4-fp8")
        separate, tokens = self.answers(trireme.tiny_model("llama4-fp8"), golden)
        self.assertEqual(tokens, [prompt["greedy"] for prompt in golden["prompts"]])
        config["quantization_config"] = {"quant_method": "fbgemm_fp8"}
        for dtype, scale_of in (("bf16", lambda scale: scale), ("f32", Tensor.as_f32)):
            with self.subTest(scales=dtype):
                model = self.write(f"fused-{dtype}", config, fuse(tensors, scale_of))
                stdout, _ = self.answers(model, golden)
                self.assertEqual(stdout, separate)
                self.check_fp8(model, golden, stdout)

    def test_scales_as_vectors(self):
        config, tensors, golden = self.read("llama4-fp8")
        for name, tensor in tensors.items():
            if name.endswith("weight_scale"):
                tensor.shape = tensor.shape[:1]
        _, tokens = self.answers(self.write("vectors", config, tensors), golden)
        self.assertEqual(tokens, [prompt["greedy"] for prompt in golden["prompts"]])

    def test_fp8_without_scales_is_refused(self):
        config, tensors, _ = self.read("llama4-fp8")
        lost = "model.layers.1.feed_forward.experts.2.up_proj.weight_scale"
        del tensors[lost]
        result, _ = trireme.generate("--model", self.write("lost", config, tensors), "--prompt-tokens", "1", "--max-tokens", "1")
        self.assertIn(lost, result.stderr)
        self.assertNotEqual(result.returncode, 0)

    def test_a_config_of_more_experts_than_there_are_is_refused(self):
        config, tensors, _ = self.read("llama4-scout-tiny")
        config["num_local_experts"] = 128
        result, _ = trireme.generate("--model", self.write("more", config, tensors), "--prompt-tokens", "1", "--max-tokens", "1")
        self.assertIn("expected [128, ", result.stderr)
        self.assertNotEqual(result.returncode, 0)

    def test_gguf(self):
        config, tensors, golden = self.read("llama4-maverick-tiny")
        # What GGUF has no key for is fixed in llama.cpp.
        config |= {"attention_chunk_size": 8192, "floor_scale": 8192, "use_qk_norm": True}
        expected, _ = self.answers(self.write("huggingface", config, tensors), golden)
        metadata = {"general.architecture": "llama4", "llama4.block_count": config["num_hidden_layers"],
                    "llama4.embedding_length": config["hidden_size"],
                    "llama4.feed_forward_length": config["intermediate_size_mlp"],
                    "llama4.expert_feed_forward_length": config["intermediate_size"],
                    "llama4.expert_count": config["num_local_experts"], "llama4.expert_used_count": 1,
                    "llama4.interleave_moe_layer_step": config["interleave_moe_layer_step"],
                    "llama4.attention.head_count": config["num_attention_heads"],
                    "llama4.attention.head_count_kv": config["num_key_value_heads"],
                    "llama4.attention.key_length": config["head_dim"], "llama4.vocab_size": config["vocab_size"],
                    "llama4.attention.layer_norm_rms_epsilon": config["rms_norm_eps"],
                    "llama4.context_length": config["max_position_embeddings"],
                    "llama4.rope.freq_base": config["rope_theta"]}
        path = self.folder / "model.gguf"
        write_gguf(path, metadata, gguf_tensors(tensors, config))
        self.assertEqual(self.answers(path, golden)[0], expected)
        self.assertEqual(self.answers(path, golden, "--ep", "2", "--tp", "2", np=4)[0], expected)
        shards = trireme.shard(path, self.folder / "shards", tp=1, ep=2)
        self.assertEqual(self.answers(shards, golden, np=2)[0], expected)


if __name__ == "__main__":
    trireme.main()
