# SPDX-License-Identifier: Apache-2.0
"""What is odd about a recording's times: clocks that jump, sensors that pause, stamps far off."""

from __future__ import annotations

from dataclasses import dataclass

from dm0_ros.replay.bag import RawMessage

_GAP = 1.0  # s without a message of a sensor
_JUMP = 0.5  # s by which stamps and reception may drift apart between two messages
_MOST = 100  # oddities that are described; more are counted
_LISTED = 20  # of them, in figures


@dataclass
class _Seen:
    stamp: float
    lag: float  # s from the stamp to its reception


@dataclass(frozen=True)
class Oddity:
    """One of them."""

    moment: float  # s since 1970, of reception
    topic: str
    text: str


class Watchman:
    """Sees every message of the sensors in order of reception."""

    def __init__(self) -> None:
        self.oddities: list[Oddity] = []
        self.count = 0
        self.messages = 0
        self.begin: float | None = None  # s since 1970: reception of the first message
        self.end: float | None = None
        self._seen: dict[str, _Seen] = {}

    def see(self, message: RawMessage, now: float | None) -> None:
        """A message; ``now`` of the graph's clock (s) where its stamp is to be looked at."""
        self.messages += 1
        if self.begin is None:
            self.begin = message.time
        self.end = message.time
        if now is None:
            return
        stamp = message.stamp
        seen, lag = self._seen.get(message.topic), now - stamp
        self._seen[message.topic] = _Seen(stamp, lag)
        if seen is None:
            return
        if abs(lag - seen.lag) > _JUMP:
            self.note(
                message.topic,
                f"the clock of its stamps jumped by {seen.lag - lag:+.3f} s against reception",
            )
        elif stamp < seen.stamp:
            self.note(message.topic, f"stamps go back by {seen.stamp - stamp:.3f} s")
        elif stamp - seen.stamp > _GAP:
            self.note(message.topic, f"no message for {stamp - seen.stamp:.3f} s")

    def note(self, topic: str, text: str) -> None:
        """Something is odd, now."""
        self.count += 1
        if len(self.oddities) < _MOST:
            self.oddities.append(Oddity(self.end or 0.0, topic, text))

    def summarise(self, begin: float) -> dict:
        """For JSON: how many, and the first of them, in s after ``begin`` (s since 1970)."""
        first = [
            {"seconds": oddity.moment - begin, "topic": oddity.topic, "what": oddity.text}
            for oddity in self.oddities[:_LISTED]
        ]
        return {"count": self.count, "first": first}
