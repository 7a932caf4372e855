# SPDX-License-Identifier: Apache-2.0
"""What the system may do for the thread of the rate: short slices, real-time priority, a core."""

import ctypes
import os
import platform

_SLICE = 100_000  # ns, the shortest that Linux grants
_SET_ATTRIBUTES = {"x86_64": 314, "aarch64": 274}  # number of the call sched_setattr
_SIZE = 48  # bytes of its first version


class _Attributes(ctypes.Structure):
    _fields_ = (
        ("size", ctypes.c_uint32),
        ("policy", ctypes.c_uint32),
        ("flags", ctypes.c_uint64),
        ("nice", ctypes.c_int32),
        ("priority", ctypes.c_uint32),
        ("runtime", ctypes.c_uint64),  # ns: of an ordinary thread, the slice that it asks for
        ("deadline", ctypes.c_uint64),
        ("period", ctypes.c_uint64),
    )


def ask_for_short_slices() -> None:
    """Let the calling thread run soon after it wakes, for a short time: it needs no more.

    Linux from 6.12 on serves those first that ask for less; no rights are needed. Others, and
    machines whose number of the call is not known here, go on as they are.
    """
    if (number := _SET_ATTRIBUTES.get(platform.machine())) is None:
        return
    wish = _Attributes(_SIZE, os.SCHED_OTHER, 0, os.getpriority(os.PRIO_PROCESS, 0), 0, _SLICE)
    ctypes.CDLL(None).syscall(number, 0, ctypes.byref(wish), 0)


def schedule_thread(priority: int, cpu: int) -> list[str]:
    """Give the calling thread SCHED_FIFO ``priority`` (0: as it is) and a ``cpu`` (-1: any).

    Returns a sentence for each wish that was refused: both need rights that not every user has,
    and the thread works without.
    """
    refusals = []
    ask_for_short_slices()
    if priority:
        try:
            os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(priority))
        except OSError as error:
            refusals.append(
                f"no SCHED_FIFO priority {priority}: {error.strerror}; allow it with an rtprio "
                "line in /etc/security/limits.conf, or CAP_SYS_NICE"
            )
    if cpu >= 0:
        allowed = ", ".join(map(str, sorted(os.sched_getaffinity(0))))
        try:
            os.sched_setaffinity(0, {cpu})
        except (OSError, ValueError, OverflowError) as error:
            reason = getattr(error, "strerror", None) or error
            refusals.append(f"not on CPU {cpu}: {reason}; this process may use {allowed}")
    return refusals
