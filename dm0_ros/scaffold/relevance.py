# SPDX-License-Identifier: Apache-2.0
"""Which scaffolds are about what the robot is doing, and which about what is over."""

import math


class Relevance:
    """Follows plans and resets. A text is about the picture that it was written for, and comes
    later than that: perhaps when another instruction has begun, or after a reset."""

    def __init__(self) -> None:
        self._instruction: str | None = None  # of the newest plan
        self._planned = -math.inf  # s: observation that it was made from
        self._void = -math.inf  # s: what was said of pictures up to here is over

    def covers(self, moment: float) -> bool:
        """Whether a scaffold is shown that is about a picture of ``moment`` (s)."""
        return moment > self._void

    def follow(self, instruction: str, start: float) -> None:
        """A plan that was made for ``instruction`` from an observation of ``start`` (s).

        Of another instruction, it voids what was said up to the last plan before it.
        """
        if self._instruction not in (None, instruction):
            self._void = max(self._void, self._planned)
        self._instruction, self._planned = instruction, start

    def reset(self, moment: float) -> None:
        """The executor was reset at ``moment`` (s)."""
        self._void = moment  # not the later of the two: a clock may have been set back
