# SPDX-License-Identifier: Apache-2.0
"""Many bags over an engine's workers: each counted once, whatever dies meanwhile.

A run that is started again does what is missing. A bag whose worker was lost is done again, up to
three times; one that cannot be evaluated is named, and the others go on.
"""

from __future__ import annotations

import math
import os
import socket
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dm0_ros.errors import Dm0Error
from dm0_ros.evaluation.folder import Folder, Place
from dm0_ros.evaluation.result import bag_key
from dm0_ros.evaluation.work import Ended, Engine, Task
from dm0_ros.replay.bag import look_into

ATTEMPTS = 3
_LOOK = 0.5  # s between looks at how far the bags are
_SAY = 0.5  # s between words about that

Tell = Callable[[float], None]
"""Is told what share of the bag is behind, 0 to 1."""
Evaluate = Callable[[Path, Any, Path, Tell], None]
"""(bag, setting, folder, tell): leaves its result in the folder, result.json last."""


@dataclass
class Piece:
    """One bag under one setting."""

    setting: str
    bag: Path
    key: str
    seconds: float = math.nan  # of the bag
    losses: list[str] = field(default_factory=list)  # what happened to workers that had it
    place: Place | None = None  # of the attempt that runs

    @property
    def name(self) -> str:
        return f"{self.bag} ({self.setting})"


@dataclass
class Course:
    """How far a run is."""

    total: int  # bags times settings
    resumed: int  # that earlier runs had done
    seconds: float  # of the bags that have to be done
    done: int = 0
    reached: float = 0.0  # s of bag that are behind, also of bags that are not done
    failed: dict[str, str] = field(default_factory=dict)  # sentences by bag and setting
    lost: int = 0  # workers
    places: dict[str, list[Path]] = field(default_factory=dict)
    """Folders of all results, by setting, in the order of the bags; when all is over"""
    began: float = field(default_factory=time.monotonic)

    @property
    def left(self) -> float:
        """Seconds until the end at the pace so far; NaN before there is one."""
        passed = time.monotonic() - self.began
        return passed / self.reached * (self.seconds - self.reached) if self.reached else math.nan


def evaluate_bags(
    bags: Iterable[Path],
    settings: Mapping[str, Any],
    folder: Folder,
    engine: Engine,
    evaluate: Evaluate,
    tell: Callable[[Course], None] = lambda _course: None,
    facts: Mapping[str, Mapping[str, Any]] | None = None,
) -> Course:
    """Evaluate every bag under every setting (dataclasses by name), each once.

    ``evaluate`` and the settings are pickled for the workers. Results are in
    ``folder``/<setting>/<`bag_key`>. The engine is left open. Raises `Dm0Error` where the folder
    has results of other settings, or with other ``facts`` about them, by name of the setting.
    """
    folder.settle(settings, facts or {name: {} for name in settings})
    paths = {bag_key(bag): Path(os.path.abspath(bag)) for bag in bags}
    pieces = [Piece(setting, bag, key) for setting in settings for key, bag in paths.items()]
    todo = [piece for piece in pieces if not folder.has(piece.setting, piece.key)]
    course = Course(len(pieces), len(pieces) - len(todo), 0.0)
    todo = _measure(todo, course)
    course.seconds = sum(piece.seconds for piece in todo)
    _Run(folder, engine, settings, evaluate, course, tell).work_off(todo)
    for piece in pieces:
        if folder.has(piece.setting, piece.key):
            places = course.places.setdefault(piece.setting, [])
            places.append(folder.find(piece.setting, piece.key))
    return course


def _measure(pieces: list[Piece], course: Course) -> list[Piece]:
    """Those that can be opened, by setting, and the longest first: the last one ends alone."""
    lengths: dict[Path, float] = {}
    good = []
    for piece in pieces:
        try:
            if piece.bag not in lengths:
                contents = look_into(piece.bag)
                lengths[piece.bag] = max(contents.end - contents.begin, 0.0)
        except Dm0Error as error:
            course.failed[piece.name] = str(error)
            continue
        # nothing but its name is known of an empty bag, and evaluating it says so
        piece.seconds = 0.0 if math.isnan(lengths[piece.bag]) else lengths[piece.bag]
        good.append(piece)
    order = list(dict.fromkeys(piece.setting for piece in pieces))
    return sorted(good, key=lambda p: (order.index(p.setting), -p.seconds, p.key))


@dataclass
class _Run:
    folder: Folder
    engine: Engine
    settings: Mapping[str, Any]
    evaluate: Evaluate
    course: Course
    tell: Callable[[Course], None]

    def work_off(self, todo: list[Piece]) -> None:
        waiting, running, behind = deque(todo), {}, 0.0
        while waiting or running:
            while waiting and len(running) < self.engine.size:
                task = self._make_task(piece := waiting.popleft())
                running[task.key] = piece
                self.engine.start(task)
            for ended in self.engine.wait(_LOOK):
                piece = running.pop(ended.task.key)
                if self._settle(piece, ended):
                    behind += piece.seconds
                else:
                    waiting.append(piece)
            parts = (p.place.read_reached() * p.seconds for p in running.values())
            self.course.reached = behind + sum(parts)
            self.tell(self.course)

    def _make_task(self, piece: Piece) -> Task:
        piece.place = self.folder.find_place(piece.setting, piece.key)
        setting = self.settings[piece.setting]
        arguments = self.evaluate, piece.bag, setting, piece.place
        return Task(piece.place.draft.name, evaluate_in_place, arguments)

    def _settle(self, piece: Piece, ended: Ended) -> bool:
        """Note how an attempt ended; returns whether it was the last one."""
        course = self.course
        if ended.fault:
            course.failed[piece.name] = ended.fault
            return True
        if ended.loss:
            course.lost += 1
            piece.losses.append(ended.loss)
        # a worker may be lost when its work is done
        if not ended.loss or piece.place.done:
            course.done += 1
            return True
        if len(piece.losses) < ATTEMPTS:
            return False
        course.failed[piece.name] = f"{ATTEMPTS} workers were lost over it: {piece.losses[-1]}"
        return True


def evaluate_in_place(evaluate: Evaluate, bag: Path, setting: Any, place: Place) -> None:
    """What a worker does. Raises `Dm0Error` where its machine does not see bag or folder."""
    place.open()
    if not bag.exists():
        raise Dm0Error(
            f"{bag}: not to be seen from {socket.gethostname()}; keep bags on storage that every "
            "machine of the cluster has under the same path"
        )
    last = -math.inf

    def tell(share: float) -> None:
        nonlocal last
        if time.monotonic() - last > _SAY:
            last = time.monotonic()
            place.tell(share)

    evaluate(bag, setting, place.draft, tell)
    place.close()
