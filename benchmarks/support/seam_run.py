# SPDX-License-Identifier: Apache-2.0
"""Plays plans through a strategy tick by tick, and says how the arm would feel it."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from support.seam_plans import STEP_SIZE, Delivery, Recorded, Rows, Synthetic
from support.seam_players import Ours, Player

RATE = 500.0  # Hz of commands
SETTLED = 4.0  # s that do not count: the first plan begins late, and averages remember it
_SHIFTS = np.arange(-0.05, 1.2, 1 / RATE)  # s: lags that are tried
_REACTED, _ARRIVED = 0.1, 0.9  # of a change of goal


@dataclass(frozen=True)
class Played:
    """One run: what was commanded, and the newest plan of every tick."""

    times: np.ndarray  # (n,) s
    commands: np.ndarray  # (n, J) rad
    newest: list[Rows | None]
    refused: int


def play(
    make: Callable[[np.ndarray], Player],
    source: Synthetic | Recorded,
    delivery: Delivery,
    seconds: float,
    changed: float = np.inf,
    ideal: bool = False,
) -> Played:
    """Observe every period, or when the last plan was played; the goal changes at ``changed``.

    ``ideal``: plans keep what is committed, as with real-time chunking that works exactly.
    """
    begin = source.make(0, 0.0, None).values[0]
    player = make(begin)
    feed = _Feed(source, delivery, player, changed, ideal)
    times = np.arange(0, seconds, 1 / RATE)
    commands, newest = [], []
    for now in times:
        newest.append(feed.serve(now))
        commands.append(player.command(now))
    refused = player.executor.dropped if isinstance(player, Ours) else 0
    return Played(times, np.array(commands), newest, refused)


class _Feed:
    """Makes plans and hands them over when they come."""

    def __init__(self, source, delivery: Delivery, player: Player, changed, ideal: bool) -> None:
        self._source, self._delivery, self._player = source, delivery, player
        self._changed, self._ideal = changed, ideal
        self._redirected: float | None = None
        self._number = 0
        self._coming: list[tuple[float, Rows]] = []
        self._newest: Rows | None = None
        count = 10_000
        if isinstance(source, Recorded):
            self._observed = [plan.start for plan in source.plans]
        else:
            self._observed = (source.period * np.arange(count)).tolist()
        self._arrivals = delivery.arrivals(self._observed)

    def serve(self, now: float) -> Rows | None:
        """Observe if it is time, hand over what has come; gives the newest plan that has."""
        if self._player.waits:
            self._stop_and_go(now)
        else:
            self._observe(now)
        due = [entry for entry in self._coming if entry[0] <= now + 1e-9]
        self._coming = [entry for entry in self._coming if entry[0] > now + 1e-9]
        for _, rows in sorted(due, key=lambda entry: entry[0]):
            self._player.take(rows, now)
            if self._newest is None or rows.start > self._newest.start:
                self._newest = rows
        return self._newest

    def _observe(self, now: float) -> None:
        while self._number < len(self._observed) and self._observed[self._number] <= now + 1e-9:
            start, arrival = self._observed[self._number], self._arrivals[self._number]
            if start >= self._changed and self._redirected is None:
                self._redirected = start
            rows = self._source.make(self._number, start, self._redirected)
            self._number += 1
            if arrival is not None:
                if self._ideal:
                    rows = self._player.keep(rows, self._delivery.delay)
                self._coming.append((arrival, rows))

    def _stop_and_go(self, now: float) -> None:
        """The motion waits too: plan k continues where plan k - 1 was left."""
        if self._coming or self._player.busy():
            return
        source, number = self._source, self._number
        path = number * source.period  # s of the motion
        if now >= self._changed and self._redirected is None:
            self._redirected = path
        rows = source.make(number, path, self._redirected)
        if rows is None:
            return
        self._number += 1
        wait = self._arrivals[number]
        # One that is lost is asked for again at once: nobody waits for ever.
        delay = self._delivery.delay if wait is None else wait - self._observed[number]
        self._coming.append((now + delay, Rows(now, rows.step, rows.values)))


def measure(played: Played) -> dict:
    """Peak and RMS of the commands' differences over all joints, and the lag."""
    begin = int(SETTLED * RATE)
    path = played.commands[begin:]
    found = {}
    for order, name in enumerate(("velocity", "acceleration", "jerk"), 1):
        rate = np.diff(path, order, axis=0) * RATE**order
        found[f"peak_{name}"] = float(np.abs(rate).max())
        found[f"rms_{name}"] = float(np.sqrt((rate**2).mean()))
    lag, error = find_lag(played)
    return {**found, "lag_ms": 1e3 * lag, "error_mrad": 1e3 * error, "refused": played.refused}


