"""Tiny models of tests/data with a tokenizer of bytes, so that they can be served."""

import json
import shutil

import trireme_process as trireme

VOCABULARY = 512


def _byte_letters():
    """The letter that byte-level tokenizers write for each byte."""
    plain = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = iter(range(256, 512))
    return [chr(byte) if byte in plain else chr(next(others)) for byte in range(256)]


def _tokenizer():
    """A tokenizer.json of the tiny models' vocabulary: special tokens, the 256 bytes, then ids without text."""
    special = ["<pad>", "<s>", "</s>"] + [f"<unused_{index}>" for index in range(VOCABULARY - 3 - 256)]
    ids = [0, 1, 2, *range(3 + 256, VOCABULARY)]
    return {"added_tokens": [{"id": token, "content": text, "special": True} for token, text in zip(ids, special)],
            "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": False, "use_regex": True},
            "decoder": {"type": "ByteLevel"},
            "model": {"type": "BPE", "vocab": {letter: 3 + byte for byte, letter in enumerate(_byte_letters())}, "merges": []}}


def copy(name, folder):
    """The model `name` of tests/data in `folder`, with such a tokenizer beside it."""
    model = shutil.copytree(trireme.tiny_model(name), folder)
    (model / "tokenizer.json").write_text(json.dumps(_tokenizer()))
    (model / "tokenizer_config.json").write_text(json.dumps({"bos_token": "<s>", "eos_token": "</s>"}))
    return model
