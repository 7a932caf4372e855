# SPDX-License-Identifier: Apache-2.0
"""The rows of an episode, of what was gathered of it; or why it cannot be used."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from dm0_ros.datasets.commands import list_commanded
from dm0_ros.datasets.resampling import find_gap, interpolate, make_ticks, pick_newest
from dm0_ros.datasets.settings import Cut
from dm0_ros.datasets.walking import Gathered, Joint, Stamps
from dm0_ros.errors import Dm0Error
from dm0_ros.policy.proprioception import Proprioception


class UnusableError(Dm0Error):
    """Why an episode is left out."""


@dataclass(frozen=True, eq=False)
class Rows:
    """F rows of an episode at one rate. States and actions are SI and radians."""

    times: np.ndarray  # (F,) s of the graph's clock
    states: np.ndarray  # (F, S) in the order of the layout's state columns
    actions: np.ndarray  # (F, C)
    pictures: dict[str, np.ndarray]  # (F,) stamps of the pictures, by recorded topic
    waited: float  # s from the episode's beginning to its first row
    oldest: dict[str, float]  # s, by slot: the greatest age of a picture at its row


class Cutter:
    """Cuts episodes; ``cameras`` are slots by recorded topic."""

    def __init__(self, cut: Cut, cameras: Mapping[str, str]) -> None:
        self._cut, self._cameras = cut, cameras
        self._feeling = Proprioception(cut.columns.state_columns, cut.robot)
        self._joint_age = cut.robot.executor.state_timeout
        self._picture_ages = {camera.slot: camera.max_age for camera in cut.robot.cameras}

    def cut(self, gathered: Gathered) -> Rows:
        """Rows of an episode. Raises `UnusableError` that says why it cannot be used."""
        self._check_verdict(gathered)
        if gathered.faults:
            raise UnusableError(gathered.faults[0])
        joints = {name: self._check_joint(gathered, name) for name in self._feeling.measured}
        views = {topic: self._check_view(gathered, topic) for topic in self._cameras}
        begin = self._find_begin(gathered, joints, views)
        end = self._find_end(gathered, joints)
        shortest = max(self._cut.shortest, self._cut.step)
        if end - begin < shortest:
            raise UnusableError(
                f"lasts {max(end - begin, 0.0):.2f} s from its first command on, and "
                f"{shortest:g} s are asked for (--shortest)"
            )
        ticks = make_ticks(begin, end, self._cut.step)
        measured = {name: interpolate(*joint, ticks) for name, joint in joints.items()}
        picked = {t: self._pick(gathered, t, views[t], ticks) for t in self._cameras}
        return Rows(
            times=ticks,
            states=self._lay_out(measured),
            actions=self._lay_out(self._find_commanded(gathered, ticks, measured)),
            pictures=picked,
            waited=begin - gathered.span.begin,
            oldest={self._cameras[t]: float((ticks - p).max()) for t, p in picked.items()},
        )

    def _check_verdict(self, gathered: Gathered) -> None:
        span = gathered.span
        if not span.instruction:
            raise UnusableError("has no instruction; say one with --instruction")
        if not self._cut.only_successful or span.outcome == "succeeded":
            return
        words = span.instruction.lower().replace(",", " ").replace(".", " ").split()
        if gathered.done and set(gathered.done[0].lower().split()) <= set(words):
            return  # in simulation, whose client cancels what is done
        saw = f", and the simulator saw {gathered.done[0]} first" if gathered.done else ""
        raise UnusableError(f"was not successful: {span.outcome or 'nobody judged'}{saw}")

    def _check_joint(self, gathered: Gathered, name: str) -> tuple[np.ndarray, np.ndarray]:
        """Times and values (N,) of a joint around the episode, rising."""
        joint = gathered.joints.get(name, Joint())
        if not joint.stamped:
            there = ", ".join(gathered.joints) or "none at all"
            raise UnusableError(f"no positions of {name} were recorded in it, but of {there}")
        part = _find_part(f"positions of {name}", joint, gathered)
        _check_stamps(f"positions of {name}", joint, part, gathered, self._joint_age)
        times, values = np.array(joint.stamped[part]), np.array(joint.values[part])
        wrong = np.flatnonzero(~np.isfinite(values))
        if len(wrong):
            where = times[wrong[0]] - gathered.span.begin
            raise UnusableError(f"the position of {name} is {values[wrong[0]]} at {where:.3f} s")
        last = np.append(np.diff(times) > 0, True)  # of several with one stamp
        return times[last], values[last]

    def _check_view(self, gathered: Gathered, topic: str) -> np.ndarray:
        """Stamps (N,) of the pictures around the episode."""
        slot, view = self._cameras[topic], gathered.pictures.get(topic, Stamps())
        what = f"pictures of camera '{slot}'"
        if not view.stamped:
            raise UnusableError(f"no {what} were recorded in it")
        part = _find_part(what, view, gathered)
        _check_stamps(what, view, part, gathered, np.inf)
        return np.array(view.stamped[part])

    def _find_begin(self, gathered: Gathered, joints: Mapping, views: Mapping) -> float:
        """The first moment at which all is known: measurements, pictures and a command."""
        needed = [n for n in self._feeling.measured if not self._cut.takes_measured(n)]
        commanded = list_commanded([*gathered.lines.values()])
        if missing := [name for name in needed if name not in commanded]:
            raise UnusableError(
                f"no commands of {', '.join(missing)} were recorded in it; with --measured what "
                "was measured can stand in"
            )
        lines = [line for line in gathered.lines.values() if set(line.sink.names) & set(needed)]
        begin = min((line.first for line in lines), default=gathered.span.begin)
        begin = max(begin, gathered.span.begin)
        for name, (times, _) in joints.items():
            begin = _wait_for(f"position of {name}", times[0], begin, self._joint_age)
        for topic, stamps in views.items():
            slot = self._cameras[topic]
            limit = self._picture_ages[slot]
            begin = _wait_for(f"picture of camera '{slot}'", stamps[0], begin, limit)
        return begin

    def _find_end(self, gathered: Gathered, joints: Mapping) -> float:
        end = gathered.span.end
        for name, (times, _) in joints.items():
            if end - times[-1] > self._joint_age:
                raise UnusableError(
                    f"the last position of {name} is {end - times[-1]:.3f} s before its end, and "
                    f"{self._joint_age:g} s are allowed"
                )
            end = min(end, float(times[-1]))
        return end

    def _pick(
        self, gathered: Gathered, topic: str, stamps: np.ndarray, ticks: np.ndarray
    ) -> np.ndarray:
        """Stamps (F,) of the newest pictures at or before the ticks."""
        picked = stamps[pick_newest(stamps, ticks)]
        slot = self._cameras[topic]
        limit = self._picture_ages[slot]
        late = np.flatnonzero(ticks - picked > limit)
        if len(late):
            tick = ticks[late[0]]
            raise UnusableError(
                f"the newest picture of camera '{slot}' is {tick - picked[late[0]]:.3f} s old at "
                f"{tick - gathered.span.begin:.3f} s, and {limit:g} s are allowed"
            )
        return picked

    def _find_commanded(
        self, gathered: Gathered, ticks: np.ndarray, measured: Mapping[str, np.ndarray]
    ) -> dict[str, np.ndarray]:
        """What each joint was told; until it was told anything, what it did."""
        commanded = dict(measured)
        for line in gathered.lines.values():
            for name, values in zip(line.sink.names, line.sample(ticks).T, strict=True):
                if name in measured and not self._cut.takes_measured(name):
                    commanded[name] = np.where(np.isnan(values), commanded[name], values)
        return commanded

    def _lay_out(self, positions: Mapping[str, np.ndarray]) -> np.ndarray:
        """Columns (F, C), by forward kinematics where they are poses."""
        rows = zip(*positions.values(), strict=True)
        return np.array([self._feeling.state(dict(zip(positions, r, strict=True))) for r in rows])


def _find_part(what: str, stamps: Stamps, gathered: Gathered) -> slice:
    """Those of an episode, one before and one behind: what lies further off does not matter."""
    times, span = np.array(stamps.stamped), gathered.span
    inside = np.flatnonzero((times >= span.begin) & (times <= span.end))
    if not len(inside):
        ahead = float(np.median(times - np.array(stamps.received)))
        raise UnusableError(
            f"none of the {what} that came then is stamped between its beginning and end; their "
            f"stamps are {ahead:+.3f} s off their reception"
        )
    first = max(inside[0] - 1, 0)
    return slice(first if times[first] <= span.begin else inside[0], inside[-1] + 2)


def _check_stamps(what: str, stamps: Stamps, part: slice, gathered: Gathered, most: float) -> None:
    gap = find_gap(stamps.stamped[part], stamps.received[part], most)
    if gap is not None:
        raise UnusableError(f"{what}, {gap.moment - gathered.span.begin:.3f} s in: {gap.text}")


def _wait_for(what: str, first: float, begin: float, limit: float) -> float:
    if first - begin > limit:
        raise UnusableError(
            f"the first {what} is {first - begin:.3f} s late, and {limit:g} s are allowed"
        )
    return max(begin, float(first))
