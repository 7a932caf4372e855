# SPDX-License-Identifier: Apache-2.0
"""Progress between two predictions."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dm0_ros.errors import ObservationError
from dm0_ros.policy.progress import ProgressTracker

ANY = st.floats(-3, 3, allow_nan=False)


def test_half_a_chunk_goes_half_the_way():
    tracker = ProgressTracker(horizon=50, step=0.1)
    tracker.predict(stamp=10.0, progress=0.2, prediction=0.8)
    assert tracker.update(12.5) == pytest.approx(0.5)


def test_starts_at_zero_and_again_after_reset():
    tracker = ProgressTracker(horizon=50, step=0.1)
    assert tracker.update(99.0) == 0.0
    tracker.predict(99.0, 0.0, 1.0)
    assert tracker.update(110.0) == 1.0
    tracker.reset()
    assert tracker.update(1.0) == 0.0


@given(progress=st.floats(0, 1), prediction=ANY, elapsed=st.floats(0, 100))
def test_stays_between_zero_and_one_and_never_passes_the_prediction(progress, prediction, elapsed):
    tracker = ProgressTracker(horizon=50, step=0.1)
    tracker.predict(0.0, progress, prediction)
    moved = tracker.update(elapsed)
    ends = sorted((progress, min(max(prediction, 0.0), 1.0)))
    assert ends[0] - 1e-12 <= moved <= ends[1] + 1e-12


def test_time_that_runs_back_is_refused():
    tracker = ProgressTracker(horizon=50, step=0.1)
    tracker.predict(10.0, 0.2, 0.8)
    with pytest.raises(ObservationError, match=r"9.000 s is older than the last one at 10.000 s"):
        tracker.update(9.0)
