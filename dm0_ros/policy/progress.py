# SPDX-License-Identifier: Apache-2.0
"""How far a task has come, from what a progress model predicts for the end of each chunk."""

from dm0_ros.errors import ObservationError


class ProgressTracker:
    """Moves the progress towards the last prediction by the share of the chunk that has passed.

    p <- clip(p + (prediction - p) * rows passed / H, 0, 1), as DM0-Prog does; there the rows are
    those executed, here those whose time has passed between two observations.
    """

    def __init__(self, horizon: int, step: float) -> None:
        """``horizon`` H rows, ``step`` s between rows."""
        self._duration = horizon * step
        self.reset()

    def reset(self) -> None:
        """A new task starts at 0."""
        self._progress = 0.0
        self._prediction: float | None = None
        self._stamp: float | None = None

    def update(self, stamp: float) -> float:
        """Progress in [0, 1] at ``stamp`` (s); raises `ObservationError` where time runs back."""
        if self._stamp is None or self._prediction is None:
            return self._progress
        if stamp < self._stamp:
            raise ObservationError(
                f"the observation at {stamp:.3f} s is older than the last one at "
                f"{self._stamp:.3f} s; reset the policy where time starts again"
            )
        share = min((stamp - self._stamp) / self._duration, 1.0)
        moved = self._progress + (self._prediction - self._progress) * share
        return min(max(moved, 0.0), 1.0)

    def predict(self, stamp: float, progress: float, prediction: float) -> None:
        """Note the progress used at ``stamp`` and what was predicted for the chunk's end."""
        self._stamp, self._progress, self._prediction = stamp, progress, prediction
