# SPDX-License-Identifier: Apache-2.0
"""Frames come over whole, and only those that equal the last ones, from the front, are kept."""

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from dm0_ros.engine.intake import FrameIntake

CPU = torch.device("cpu")


def make_frame(size, value):
    return np.full((*size, 3), value, np.uint8)


sizes = st.sampled_from([(2, 3), (3, 2), (4, 4)])
calls = st.lists(
    st.lists(st.tuples(sizes, st.integers(0, 1)), min_size=1, max_size=4), min_size=1, max_size=6
)


@given(calls=calls, reuse=st.booleans())
def test_every_frame_of_every_call_arrives(calls, reuse):
    intake, before = FrameIntake(CPU, reuse), None
    for call in calls:
        frames = [make_frame(size, value) for size, value in call]
        found, kept = intake.take(frames)
        assert found == tuple(size for size, _ in call)
        buffers = [frame for part in intake.fresh(found, 0) for frame in part.numpy()]
        assert len(buffers) == len(frames)
        assert all(np.array_equal(*pair) for pair in zip(buffers, frames, strict=True))
        same_sizes = before and [size for size, _ in before] == [size for size, _ in call]
        expected = 0
        while reuse and same_sizes and expected < len(call) and before[expected] == call[expected]:
            expected += 1
        assert kept == expected
        fresh = sum(len(part) for part in intake.fresh(found, kept))
        assert fresh == len(frames) - kept
        before = call


def test_nothing_is_kept_after_forgetting():
    intake, frames = FrameIntake(CPU, reuse=True), [make_frame((2, 2), 7)]
    assert [intake.take(frames)[1] for _ in range(2)] == [0, 1]
    intake.forget()
    assert [intake.take(frames)[1] for _ in range(2)] == [0, 1]


def test_buffers_stay_where_they_are():
    intake = FrameIntake(CPU, reuse=False)
    places = set()
    for value in range(3):
        found, _ = intake.take([make_frame((2, 2), value)] * 2)
        places.add(intake.fresh(found, 0)[0].data_ptr())
    assert len(places) == 1


def test_a_caller_may_overwrite_its_frames():
    intake, frame = FrameIntake(CPU, reuse=True), make_frame((2, 2), 1)
    intake.take([frame])
    frame[:] = 2
    assert intake.take([frame])[1] == 0
