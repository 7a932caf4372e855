# SPDX-License-Identifier: Apache-2.0
"""Episodes of closed_loop_delay.py to the figures that answer its question."""

import math
from collections.abc import Sequence

import numpy as np

BASELINE = "hold_until_done"


def summarise_episodes(episodes: Sequence[dict]) -> dict:
    """Success, time and smoothness of every strategy and delay, against stop-and-go."""
    names = list(dict.fromkeys(episode["strategy"] for episode in episodes))
    delays = sorted({episode["delay"] for episode in episodes})
    strategies = {}
    for name in names:
        own = [episode for episode in episodes if episode["strategy"] == name]
        rows = {
            delay: _summarise([episode for episode in own if episode["delay"] == delay])
            for delay in delays
        }
        strategies[name] = {_label(delay): row for delay, row in rows.items() if row}
    for rows in strategies.values():
        for label, row in rows.items():
            row.update(_compare(row, rows.get(_label(0.0)), strategies.get(BASELINE, {}), label))
    return {"delays": delays, "strategies": strategies}


def _summarise(episodes: Sequence[dict]) -> dict:
    if not episodes:
        return {}
    seconds = np.array([episode["seconds"] for episode in episodes])
    successes = sum(episode["success"] for episode in episodes)
    low, high = _bounds(successes, len(episodes))
    mean = {
        key: round(float(np.mean([episode[key] for episode in episodes])), 4)
        for key in ("plans", "refused", "at_rest")
    }
    most = {
        key: max(episode[key] for episode in episodes)
        for key in ("seam", "peak_velocity", "peak_acceleration", "peak_jerk")
    }
    return {
        "episodes": len(episodes),
        "successes": successes,
        "success": round(successes / len(episodes), 4),
        "success_95": [round(low, 3), round(high, 3)],
        "seconds_mean": round(float(seconds.mean()), 3),
        "seconds_median": round(float(np.median(seconds)), 3),
        "seconds_p90": round(float(np.percentile(seconds, 90)), 3),
        **mean,
        **most,
    }


def _compare(row: dict, undelayed: dict | None, baseline: dict, label: str) -> dict:
    """Success kept of that without added delay; how many times faster than stop-and-go."""
    found = {}
    if undelayed and undelayed["successes"]:
        found["success_kept"] = round(row["success"] / undelayed["success"], 4)
    if other := baseline.get(label):
        found["faster_mean"] = round(other["seconds_mean"] / row["seconds_mean"], 3)
        found["faster_median"] = round(other["seconds_median"] / row["seconds_median"], 3)
    return found


def _bounds(successes: int, count: int) -> tuple[float, float]:
    """Wilson's 95 % interval of a share."""
    z = 1.96
    share = successes / count
    middle = share + z * z / (2 * count)
    half = z * math.sqrt(share * (1 - share) / count + (z / (2 * count)) ** 2)
    scale = 1 + z * z / count
    return (middle - half) / scale, (middle + half) / scale


def _label(delay: float) -> str:
    return f"{delay:g}"
