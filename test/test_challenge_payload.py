# SPDX-License-Identifier: Apache-2.0
"""Payloads of plain data are read; what would build or call something is refused, not done."""

import collections
import datetime
import os
import pickle
import pickletools
import subprocess

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dm0_ros.challenge import payload
from dm0_ros.challenge.errors import ForbiddenPayload, PayloadError
from dm0_ros.challenge.payload import read_payload

STATE = {
    "state": "normal",
    "timestamp": 1732180000.25,
    "pending_actions": 3,
    "action": [0.1, -2, 2**40, -(2**40), True, None],
    "images": {"high": b"\x89PNG\xff" * 60, "empty": b"", "text": "ü" * 300},
    7: (1, (2, 3), (), [[]]),
}
PROTOCOLS = [2, 3, 4, 5]


class Trap:
    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


class Plain:
    """A class without anything special."""


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_plain_data_are_read(protocol):
    assert read_payload(pickle.dumps(STATE, protocol)) == STATE


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize(
    "array",
    [
        np.arange(6, dtype=np.uint8).reshape(2, 3),
        np.asfortranarray(np.arange(12.0).reshape(3, 4)),
        np.array([True, False]),
        np.array(2.5, np.float32),
        np.zeros((0, 3)),
        np.array([1, 2], ">i4"),
        np.arange(10.0)[::3],
    ],
    ids=str,
)
def test_arrays_of_numbers_are_read(protocol, array):
    found = read_payload(pickle.dumps({"a": array, "again": array}, protocol))
    np.testing.assert_array_equal(found["a"], array)
    assert found["a"].dtype == array.dtype and found["again"] is found["a"]


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_numbers_of_numpy_become_pythons(protocol):
    found = read_payload(pickle.dumps([np.float64(0.5), np.int32(3), np.bool_(True)], protocol))
    assert found == [0.5, 3, True] and {type(item) for item in found} == {float, int, bool}


@pytest.mark.parametrize("protocol", [1, *PROTOCOLS])
def test_a_trap_is_named_and_not_sprung(tmp_path, protocol):
    """The very payload does its work when Python's unpickler has it, and nothing here."""
    target = tmp_path / "made"
    data = pickle.dumps({"state": "normal", "images": Trap(os.mkdir, str(target))}, protocol)
    with pytest.raises(ForbiddenPayload, match=r"posix\.mkdir"):
        read_payload(data)
    assert not target.exists()
    pickle.loads(data)
    assert target.is_dir()


@pytest.mark.parametrize(
    ("value", "name"),
    [
        (Trap(eval, "1"), "eval"),
        (Trap(getattr, "a", "b"), "getattr"),
        (Trap(subprocess.check_output, ["true"]), "check_output"),
        (Trap(np.load, "x"), "load"),
        (Plain(), "Plain"),
        (datetime.datetime(2026, 1, 1), r"datetime\.datetime"),
        (collections.OrderedDict(a=1), r"collections\.OrderedDict"),
        (np.array([1, "a"], object), "dtype with O8"),
        (np.zeros(2, [("a", "f4")]), "dtype with V4"),
        (np.array(["x"]), "dtype with U1"),
        ({1, 2}, "set|SET"),
        (1j, "complex"),
        (print, "print"),
    ],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_classes_and_functions_are_refused_by_name(protocol, value, name):
    with pytest.raises(ForbiddenPayload, match=name):
        read_payload(pickle.dumps([value], protocol))


@pytest.mark.parametrize("value", [np.dtype("f4"), np.ndarray], ids=str)
def test_words_of_arrays_are_no_data(value):
    with pytest.raises(PayloadError, match="no plain data"):
        read_payload(pickle.dumps([value]))


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "damaged"),
        (b"not a pickle", "damaged"),
        (pickle.dumps(STATE)[:-20], "damaged"),
        (pickle.dumps(STATE) + b"more", "ends at byte"),
        (b"\x80\x04(K\x01.", "leaves 2 things"),
        (b"\x80\x04.", "leaves 0 things"),
        (b"\x80\x04)s.", "takes more"),
        (b"\x80\x04]K\x01K\x02s.", "fills a dict"),
        (b"\x80\x04h\x07.", "damaged"),
        (b"\x80\x04Q.", "takes more|BINPERSID"),
        (b"\x80\x04}]K\x01s.", "key is a list"),
        (b"\x80\x04\x8e\xff\xff\xff\xff\xff\xff\xff\x7fx.", "damaged"),
        (b"\x80\x04\x8a\x14" + b"\x7f" * 20 + b".", "128 bits"),
    ],
)
def test_damaged_payloads_are_refused(data, reason):
    with pytest.raises(PayloadError, match=reason):
        read_payload(data)


def test_sizes_have_limits(monkeypatch):
    with pytest.raises(PayloadError, match="more than 10000 opcodes"):
        read_payload(pickle.dumps(list(range(20_000))))
    monkeypatch.setattr(payload, "LONGEST_PAYLOAD", 100)
    with pytest.raises(PayloadError, match="100 are the limit"):
        read_payload(pickle.dumps(bytes(200)))


def test_an_array_cannot_claim_more_than_came():
    data = pickle.dumps(np.zeros(4), 4)
    shape = pickle.dumps((4,), 4)[-5:-2]
    assert shape in data
    with pytest.raises(PayloadError, match="32 bytes for an array of shape"):
        read_payload(data.replace(shape, shape.replace(b"\x04", b"\x7f")))


plain = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63)
    | st.floats(allow_nan=False)
    | st.text()
    | st.binary(),
    lambda inner: (
        st.lists(inner) | st.tuples(inner, inner) | st.dictionaries(st.text() | st.binary(), inner)
    ),
    max_leaves=20,
)


@given(plain, st.sampled_from(PROTOCOLS))
def test_whatever_is_plain_comes_through(value, protocol):
    assert read_payload(pickle.dumps(value, protocol)) == value


@given(st.binary(max_size=200), st.integers(0, 400), st.sampled_from(PROTOCOLS))
def test_any_bytes_are_read_or_refused(noise, at, protocol):
    """Nothing but the two errors ever comes out, whatever is spliced into a payload."""
    good = pickle.dumps({**STATE, "array": np.zeros(3)}, protocol)
    for data in (noise, good[:at] + noise + good[at + len(noise) :]):
        try:
            read_payload(data)
        except PayloadError:
            continue


def test_every_opcode_is_decided():
    """Opcodes that make objects of classes, or look names up elsewhere, are none that we take."""
    dangerous = {"INST", "OBJ", "NEWOBJ", "NEWOBJ_EX", "PERSID", "BINPERSID"}
    dangerous |= {"EXT1", "EXT2", "EXT4", "NEXT_BUFFER"}
    assert dangerous <= {opcode.name for opcode in pickletools.opcodes}
    for name in dangerous:
        with pytest.raises(ForbiddenPayload, match=name):
            payload._Reader().take(name, None)
