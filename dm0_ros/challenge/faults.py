# SPDX-License-Identifier: Apache-2.0
"""What the mock of the platform can be told to do wrong."""

import os
import pickle
import re
import threading
from dataclasses import dataclass
from enum import Enum

from dm0_ros.challenge.errors import ChallengeError


class Call(str, Enum):
    """The questions that the platform answers."""

    COLLECTION = "collection"
    JOB = "job"
    START = "start"
    CLOCK = "clock"
    STATE = "state"
    ACTION = "action"
    MOTION = "motion"


class FaultKind(str, Enum):
    """What happens instead of an answer."""

    STATUS = "status"  # HTTP status 500
    HANG = "hang"  # nothing, for as long as the client waits
    DRIP = "drip"  # a byte now and then
    DROP = "drop"  # the line is cut before anything was done
    LOST = "lost"  # it is done, and the line is cut
    RESTART = "restart"  # the server ends and comes back; what its robots had queued is gone
    ERROR = "error"  # result "error" to a chunk
    GARBAGE = "garbage"  # bytes that mean nothing
    HUGE = "huge"  # an answer without an end
    TRAP = "trap"  # a pickle that calls something when it is unpickled
    STALE = "stale"  # an observation of a minute ago
    ABNORMAL = "abnormal"  # the robot is not normal
    SMALL = "small"  # pictures of another size


_STATE_ONLY = {FaultKind.TRAP, FaultKind.STALE, FaultKind.ABNORMAL, FaultKind.SMALL}
_WRITTEN = re.compile(r"([a-z]+)@([a-z]+?)(?:\+(\d+))?(?:x(\d+|ever))?")


@dataclass(frozen=True)
class Fault:
    """One thing that goes wrong: at which call, after how many good ones, how often."""

    kind: FaultKind
    call: Call
    skip: int = 0
    times: int | None = 1  # None: for ever

    def __post_init__(self) -> None:
        wrong = self.kind in _STATE_ONLY and self.call is not Call.STATE
        if wrong or (self.kind is FaultKind.ERROR and self.call is not Call.ACTION):
            raise ChallengeError(f"fault {self.kind.value} cannot happen at {self.call.value}")


def parse_fault(text: str) -> Fault:
    """A fault as people write it: KIND@CALL, +SKIP, xTIMES or xever, such as hang@state+3x2."""
    match = _WRITTEN.fullmatch(text)
    kinds, calls = ([member.value for member in kind] for kind in (FaultKind, Call))
    if match is None or match[1] not in kinds or match[2] not in calls:
        raise ChallengeError(
            f"'{text}' is no fault; write KIND@CALL, then +SKIP and xTIMES or xever if you like: "
            f"kinds are {', '.join(kinds)}, calls {', '.join(calls)}"
        )
    times = None if match[4] == "ever" else int(match[4] or 1)
    return Fault(FaultKind(match[1]), Call(match[2]), int(match[3] or 0), times)


class FaultPlan:
    """Faults in their order, and which is next. Any thread may ask."""

    def __init__(self, faults: tuple[Fault, ...]) -> None:
        self._lock = threading.Lock()
        self._waiting = [[fault, fault.skip, fault.times] for fault in faults]

    @property
    def is_spent(self) -> bool:
        """Whether everything has gone wrong that was to."""
        return all(times == 0 for _, _, times in self._waiting)

    def take(self, call: Call) -> FaultKind | None:
        """What goes wrong with this call, if anything; the first fault that is for it decides."""
        with self._lock:
            for entry in self._waiting:
                fault, skip, times = entry
                if fault.call is not call or times == 0:
                    continue
                if skip:
                    entry[1] = skip - 1
                    return None
                entry[2] = None if times is None else times - 1
                return fault.kind
        return None


def make_trap(path: str) -> bytes:
    """A pickle that makes the folder ``path`` in whoever unpickles it."""
    return pickle.dumps({"state": "normal", "images": _Trap(path)})


class _Trap:
    def __init__(self, path: str) -> None:
        self._path = path

    def __reduce__(self) -> tuple:
        return os.mkdir, (self._path,)