def find_lag(played: Played) -> tuple[float, float]:
    """The delay (s) at which commands fit the newest plan best, and the RMS error (rad) then.

    Compared with a command at t is what the newest plan that has come by t has for the time
    t - lag, its rows being due at the times that its observation gives them.
    """
    stretches = list(_stretches(played))
    coarse = _SHIFTS[::5]
    start = coarse[np.argmin([_error(stretches, shift) for shift in coarse])]
    near = start + np.arange(-5, 6) / RATE
    errors = np.array([_error(stretches, shift) for shift in near])
    best = int(errors.argmin())
    lag = near[best]
    if 0 < best < len(near) - 1:  # the vertex of the parabola through the three best
        before, here, after = errors[best - 1 : best + 2]
        lag += 0.5 * (before - after) / (before - 2 * here + after) / RATE
    return float(lag), float(np.sqrt(errors[best]))


def _stretches(played: Played) -> Iterator[tuple[Rows, np.ndarray, np.ndarray]]:
    """Ticks in a row with the same newest plan: the plan, times (n,) and commands (n, J)."""
    newest = played.newest
    begin = int(SETTLED * RATE)
    for tick in range(begin, len(newest)):
        if tick + 1 == len(newest) or newest[tick + 1] is not newest[tick]:
            if newest[tick] is not None:
                own = slice(begin, tick + 1)
                yield newest[tick], played.times[own], played.commands[own]
            begin = tick + 1


def _error(stretches: list, shift: float) -> float:
    """Mean squared difference between commands and the newest plan ``shift`` s earlier."""
    total, count = 0.0, 0
    for rows, times, commands in stretches:
        last = len(rows.values) - 1
        place = np.clip((times - shift - rows.start) / rows.step, 0, last)
        index = np.minimum(place.astype(int), last - 1)
        share = (place - index)[:, None]
        wanted = (1 - share) * rows.values[index] + share * rows.values[index + 1]
        total += ((commands - wanted) ** 2).sum()
        count += commands.size
    return total / count


def react(
    make, source: Synthetic, delivery: Delivery, ideal: bool = False, phases: int = 5
) -> dict:
    """Time from a changed goal to 10 % and 90 % of the change in the commands, ms.

    Against the same run without a change; mean and worst over moments between two observations.
    """
    settled, seconds = 2.0, 6.0
    base = play(make, source, delivery, seconds, ideal=ideal)
    reacted, arrived = [], []
    for phase in range(phases):
        changed = settled + source.period * (phase + 0.5) / phases
        other = play(make, source, delivery, seconds, changed, ideal)
        moved = (other.commands - base.commands).mean(1) / STEP_SIZE
        for share, times in ((_REACTED, reacted), (_ARRIVED, arrived)):
            beyond = np.flatnonzero(moved >= share)
            times.append(1e3 * (other.times[beyond[0]] - changed) if len(beyond) else np.nan)
    return {
        "reaction_ms": float(np.mean(reacted)),
        "reaction_worst_ms": float(np.max(reacted)),
        "arrival_ms": float(np.mean(arrived)),
    }
