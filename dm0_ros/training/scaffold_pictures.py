# SPDX-License-Identifier: Apache-2.0
"""Frames of a trial with what was said and what is true drawn into them."""

from pathlib import Path

import numpy as np
from PIL import Image

from dm0_ros.scaffold.content import Scaffold
from dm0_ros.scaffold.drawing import draw_box, draw_caption, draw_path, draw_waypoints, enlarge
from dm0_ros.scaffold.places import box_to_pixels, to_pixels
from dm0_ros.training.rollout import Trial
from dm0_ros.training.scaffold_trial import Moment

TRUE_BOX_COLOUR = (255, 0, 255)
_LEAST_WIDTH = 640  # pixels
_EPISODES, _PLANS = 6, (0, 4)  # of which pictures are kept


class Album:
    """Writes a few moments of the first trials into a folder, as PNGs.

    Magenta box and solid path are the truth; green box and dashed path are what was said.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._episode = -1
        folder.mkdir(parents=True, exist_ok=True)

    def add(self, trial: Trial, moment: Moment) -> None:
        """A witness of `perform`."""
        self._episode += moment.number == 0
        if self._episode < _EPISODES and moment.number in _PLANS:
            name = f"episode{self._episode:02d}_plan{moment.number:02d}.png"
            Image.fromarray(draw_moment(trial, moment)).save(self._folder / name)


def draw_moment(trial: Trial, moment: Moment) -> np.ndarray:
    """The main view, enlarged, with both scaffolds: (height, width, 3) uint8."""
    picture, _ = enlarge(moment.picture, _LEAST_WIDTH)
    told, truth = moment.thought.scaffold, moment.truth
    height, width = picture.shape[:2]
    if truth.box:
        draw_box(picture, box_to_pixels(truth.box, width, height), colour=TRUE_BOX_COLOUR)
    for path in truth.paths.values():
        draw_path(picture, to_pixels(path, width, height))
    if told and told.box:
        draw_box(picture, box_to_pixels(told.box, width, height))
    for path in told.paths.values() if told else ():
        draw_waypoints(picture, to_pixels(path, width, height))
    return draw_caption(picture, _describe(trial, moment, told))


def _describe(trial: Trial, moment: Moment, told: Scaffold | None) -> list[str]:
    score = moment.score
    said = told.subtask if told else f"refused: {moment.thought.rejection}"
    figures = []
    if score.box_iou is not None:
        figures.append(f"box IoU {score.box_iou:.2f}")
    if score.path_error is not None:
        figures.append(f"path {score.path_error:.1f} px of 224")
    return [
        trial.instruction,
        f"said: {said}",
        f"true: {moment.truth.subtask}",
        ", ".join(figures),
    ]
