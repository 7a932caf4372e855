# SPDX-License-Identifier: Apache-2.0
"""How far what a policy wrote is from the truth of that moment, and what that is on the whole."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from dm0_ros.intervals import bootstrap, wilson
from dm0_ros.scaffold.content import Scaffold
from dm0_ros.scaffold.levels import Level
from dm0_ros.scaffold.places import box_iou, path_error, to_pixels

PICTURE_WIDTH = 224
"""Pixels that the main view counts as wide, whatever camera it is of."""


@dataclass(frozen=True)
class Score:
    """Of one plan's text."""

    valid: bool
    subtask: bool  # whether it is the true one; never of a text that is not valid
    box_iou: float | None  # 0 of a text that is not valid; None where no box was due
    path_error: float | None  # pixels; None of a text that is not valid, or where none was due
    path_due: bool
    tokens: int
    milliseconds: float


@dataclass(frozen=True)
class ScoredEpisode:
    """What came of one trial, and its plans in turn."""

    success: bool
    seconds: float
    scores: tuple[Score, ...]


def compare(
    told: Scaffold | None, truth: Scaffold, levels: Sequence[Level], aspect: float
) -> tuple[bool, float | None, float | None, bool]:
    """`Score.subtask`, `box_iou`, `path_error` and `path_due` of a text; None: it was not valid.

    A box is due where the truth has one or one was told, a path where the truth has one; one that
    is due but was not told is an IoU of 0, but no path error. Of several arms' paths the error is
    the mean. ``aspect`` is the picture's height over its width.
    """
    subtask = told is not None and told.subtask == truth.subtask
    iou = error = None
    box = told.box if told else None
    if Level.BOX in levels and (truth.box or box):
        # Shares of areas are the same in places as in pixels.
        iou = box_iou(box, truth.box) if box and truth.box else 0.0
    due = Level.TRAJECTORY in levels and bool(truth.paths)
    if due and told and truth.paths.keys() <= told.paths.keys():
        size = PICTURE_WIDTH, PICTURE_WIDTH * aspect
        pairs = [(told.paths[name], path) for name, path in truth.paths.items()]
        error = float(np.mean([path_error(*(_scale(p, *size) for p in pair)) for pair in pairs]))
    return subtask, iou, error, due


def _scale(path: Sequence[tuple[int, int]], width: float, height: float) -> np.ndarray:
    # to_pixels takes whole pictures; a height need not be whole here.
    return to_pixels(path, 1, 1) * (width, height)


def summarise(episodes: Sequence[ScoredEpisode]) -> dict:
    """Means over all plans, with 95 % intervals: Wilson's of success, else bootstrapped over
    episodes. None where there is nothing to take the mean of."""
    scores = [score for episode in episodes for score in episode.scores]
    wins = sum(episode.success for episode in episodes)
    figures: dict = {
        "episodes": len(episodes),
        "plans": len(scores),
        "success": wins / len(episodes) if episodes else None,
        "success_95": wilson(wins, len(episodes)) if episodes else None,
    }
    measures: dict[str, Callable[[Score], float | None]] = {
        "valid_fraction": lambda score: float(score.valid),
        "subtask_right": lambda score: float(score.subtask),
        "box_iou": lambda score: score.box_iou,
        "path_error_px": lambda score: score.path_error,
        "tokens": lambda score: score.tokens,
        "milliseconds": lambda score: score.milliseconds,
    }
    for name, measure in measures.items():
        figures |= _average(name, episodes, measure)
    figures["box_plans"] = sum(score.box_iou is not None for score in scores)
    figures["path_plans"] = sum(score.path_error is not None for score in scores)
    figures["path_due_plans"] = sum(score.path_due for score in scores)
    return figures


def _average(
    name: str, episodes: Sequence[ScoredEpisode], measure: Callable[[Score], float | None]
) -> dict:
    groups = [
        [value for score in episode.scores if (value := measure(score)) is not None]
        for episode in episodes
    ]
    values = [value for group in groups for value in group]
    mean = float(np.mean(values)) if values else None
    return {name: mean, f"{name}_95": bootstrap(groups)}
