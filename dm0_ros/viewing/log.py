# SPDX-License-Identifier: Apache-2.0
"""rerun itself: found where it is installed, and written to on one timeline."""

import sys
from types import ModuleType

from dm0_ros.errors import Dm0Error

TIMELINE = "ros_time"
REQUIREMENT = "rerun-sdk>=0.41,<0.42"  # as in setup.cfg, extra `view`


def load_rerun() -> ModuleType:
    """The package rerun. Raises `Dm0Error` with the line that installs it."""
    try:
        import rerun
    except ImportError as error:
        remedy = f"install it with: pip install '{REQUIREMENT}'"
        if sys.version_info < (3, 11):
            remedy = "it needs Python 3.11 or newer"
        raise Dm0Error(f"dm0 view shows things with rerun, which is missing; {remedy}") from error
    return rerun


class Log:
    """A recording, told what happened at which moment of one timeline."""

    def __init__(self, rerun: ModuleType, recording) -> None:
        self.rerun, self._recording = rerun, recording

    def tell(self, entity: str, moment: float, *what) -> None:
        """Something of an entity at a moment (s since 1970)."""
        self._recording.set_time(TIMELINE, timestamp=moment)
        self._recording.log(entity, *what)

    def tell_value(self, entity: str, moment: float, value: float) -> None:
        """A number; what is not finite leaves a gap."""
        self.tell(entity, moment, self.rerun.Scalars([value]))

    def write(self, moment: float, words: str, level: str = "INFO") -> None:
        """A line of the text log; ``level`` is INFO, WARN or ERROR."""
        self.tell("log", moment, self.rerun.TextLog(words, level=level))

    def clear(self, entity: str, moment: float) -> None:
        """Nothing of an entity and what is below it from a moment on."""
        self.tell(entity, moment, self.rerun.Clear(recursive=True))

    def keep(self, entity: str, *what) -> None:
        """What holds for the whole recording."""
        self._recording.log(entity, *what, static=True)


class Pace:
    """Lets things through so many times a second at most."""

    def __init__(self, rate: float) -> None:
        self._period = 1.0 / rate
        self._last: dict[object, float] = {}

    def is_due(self, what: object, moment: float) -> bool:
        """Whether enough time has passed since ``what``; a clock set back starts anew."""
        if 0.0 <= moment - self._last.get(what, float("-inf")) < 0.9 * self._period:
            return False
        self._last[what] = moment
        return True
