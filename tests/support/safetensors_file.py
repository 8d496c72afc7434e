"""The frame of a safetensors file, for tests that rewrite checkpoints: a length, a JSON header, and the tensors' bytes."""

import json
import struct


def read(path):
    """(header, body): {name: {"dtype", "shape", "data_offsets"}} and the bytes that the offsets count in."""
    content = path.read_bytes()
    length = struct.unpack("<Q", content[:8])[0]
    return json.loads(content[8:8 + length]), content[8 + length:]


def write(path, header, body):
    """Pads the header so that the body begins at a multiple of 8; checks nothing, so that tests can write what is wrong."""
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(struct.pack("<Q", len(text)) + text + body)
