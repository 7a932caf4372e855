# SPDX-License-Identifier: Apache-2.0
"""Agents for ObjectNav: one that knows the way, one that knows nothing, and one with a head."""

import math
from typing import Protocol

import numpy as np

from dm0_ros.navigation.free_space import FreeSpace
from dm0_ros.navigation.geodesic import Corners, Geodesic
from dm0_ros.navigation.objectnav import Action, ObjectNav
from dm0_ros.navigation.pursuit import wrap
from dm0_ros.navigation.routes import Route, ends_here
from dm0_ros.navigation.view_points import find_view_points

_HEADINGS = 12  # that turns of 30 degrees lead to
_TURN_COST = 1e-3  # m for each turn: less than any forward step gains
_CLEARANCE = 0.08  # m beside obstacles
_DETOUR = 1.0  # m that a place too near to an obstacle counts as further away


class Agent(Protocol):
    """Chooses what to do next. It may look at ``task.observe()`` and at nothing else of the task,
    unless it is an oracle and says so."""

    def begin(self, number: int) -> None:
        """A new episode begins, the ``number``-th of the evaluation."""

    def act(self, task: ObjectNav) -> Action:
        """The next action."""


class ShortestPath:
    """An oracle that knows map, pose and view points: goes the shortest way that keeps clear of
    corners by a hand's breadth, and stops at the first view point."""

    def __init__(self, task: ObjectNav) -> None:
        rules = task.rules
        self._space = FreeSpace(task.house, rules.radius + _CLEARANCE)
        corners = Corners(self._space)
        self._geodesics = {
            category: Geodesic(
                corners,
                find_view_points(self._space, category, rules.view_distance, rules.eye_height),
            )
            for category in task.house.categories
        }

    def begin(self, number: int) -> None:
        """See `Agent`."""
        self._heading: float | None = None  # wanted, until the next drive

    def act(self, task: ObjectNav) -> Action:
        """See `Agent`."""
        if task.distance() < task.rules.success_distance:
            return Action.STOP
        if self._heading is None:
            self._heading = self._choose_heading(task)
        error = wrap(self._heading - task.pose[2])
        if abs(error) < task.rules.turn / 2:
            self._heading = None
            return Action.MOVE_FORWARD
        return Action.TURN_LEFT if error > 0 else Action.TURN_RIGHT

    def _choose_heading(self, task: ObjectNav) -> float:
        """The heading whose next step leads to where the goal is nearest, turns counted a bit."""
        turns = np.arange(_HEADINGS) - _HEADINGS // 2 + 1
        headings = task.pose[2] + turns * task.rules.turn
        steps = np.column_stack([np.cos(headings), np.sin(headings)]) * task.rules.forward
        ends = task.pose[:2] + steps
        costs = self._geodesics[task.episode.category].distance(ends)
        # Too near to something to be on one of the ways: only until there is one.
        blind = task.geodesics[task.episode.category].distance(ends) + _DETOUR
        costs = np.where(self._space.is_free(ends), costs, blind)
        costs = np.where(task.space.is_clear(task.pose[None, :2], ends)[0], costs, np.inf)
        return float(headings[np.argmin(costs + _TURN_COST * np.abs(turns))])


class RandomWalker:
    """Drives ahead more often than it turns, and stops now and then; sees nothing."""

    SHARES = {
        Action.MOVE_FORWARD: 0.59,
        Action.TURN_LEFT: 0.2,
        Action.TURN_RIGHT: 0.2,
        Action.STOP: 0.01,
    }

    def __init__(self, seed: int) -> None:
        self._seed = seed

    def begin(self, number: int) -> None:
        """See `Agent`."""
        self._random = np.random.default_rng([self._seed, number])

    def act(self, task: ObjectNav) -> Action:
        """See `Agent`."""
        return Action(self._random.choice(list(self.SHARES), p=list(self.SHARES.values())))


class Follower:
    """Breaks a route in the agent's frame into ObjectNav's actions, a few for each look."""

    def __init__(self, turn: float, forward: float, look_ahead: float) -> None:
        """``turn`` rad and ``forward`` m are the actions' sizes; ``look_ahead`` m of the route."""
        self._turn, self._forward, self._look_ahead = turn, forward, look_ahead

    def actions(self, route: Route, count: int) -> list[Action]:
        """The next ``count`` actions or fewer; [STOP] where the route stays where it is."""
        if ends_here(route, self._forward / 2, self._turn / 2):
            return [Action.STOP]
        pose, actions = np.zeros(3), []
        while len(actions) < count:
            aim = route.ahead(pose[:2], self._look_ahead)
            gap = aim[:2] - pose[:2]
            near = np.linalg.norm(gap) < self._forward / 2
            goal = route.poses[-1][2] if near else math.atan2(gap[1], gap[0])
            error = wrap(goal - pose[2])
            if abs(error) > self._turn / 2:
                actions.append(Action.TURN_LEFT if error > 0 else Action.TURN_RIGHT)
                pose[2] += math.copysign(self._turn, error)
            elif near:
                break  # the end of the route
            else:
                actions.append(Action.MOVE_FORWARD)
                pose[:2] += self._forward * np.array([math.cos(pose[2]), math.sin(pose[2])])
        return actions or [Action.MOVE_FORWARD]
