# SPDX-License-Identifier: Apache-2.0
"""What the operating system may do for the thread of the rate: real-time priority, an own core."""

import os


def schedule_thread(priority: int, cpu: int) -> list[str]:
    """Give the calling thread SCHED_FIFO ``priority`` (0: as it is) and a ``cpu`` (-1: any).

    Returns a sentence for each wish that was refused: both need rights that not every user has,
    and the thread works without.
    """
    refusals = []
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
