# SPDX-License-Identifier: Apache-2.0
"""The worst moments of a bag: kept while it is replayed, and written with pictures and reasons."""

from __future__ import annotations

import json
import math
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from dm0_ros.evaluation.episodes import Episode
from dm0_ros.evaluation.explaining import explain, share_by_column
from dm0_ros.evaluation.judging import Judged
from dm0_ros.evaluation.result import MOMENTS
from dm0_ros.evaluation.sights import Sights, sketch_thought
from dm0_ros.evaluation.words import find_unit
from dm0_ros.replay.bag import read_raw
from dm0_ros.replay.run import Subject, Wishes
from dm0_ros.scaffold.sketch import Sketch

MOST = 6  # of a bag: so many observations are held
_STRETCH = 2.0  # s of an episode, of which the worst plan stands for all
_BEFORE = 1.0  # s of the bag before an episode, that a replay of it needs for its first pictures
_AROUND = 1.5  # s before a moment that a viewer is opened at
_AFTER = 0.6  # s after the last row is due, until which commands may come late
_LATE = 60.0  # s: no text takes longer
_SCAFFOLD = "scaffold"
_QUALITY = 85  # of JPEG


class Moments:
    """A witness of an evaluation: keeps the worst plans, `MOST` at any time."""

    def __init__(
        self,
        bag: Path,
        wishes: Wishes,
        subject: Subject,
        ranges: np.ndarray,
        episodes: Sequence[Episode],
    ) -> None:
        """``ranges`` (D,) normalise errors; ``episodes`` are those that `Judged.episode` counts,
        and grow meanwhile."""
        self._bag, self._wishes, self._subject = bag, wishes, subject
        self._ranges, self._episodes = ranges, episodes
        self._worst: dict[tuple[int, int], Judged] = {}  # by stretch of an episode

    def see(self, judged: Judged) -> None:
        """A plan, its observation and its errors."""
        if not math.isfinite(judged.score):
            return
        begin = self._episodes[judged.episode].begin
        stretch = judged.episode, int((judged.step.moment - begin) // _STRETCH)
        known = self._worst.get(stretch)
        if known is None or judged.score > known.score:
            self._worst[stretch] = judged
        if len(self._worst) > MOST:
            del self._worst[min(self._worst, key=lambda key: self._worst[key].score)]

    def finish(self, folder: Path, zero: float) -> list[dict]:
        """Write each below ``folder``; ``zero`` is the bag's beginning by the graph's clock, s.

        Returns what a table of moments needs, worst first.
        """
        worst = sorted(self._worst.values(), key=lambda judged: -judged.score)
        if not worst:
            return []
        (folder / MOMENTS).mkdir(parents=True, exist_ok=True)
        sights = Sights(self._subject.robot)
        return [
            self._write(folder, f"{MOMENTS}/{number}", judged, sights, zero)
            for number, judged in enumerate(worst, 1)
        ]

    def _write(self, folder: Path, name: str, judged: Judged, sights: Sights, zero: float) -> dict:
        ways = sights.find_ways(judged)
        live = _find_scaffold(self._subject, judged)
        pictures = []
        thought = judged.step.plan.thought
        told = live if thought is None else sketch_thought(thought)
        for sight in sights.show(judged, ways, told):
            file = f"{name}_{sight.slot}.jpg"
            Image.fromarray(np.ascontiguousarray(sight.picture)).save(
                folder / file, quality=_QUALITY
            )
            drawn = not sight.note
            pictures.append({"slot": sight.slot, "file": file, "drawn": drawn, "note": sight.note})
        head = self._describe(judged, zero)
        content = {
            **head,
            "sentences": explain(judged, self._subject.robot, self._ranges, ways, live),
            "pictures": pictures,
            "commands": self._commands(judged, head["seconds"], zero),
            **self._curves(judged),
        }
        (folder / f"{name}.json").write_text(json.dumps(content, allow_nan=False) + "\n")
        return {"file": f"{name}.json", **head}

    def _describe(self, judged: Judged, zero: float) -> dict:
        step, episode = judged.step, self._episodes[judged.episode]
        recorded = step.recorded
        if recorded is None:
            seconds = step.moment - zero
        else:
            seconds = recorded.received - self._subject.layout.contents.begin
        return {
            "score": judged.score,
            "sequence": None if recorded is None else recorded.sequence,
            "seconds": round(seconds, 3),  # s after the beginning of the bag
            "in_episode": round(step.moment - episode.begin, 3),
            "episode": episode.name,
            "instruction": step.observation.instruction,
            "outcome": episode.outcome,
            "identical": step.identical,
        }

    def _commands(self, judged: Judged, seconds: float, zero: float) -> dict:
        """What to type to see this moment, and to replay what it depends on alone."""
        wishes, layout, plan = self._wishes, self._subject.layout, judged.step.plan
        facts = self._subject.facts
        robot = wishes.robot or (facts.robot if facts else self._subject.robot.name)
        namespace = layout.prefix.strip("/")
        end = _up(seconds + len(plan.values) * plan.step + _AFTER)
        began = seconds - (judged.step.moment - self._episodes[judged.episode].begin)
        view = ["dm0", "view", robot, "--bag", str(self._bag)]
        view += ["--from", _down(seconds - _AROUND), "--to", end]
        replay = ["dm0", "replay", str(self._bag), "--from", _down(began - _BEFORE), "--to", end]
        chosen = {
            "--checkpoint": wishes.checkpoint,
            "--robot": wishes.robot,
            "--every": wishes.period,
            "--instruction": wishes.instruction,
            "--seed": wishes.seed,
            "--device": "" if wishes.device == "cpu" else wishes.device,
        }
        for option, value in chosen.items():
            if value not in ("", None):
                replay += [option, str(value)]
        if namespace:
            view += ["--namespace", namespace]
            replay += ["--namespace", namespace]
        return {"view": shlex.join(view), "replay": shlex.join(replay)}

    def _curves(self, judged: Judged) -> dict:
        """What a plot of the moment needs: rows (H, D) of what was planned and what was done."""
        plan, robot = judged.step.plan, self._subject.robot
        shares = share_by_column(judged.errors, self._ranges)
        known = np.isfinite(judged.errors)
        units = [
            find_unit(name, plan.space, robot.joint_names, robot.gripper_names)
            for name in plan.names
        ]
        return {
            "step": plan.step,
            "columns": [
                {"name": name, "unit": unit, "share": float(share)}
                for name, unit, share in zip(plan.names, units, shares, strict=True)
            ],
            "plan": _plain(plan.values),
            "actions": _plain(np.where(known, judged.actions, np.nan)),
            "recorded": _plain(plan.values - judged.plan_errors),
        }


def _find_scaffold(subject: Subject, judged: Judged) -> Sketch | None:
    """What was recorded of the picture that this plan's text is about; of a plan without a text
    of its own, the one that the live plan's actions saw."""
    step, layout = judged.step, subject.layout
    recorded, thought = step.recorded, step.plan.thought
    if recorded is None or not layout.holds(_SCAFFOLD):
        return None
    if thought is None and (recorded.trace is None or recorded.trace.text is None):
        return None
    until = recorded.received + (0.0 if thought is None else _LATE)
    found = None
    limits = recorded.received - _LATE, until
    for message in read_raw(layout.path, [layout.name(_SCAFFOLD)], *limits):
        if thought is None:
            content = message.read()
            found = content if content.valid else found
        elif abs(message.stamp - thought.stamp) < 1e-6:
            return Sketch.of(message.read())
    return None if found is None else Sketch.of(found)


def _plain(rows: np.ndarray) -> list[list[float | None]]:
    """For JSON: null where nothing is known."""
    return [[round(float(v), 5) if math.isfinite(v) else None for v in row] for row in rows]


def _down(seconds: float) -> str:
    return f"{max(math.floor(seconds * 10) / 10, 0.0):.1f}"


def _up(seconds: float) -> str:
    return f"{math.ceil(seconds * 10) / 10:.1f}"


@dataclass(frozen=True)
class Moment:
    """One of them, read again."""

    folder: Path  # of the bag's result
    content: dict

    @property
    def curves(self) -> dict[str, np.ndarray]:
        """Rows (H, D) of plan, actions and recorded; NaN where unknown."""
        names = ("plan", "actions", "recorded")
        return {name: np.array(self.content[name], dtype=float) for name in names}


def read_moment(folder: Path, file: str) -> Moment:
    """One that `Moments` wrote below ``folder``."""
    return Moment(folder, json.loads((folder / file).read_text()))
