# SPDX-License-Identifier: Apache-2.0
"""A house of box rooms with furniture, as data: config/worlds/house*.yaml.

x and y lie on the floor, z points up; m. Furniture stands at quarter turns, so that everything
that can be bumped into is a rectangle along the axes.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

import numpy as np

from dm0_ros.errors import Dm0Error
from dm0_ros.resources import find_config
from dm0_ros.robots.parsing import load_yaml

Colour = tuple[float, float, float]
Corner = tuple[float, float]


class HouseError(Dm0Error):
    """A house's YAML is missing, malformed or contradicts itself."""


class Shape(str, Enum):
    """Shapes that furniture is made of."""

    BOX = "box"
    CYLINDER = "cylinder"  # upright; size x is its diameter, z its height
    BALL = "ball"  # size x is its diameter


@dataclass(frozen=True)
class Part:
    """One solid of a piece of furniture, in the furniture's frame: its front looks along x."""

    shape: Shape
    position: tuple[float, float, float]  # of the centre
    size: tuple[float, float, float]
    colour: Colour


@dataclass(frozen=True)
class Room:
    """A rectangle on the floor; its walls stand inside of it."""

    name: str
    lower: Corner
    upper: Corner
    floor: Colour
    wall: Colour


@dataclass(frozen=True)
class Opening:
    """A rectangle in which there is no wall."""

    lower: Corner
    upper: Corner


@dataclass(frozen=True)
class Piece:
    """One piece of furniture somewhere in the house."""

    name: str
    kind: str
    position: Corner
    quarter_turns: int = 0  # to the left


@dataclass(frozen=True)
class Walls:
    """Every room has walls of its own, so that they can have its colour."""

    thickness: float
    height: float


@dataclass(frozen=True)
class Sentences:
    """What can be asked here; ``{object}`` stands for a category. Some to train, some to judge."""

    training: tuple[str, ...]
    test: tuple[str, ...]


@dataclass(frozen=True)
class Solid:
    """Something that stands in the house, in the house's frame."""

    name: str  # of the piece of furniture, or of the room
    shape: Shape
    position: tuple[float, float, float]
    size: tuple[float, float, float]
    colour: Colour

    @property
    def rectangle(self) -> tuple[float, float, float, float]:
        """What it covers of the floor: x and y of the lower, then of the upper corner."""
        x, y, _ = self.position
        width, depth = self.size[0] / 2, self.size[1] / 2
        return x - width, y - depth, x + width, y + depth


