# SPDX-License-Identifier: Apache-2.0
"""A scripted expert: how fingers get an object into the bin, from wherever both are.

Like `reach`, it looks at the present only: what it does next follows from where the fingers are,
how far they are open, and whether the object is between them.
"""

from dataclasses import dataclass

import numpy as np

from dm0_ros.sim.world import Phase
from dm0_ros.training.reach import PoseTable, ReachSettings, approach, fade

_SUBSTEPS = 5  # of integration per row
_RISE = 0.05  # m below the wanted height at which sideways motion stops
_AT = 0.002  # m: nearer than this the fingers begin to close on the object
_NEAR = 0.015  # m: nearer than this they go on closing
_BEGUN = 0.01  # m less than open: they have begun to close
_OVER = 0.015  # m: nearer than this, sideways, the object is over the middle of the bin
_SPARE = 0.012  # m by which open fingers are wider than what they let go
_HELD = 0.03  # m between fingertips and the centre of what they hold


@dataclass(frozen=True)
class PlaceSettings:
    """Shape and speed of what is done with the gripper."""

    carry: float  # m of the fingertips above the table on the way to the bin
    drop: float  # m of the fingertips above the table where they let go
    opening: float  # m between open fingers
    rate: float  # m/s of the opening


@dataclass
class _State:
    """Fingers and objects, one of each for every object that could be named."""

    place: np.ndarray  # (N, 3) m of the fingertips
    opening: np.ndarray  # (N,) m that the fingers are told
    held: np.ndarray  # (N,) bool
    done: np.ndarray  # (N,) bool


@dataclass
class _Step:
    """What is done next, for each of the N objects."""

    sideways: np.ndarray  # (N, 2) m to the object, or to the bin
    distance: np.ndarray  # (N,) m
    low: np.ndarray  # (N,) m: height where the fingers close or open
    beside: np.ndarray  # (N,) share of the funnel's radius, at most 1
    leaving: np.ndarray  # (N,) bool: the bin is the goal, or was
    high: np.ndarray  # (N,) bool: the fingers stay up
    at: np.ndarray  # (N,) bool: they close on the object
    close: np.ndarray  # (N,) bool: they are about to, if they don't
    over: np.ndarray  # (N,) bool: they open over the bin

    @property
    def phases(self) -> tuple[Phase, ...]:
        """What to call it."""
        aloft = self.high | (self.beside == 1.0)
        cases = (
            (self.at | (self.close & ~self.high), Phase.GRASP),
            (self.over, Phase.RELEASE),
            (self.leaving & self.high, Phase.LEAVE),
            (self.leaving, Phase.CARRY),
            (aloft, Phase.ABOVE),
            (~aloft, Phase.LOWER),
        )
        return tuple(
            next(phase for holds, phase in cases if holds[index]) for index in range(len(aloft))
        )


class PlaceExpert:
    """Plans for putting cubes of one ``size`` (m) into a bin in the middle of ``target`` (2,).

    ``closed`` is what fingers that hold something are told.
    """

    def __init__(
        self,
        table: PoseTable,
        motion: ReachSettings,
        settings: PlaceSettings,
        target: np.ndarray,
        top: float,
        size: float,
        closed: float,
    ) -> None:
        self.table, self.motion, self.settings = table, motion, settings
        self._target, self._top, self._size, self._closed = np.array(target), top, size, closed

    def plan(
        self,
        joints: np.ndarray,
        opening: float,
        centres: np.ndarray,
        done: np.ndarray,
        rows: int,
        step: float,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Joint positions (N, rows, J) rad and openings (N, rows) m, row 0 now.

        ``joints`` (J,) and ``opening`` are measured, ``centres`` (N, 3) those of the objects;
        ``done`` (N,) says which lie in the bin.
        """
        state = self._recognise(joints, opening, centres, done)
        places, openings = [state.place], [state.opening]
        for _ in range(rows - 1):
            for _ in range(_SUBSTEPS):
                state = self._advance(state, centres, step / _SUBSTEPS)
            places.append(state.place)
            openings.append(state.opening)
        ideal = self.table.positions(np.stack(places, axis=1))
        return fade(ideal, joints, step), np.stack(openings, axis=1)

    def phases(
        self,
        joints: np.ndarray,
        opening: float,
        centres: np.ndarray,
        done: np.ndarray,
        inside: np.ndarray,
    ) -> tuple[Phase, ...]:
        """What a plan from here begins with, for each of the N objects; arguments as `plan`'s.

        ``inside`` (N,) are those within the bin's walls. Once let go they are as good as done,
        though a plan is not sure of them before they lie still.
        """
        state = self._recognise(joints, opening, centres, done)
        state.done = state.done | (inside & ~state.held)
        return self._judge(state, centres).phases

    def _recognise(
        self, joints: np.ndarray, opening: float, centres: np.ndarray, done: np.ndarray
    ) -> _State:
        start = self.table.place(dict(zip(self.table.names, joints, strict=True)))
        near = np.linalg.norm(centres - start, axis=1) < _HELD
        held = near & (opening < self._size + 0.25 * _SPARE) & ~done
        told = np.where(held, self._closed, opening)
        return _State(np.broadcast_to(start, centres.shape), told, held, np.array(done))

    def _judge(self, state: _State, centres: np.ndarray) -> _Step:
        settings, motion = self.settings, self.motion
        leaving = state.held | state.done
        goal = np.where(leaving[:, None], self._target, centres[:, :2])
        sideways = goal - state.place[:, :2]
        distance = np.linalg.norm(sideways, axis=1)
        low = np.where(leaving, self._top + settings.drop, centres[:, 2])
        # The arm is late behind its plan: fingers that began to close early would lift the object
        # by its edge; fingers that have begun must not open for being a little off.
        near = np.where(state.opening < settings.opening - _BEGUN, _NEAR, _AT)
        above = np.abs(state.place[:, 2] - low)
        at = ~leaving & (distance < near) & (above < near)
        close = ~leaving & (distance < _NEAR) & (above < _NEAR)
        over = state.held & (distance < _OVER) & (state.place[:, 2] - low < _NEAR)
        beside = np.clip(distance / motion.funnel, 0.0, 1.0)
        # Fingers that are not open yet, or have let go, stay up.
        high = state.done | (~leaving & ~at & (state.opening < self._size + _SPARE))
        return _Step(sideways, distance, low, beside, leaving, high, at, close, over)

    def _advance(self, state: _State, centres: np.ndarray, dt: float) -> _State:
        settings, motion = self.settings, self.motion
        step = self._judge(state, centres)
        at, over, low = step.at, step.over, step.low
        lift = np.where(step.leaving, self._top + settings.carry - low, motion.clearance)
        share = np.where(step.high, 1.0, step.beside * step.beside * (3 - 2 * step.beside))
        height = low + lift * share - state.place[:, 2]
        free = np.clip(1 - height / _RISE, 0.05, 1.0)
        move = approach(motion, step.distance, dt) * free
        climb = np.sign(height) * approach(motion, np.abs(height), dt)
        still = at | over
        direction = step.sideways / np.maximum(step.distance, 1e-9)[:, None]
        moved = np.column_stack([direction * move[:, None], climb])
        place = state.place + np.where(still[:, None], 0.0, moved)

        close = at | (state.held & ~over)
        change = np.where(close, -1.0, 1.0) * settings.rate * dt
        opening = np.clip(state.opening + change, self._closed, settings.opening)
        released = over & (opening > self._size + _SPARE)
        grasped = at & (opening < self._size - _SPARE)
        return _State(place, opening, (state.held | grasped) & ~released, state.done | released)
