# SPDX-License-Identifier: Apache-2.0
"""Robot states as the platform sends them: what is wrong in one is named before it is used."""

import io
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from dm0_ros.challenge.errors import PayloadError
from dm0_ros.challenge.platform import Condition, View, _read_state

VIEW = View(("high",), (8, 6), "joint")


def encode(picture, form="PNG"):
    target = io.BytesIO()
    Image.fromarray(picture).save(target, form)
    return target.getvalue()


PICTURE = np.random.default_rng(0).integers(0, 256, (6, 8, 3), np.uint8)
GOOD = {
    "state": "normal",
    "timestamp": 5.0,
    "pending_actions": 0,
    "action": [0.5] * 7,
    "images": {"high": encode(PICTURE)},
}


def chunk(content):
    return struct.pack(">I", len(content) - 4) + content + struct.pack(">I", zlib.crc32(content))


def claim(width, height):
    """A PNG that says it is this large, and holds nothing."""
    head = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(head) + chunk(b"IDAT") + chunk(b"IEND")


def test_a_good_state_is_read_to_the_pixel():
    found = _read_state(GOOD, VIEW)
    assert (found.condition, found.stamp, found.pending) == (Condition.NORMAL, 5.0, 0)
    assert found.values == (0.5,) * 7
    np.testing.assert_array_equal(found.pictures["high"], PICTURE)


def test_pictures_and_rows_may_be_arrays():
    """cv2.imencode gives an array of bytes."""
    data = np.frombuffer(GOOD["images"]["high"], np.uint8)[:, None]
    found = _read_state({**GOOD, "images": {"high": data}, "action": np.ones(7)}, VIEW)
    np.testing.assert_array_equal(found.pictures["high"], PICTURE)
    assert found.values == (1.0,) * 7


def test_grey_pictures_become_coloured():
    found = _read_state({**GOOD, "images": {"high": encode(PICTURE[..., 0])}}, VIEW)
    np.testing.assert_array_equal(found.pictures["high"], PICTURE[..., :1].repeat(3, 2))


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"state": "asleep"}, "'asleep'; known are normal, fault"),
        ({"state": 3}, "no usable 'state': found int"),
        ({"timestamp": None}, "no usable 'timestamp'"),
        ({"timestamp": float("nan")}, "no finite number"),
        ({"timestamp": True}, "no finite number"),
        ({"pending_actions": -1}, "'pending_actions' of the state is -1"),
        ({"pending_actions": 1.5}, "no usable 'pending_actions': found float"),
        ({"action": None}, "no row of numbers"),
        ({"action": [0.0] * 65}, "no row of numbers"),
        ({"action": ["a"]}, "other things than numbers"),
        ({"action": np.zeros((2, 2))}, "other things than numbers"),
        ({"images": []}, "no usable 'images'"),
        ({"images": {}}, "picture 'high' of the state is missing"),
        ({"images": {"high": b"\x89PNG"}}, "no PNG that can be read"),
        ({"images": {"high": encode(PICTURE, "BMP")}}, "no PNG that can be read"),
        ({"images": {"high": encode(PICTURE)[:-40]}}, "no PNG that can be read"),
        ({"images": {"high": encode(PICTURE[:4])}}, r"\(8, 4\) pixels, \(8, 6\) were asked"),
        ({"images": {"high": claim(8, 6)}}, "no PNG that can be read"),
        ({"images": {"high": claim(4000, 4000)}}, r"\(4000, 4000\) pixels"),
        ({"images": {"high": claim(60_000, 60_000)}}, "pixels|exceeds limit"),
    ],
    ids=str,
)
def test_what_is_wrong_is_named(changes, reason):
    with pytest.raises(PayloadError, match=reason):
        _read_state({**GOOD, **changes}, VIEW)


@pytest.mark.parametrize("state", [None, [], "normal", 3])
def test_what_is_no_state_is_refused(state):
    with pytest.raises(PayloadError, match="no usable 'state'"):
        _read_state(state, VIEW)


def test_a_robot_that_is_not_normal_needs_no_pictures():
    assert _read_state({"state": "fault"}, VIEW).condition is Condition.FAULT


odd = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary()
odd |= st.lists(odd, max_size=3) | st.dictionaries(st.text(), odd, max_size=2)


@given(st.dictionaries(st.sampled_from(sorted(GOOD)), odd))
def test_no_plain_data_break_the_reader(changes):
    try:
        found = _read_state({**GOOD, **changes}, VIEW)
    except PayloadError:
        return
    assert found.condition is not Condition.NORMAL or np.isfinite(found.stamp)