@dataclass(frozen=True)
class House:
    """Rooms, openings and furniture. Raises `HouseError` where they contradict each other."""

    name: str
    walls: Walls
    rooms: tuple[Room, ...]
    openings: tuple[Opening, ...]
    kinds: dict[str, tuple[Part, ...]]
    pieces: tuple[Piece, ...]
    categories: tuple[str, ...]  # kinds that can be asked for
    instructions: Sentences

    def __post_init__(self) -> None:
        for key in ("rooms", "openings"):
            for index, place in enumerate(getattr(self, key)):
                if not (place.lower[0] < place.upper[0] and place.lower[1] < place.upper[1]):
                    raise HouseError("lower must be below upper in x and y", key=(key, index))
        names = [piece.name for piece in self.pieces]
        for index, piece in enumerate(self.pieces):
            if piece.kind not in self.kinds:
                known = ", ".join(self.kinds)
                message = f"unknown kind '{piece.kind}'; known: {known}"
                raise HouseError(message, key=("pieces", index, "kind"))
            if piece.name in names[:index]:
                message = f"{piece.name} appears twice; give each piece its own name"
                raise HouseError(message, key=("pieces", index, "name"))
        for index, category in enumerate(self.categories):
            if not any(piece.kind == category for piece in self.pieces):
                message = f"no piece is a {category}; add one, or leave the category out"
                raise HouseError(message, key=("categories", index))

    @property
    def wall_solids(self) -> tuple[Solid, ...]:
        """The walls of all rooms, without their openings."""
        return tuple(wall for room in self.rooms for wall in self._walls_of(room))

    @property
    def furniture(self) -> dict[str, tuple[Solid, ...]]:
        """The solids of every piece of furniture, by its name."""
        return {
            piece.name: tuple(_place(piece, part) for part in self.kinds[piece.kind])
            for piece in self.pieces
        }

    @property
    def footprints(self) -> dict[str, np.ndarray]:
        """The rectangle (4,) that each piece of furniture covers, by its name."""
        return {name: _surround(solids) for name, solids in self.furniture.items()}

    @property
    def obstacles(self) -> np.ndarray:
        """Rectangles (N, 4) that nothing can drive through: lower x and y, upper x and y."""
        walls = [wall.rectangle for wall in self.wall_solids]
        return np.array([*walls, *self.footprints.values()]).reshape(-1, 4)

    @property
    def room_rectangles(self) -> np.ndarray:
        """Rectangles (N, 4) of the rooms: outside of all there is no floor."""
        return np.array([[*room.lower, *room.upper] for room in self.rooms])

    def pieces_of(self, category: str) -> tuple[Piece, ...]:
        """Every piece of that kind; raises `HouseError` where it cannot be asked for."""
        if category not in self.categories:
            known = ", ".join(self.categories)
            raise HouseError(f"{self.name}: has no category '{category}'; it has {known}")
        return tuple(piece for piece in self.pieces if piece.kind == category)

    def _walls_of(self, room: Room) -> Iterator[Solid]:
        (x0, y0), (x1, y1), thick = room.lower, room.upper, self.walls.thickness
        strips = [
            (x0, y0, x1, y0 + thick),
            (x0, y1 - thick, x1, y1),
            (x0, y0 + thick, x0 + thick, y1 - thick),
            (x1 - thick, y0 + thick, x1, y1 - thick),
        ]
        for strip in strips:
            for left, low, right, high in _cut(strip, self.openings):
                height = self.walls.height
                yield Solid(
                    room.name,
                    Shape.BOX,
                    ((left + right) / 2, (low + high) / 2, height / 2),
                    (right - left, high - low, height),
                    room.wall,
                )


def _cut(strip: tuple, openings: tuple[Opening, ...]) -> list[tuple]:
    """What is left of a wall after the openings; each goes through the whole thickness."""
    left = [strip]
    for hole in openings:
        rest = []
        for x0, y0, x1, y1 in left:
            low, high = hole.lower, hole.upper
            if low[0] >= x1 or high[0] <= x0 or low[1] >= y1 or high[1] <= y0:
                rest.append((x0, y0, x1, y1))
            elif x1 - x0 >= y1 - y0:
                rest += [(x0, y0, low[0], y1)] * (low[0] > x0)
                rest += [(high[0], y0, x1, y1)] * (high[0] < x1)
            else:
                rest += [(x0, y0, x1, low[1])] * (low[1] > y0)
                rest += [(x0, high[1], x1, y1)] * (high[1] < y1)
        left = rest
    return left


def _place(piece: Piece, part: Part) -> Solid:
    (x, y, z), (width, depth, height) = part.position, part.size
    for _ in range(piece.quarter_turns % 4):
        x, y, width, depth = -y, x, depth, width
    if part.shape is not Shape.BOX:
        width, depth = part.size[0], part.size[0]
    position = (piece.position[0] + x, piece.position[1] + y, z)
    return Solid(piece.name, part.shape, position, (width, depth, height), part.colour)


def _surround(solids: tuple[Solid, ...]) -> np.ndarray:
    rectangles = np.array([solid.rectangle for solid in solids])
    return np.concatenate([rectangles[:, :2].min(0), rectangles[:, 2:].max(0)])


def load_house(name_or_path: str | Path) -> House:
    """The house ``config/worlds/<name>.yaml``, or the YAML file at that path.

    Raises `HouseError` that names the file and the key where something is wrong.
    """
    return load_yaml(House, find_config(name_or_path, "worlds"), HouseError)
