# SPDX-License-Identifier: Apache-2.0
"""How many CPU threads a network may have beside the loops that move an arm."""

import os

MOST = 4
"""More gain dm0-nano nothing: a product of its sizes is over before a fifth thread has begun."""


def choose_threads() -> int:
    """Half of the cores that this process may use, at least 1, at most `MOST`."""
    return max(1, min(MOST, len(os.sched_getaffinity(0)) // 2))
