# SPDX-License-Identifier: Apache-2.0
"""What a simulated house is to a base: somewhere to be, to drive, and to look around."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np


@dataclass(frozen=True)
class View:
    """What a camera saw."""

    colour: np.ndarray  # (height, width, 3) uint8 RGB
    depth: np.ndarray | None  # (height, width) float32, m along the optical axis


class Camera(Protocol):
    """An eye that can be put anywhere."""

    def look(self, position, yaw: float, tilt: float = 0.0, want_depth: bool = False) -> View:
        """The view from ``position`` (3,) m; ``tilt`` rad upwards, ``yaw`` rad to the left."""

    def close(self) -> None:
        """Free what renders."""


class Place(Protocol):
    """A house for one base: x and y on the floor, z up."""

    name: str

    def is_free(self, points: np.ndarray) -> np.ndarray:
        """Whether the base fits at each point (N, 2): (N,)."""

    def drive(self, start: np.ndarray, end: np.ndarray) -> np.ndarray:
        """Where a straight drive from ``start`` (2,) to ``end`` gets; nothing slides."""

    def sample(self, random: np.random.Generator, count: int) -> np.ndarray:
        """Random free points (count, 2)."""

    def open_camera(self, width: int, height: int, field_of_view: float) -> Camera:
        """A camera of that many pixels and vertical field of view, rad."""
