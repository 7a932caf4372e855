# SPDX-License-Identifier: Apache-2.0
"""Headers of safetensors files, with the library itself as the judge of what is damaged."""

import json
import struct

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from dm0_ros.model.headers import read_header

TENSORS = {
    "a": torch.arange(6.0).reshape(2, 3),
    "b.0.weight": torch.zeros(4, dtype=torch.bfloat16),
    "b.1.weight": torch.zeros((), dtype=torch.int64),
    "empty": torch.zeros(0, 5),
}
WHOLE = save(TENSORS, metadata={"format": "pt"})
LENGTH = 8 + struct.unpack("<Q", WHOLE[:8])[0]


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return tmp_path_factory.mktemp("headers") / "model.safetensors"


def accepts(path):
    try:
        with safe_open(path, framework="pt") as content:
            names = content.keys()
            return {name: content.get_slice(name).get_shape() for name in names}
    except (SafetensorError, OSError):
        return None


def test_a_whole_file_is_read_as_the_library_reads_it(path):
    path.write_bytes(WHOLE)
    header = read_header(path)
    assert header.problems == () and header.size == len(WHOLE)
    assert {tensor.name: list(tensor.shape) for tensor in header.tensors} == accepts(path)
    assert sum(tensor.size for tensor in header.tensors) == len(WHOLE) - LENGTH


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_what_the_library_refuses_is_named(path, data):
    """Bytes of the header changed at random, and the file cut or made longer."""
    content = bytearray(WHOLE)
    for _ in range(data.draw(st.integers(0, 3))):
        place = data.draw(st.integers(0, LENGTH - 1))
        content[place] = data.draw(st.integers(0, 255) | st.sampled_from(b'0123456789[]{}",:'))
    end = data.draw(st.sampled_from([len(WHOLE), len(WHOLE)]) | st.integers(0, len(WHOLE)))
    path.write_bytes(bytes(content[:end]) + data.draw(st.sampled_from([b"", b"", b"xy"])))
    header, accepted = read_header(path), accepts(path)
    if accepted is None:
        assert header.problems
    elif not header.problems:
        assert {tensor.name: list(tensor.shape) for tensor in header.tensors} == accepted


@pytest.mark.parametrize("number", [2**63, -1, 1.5, True, None, "3"])
def test_odd_numbers_are_named(path, number):
    header = {"a": {"dtype": "F32", "shape": [number], "data_offsets": [0, 4]}}
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + bytes(4))
    assert read_header(path).problems


def test_a_missing_file_is_named(tmp_path):
    assert "cannot be read" in read_header(tmp_path / "nothing").problems[0]
