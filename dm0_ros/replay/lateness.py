# SPDX-License-Identifier: Apache-2.0
"""How late plans come when an executor is rehearsed."""

from __future__ import annotations

import math
from dataclasses import dataclass

from dm0_ros.errors import Dm0Error


@dataclass(frozen=True)
class Lateness:
    """How long after its observation a plan comes."""

    seconds: float | None  # None: as long as it took live; without that, as in the replay

    @classmethod
    def parse(cls, text: str) -> Lateness:
        """Of ``measured``, ``300ms``, ``0.3s`` or a number of seconds; raises `Dm0Error`."""
        word = text.strip().lower()
        if word == "measured":
            return cls(None)
        number, scale = word, 1.0
        for unit, size in (("ms", 1e-3), ("s", 1.0)):
            if word.endswith(unit):
                number, scale = word.removesuffix(unit), size
                break
        try:
            seconds = float(number) * scale
        except ValueError:
            seconds = math.nan
        if not 0 <= seconds < math.inf:
            raise Dm0Error(f"latency is '{text}'; give 'measured', 0, or a time such as 300ms")
        return cls(seconds)

    def arrival(self, moment: float, live: float) -> float:
        """When a plan comes (s) whose observation was made at ``moment``, ``live`` as it was."""
        return live if self.seconds is None else moment + self.seconds
