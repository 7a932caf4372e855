# SPDX-License-Identifier: Apache-2.0
"""What people are shown of a scaffold: all of a valid one, a reason instead of an invalid one."""

from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dm0_ros.scaffold.sketch import Sketch

NAN = float("nan")


def tell(**changes):
    fields = {
        **{"view": "high", "width": 200, "height": 100, "subtask": "reach the cup", "text": ""},
        **{"box": [10.0, 20.0, 30.0, 40.0], "trajectory": [1.0, 2.0, 3.0, 4.0]},
        **{"valid": True, "error": "", **changes},
    }
    return SimpleNamespace(**fields)


def test_valid_message_is_shown():
    sketch = Sketch.of(tell())
    assert (sketch.view, sketch.subtask, sketch.refusal) == ("high", "reach the cup", "")
    assert sketch.box.tolist() == [10, 20, 30, 40]
    assert [path.tolist() for path in sketch.paths] == [[[1, 2], [3, 4]]]


def test_levels_that_were_not_told_are_absent():
    sketch = Sketch.of(tell(box=[NAN] * 4, trajectory=[]))
    assert sketch.box is None and sketch.paths == () and not sketch.refusal


def test_paths_of_two_arms_stand_apart():
    sketch = Sketch.of(tell(trajectory=[1, 2, 3, 4, NAN, NAN, 5, 6, NAN, NAN]))
    assert [path.tolist() for path in sketch.paths] == [[[1, 2], [3, 4]], [[5, 6]]]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"valid": False, "error": "12 numbers in a box"}, "12 numbers in a box"),
        ({"valid": False}, "no reason given"),
        ({"width": 0}, "0x100 pixels"),
        ({"trajectory": [1.0, 2.0, 3.0]}, "3 numbers"),
        ({"trajectory": [1.0, NAN]}, "not finite"),
        ({"trajectory": [1.0, np.inf]}, "not finite"),
        ({"box": [1.0, NAN, 2.0, 3.0]}, "not finite"),
        ({"box": [1.0, 2.0, 2.0, np.inf]}, "not finite"),
        ({"box": [5.0, 2.0, 1.0, 3.0]}, "upside down"),
        ({"box": [1.0, 9.0, 2.0, 3.0]}, "upside down"),
    ],
)
def test_what_contradicts_itself_is_refused_and_never_a_box(changes, reason):
    sketch = Sketch.of(tell(**changes))
    assert reason in sketch.refusal
    assert sketch.box is None and sketch.paths == () and sketch.subtask == ""


number = st.floats(width=32)


@given(
    box=st.lists(number, min_size=4, max_size=4),
    trajectory=st.lists(number, max_size=12),
    width=st.integers(0, 4),
)
def test_any_message_is_shown_or_refused(box, trajectory, width):
    sketch = Sketch.of(tell(box=box, trajectory=trajectory, width=width)).scale_to(640, 480)
    assert sketch.box is None or np.isfinite(sketch.box).all()
    assert all(np.isfinite(path).all() and path.ndim == 2 for path in sketch.paths)


def test_another_size_of_the_same_picture():
    sketch = Sketch.of(tell()).scale_to(400, 400)
    assert sketch.box.tolist() == [20, 80, 60, 160]
    assert sketch.paths[0].tolist() == [[2, 8], [6, 16]]
    assert (sketch.width, sketch.height) == (400, 400)
