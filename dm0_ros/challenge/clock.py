# SPDX-License-Identifier: Apache-2.0
"""How far the platform's clock is from ours."""

from collections.abc import Callable
from dataclasses import dataclass

from dm0_ros.challenge.connection import Time
from dm0_ros.challenge.errors import ChallengeError, Unreachable


@dataclass(frozen=True)
class ClockOffset:
    """What to add to our time for the platform's, and how wrong that may be (s)."""

    offset: float
    uncertainty: float  # half of the quickest round trip

    def to_ours(self, stamp: float) -> float:
        """A time of the platform's clock, on ours."""
        return stamp - self.offset

    def to_theirs(self, time: float) -> float:
        """A time of our clock, on the platform's."""
        return time + self.offset


def estimate_offset(
    read: Callable[[], float], clock: Time, probes: int, pause: float
) -> ClockOffset:
    """Offset by the quickest of ``probes`` questions, ``pause`` s apart.

    Both ways are taken to be equally long; that is wrong by half of the round trip at most, so the
    quickest says most. A mean would let one slow answer spoil the others. Some probes may fail;
    raises `Unreachable` where all do.
    """
    found, failed = [], None
    for probe in range(probes):
        if probe:
            clock.wait(pause)
        sent = clock.now()
        try:
            theirs = read()
        except ChallengeError as cause:
            failed = cause
            continue
        received = clock.now()
        half = (received - sent) / 2
        found.append(ClockOffset(theirs - (sent + half), half))
    if not found:
        raise Unreachable(f"none of {probes} questions for the clock was answered: {failed}")
    return min(found, key=lambda item: item.uncertainty)
