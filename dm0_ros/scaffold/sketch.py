# SPDX-License-Identifier: Apache-2.0
"""A scaffold as people are shown it: words, a box and paths in the pixels of one picture."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np


class ScaffoldMessage(Protocol):
    """The fields of dm0_ros/msg/SpatialScaffold that are shown, from whatever reads messages."""

    view: str
    width: int
    height: int
    subtask: str
    box: Sequence[float]
    trajectory: Sequence[float]
    text: str
    valid: bool
    error: str


@dataclass(frozen=True)
class Sketch:
    """What to show of a scaffold: with a ``refusal`` there is neither box nor path."""

    view: str  # camera slot
    width: int  # pixels of the picture that box and paths belong to
    height: int
    subtask: str
    box: np.ndarray | None  # (4,): x_min, y_min, x_max, y_max
    paths: tuple[np.ndarray, ...]  # each (N, 2), one for every arm
    refusal: str = ""  # why nothing of it may be believed

    @classmethod
    def of(cls, message: ScaffoldMessage) -> "Sketch":
        """What a message says; a message that contradicts itself is refused, like an invalid one.

        A pair of NaN in ``trajectory`` stands between the paths of two arms.
        """
        box = np.array(message.box, float)
        points = np.array(message.trajectory, float)
        refusal = _find_fault(message, box, points)
        if refusal:
            return cls(message.view, message.width, message.height, "", None, (), refusal)
        return cls(
            message.view,
            message.width,
            message.height,
            message.subtask,
            None if np.isnan(box).all() else box,
            _split(points.reshape(-1, 2)),
        )

    def scale_to(self, width: int, height: int) -> "Sketch":
        """The same in a picture of another size (pixels) that shows the same."""
        factors = np.array([width / max(self.width, 1), height / max(self.height, 1)])
        box = None if self.box is None else self.box * np.tile(factors, 2)
        paths = tuple(path * factors for path in self.paths)
        return Sketch(self.view, width, height, self.subtask, box, paths, self.refusal)


def _find_fault(message: ScaffoldMessage, box: np.ndarray, points: np.ndarray) -> str:
    """Why a message cannot be shown; empty where it can."""
    if not message.valid:
        return message.error or "no reason given"
    if not message.width or not message.height:
        return f"its picture is {message.width}x{message.height} pixels"
    if len(points) % 2:
        return f"{len(points)} numbers are no pairs of a path"
    absent = np.isnan(points.reshape(-1, 2))
    if np.isinf(points).any() or (absent[:, 0] != absent[:, 1]).any():
        return "its path is not finite"
    if len(box) != 4 or (~np.isnan(box).all() and not np.isfinite(box).all()):
        return "its box is not finite"
    if box[0] > box[2] or box[1] > box[3]:
        return "its box is upside down"
    return ""


def _split(points: np.ndarray) -> tuple[np.ndarray, ...]:
    """The paths (N, 2) between rows of NaN; empty ones are left out."""
    breaks = np.flatnonzero(np.isnan(points[:, 0]))
    pieces = (piece[np.isfinite(piece[:, 0])] for piece in np.split(points, breaks))
    return tuple(piece for piece in pieces if len(piece))
