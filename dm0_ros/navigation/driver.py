# SPDX-License-Identifier: Apache-2.0
"""A `Policy` that gives base velocities, as an ObjectNav agent: look, plan, a few actions."""

from collections import deque

import numpy as np

from dm0_ros.errors import Dm0Error
from dm0_ros.navigation.agents import Follower
from dm0_ros.navigation.heads import VelocityRows
from dm0_ros.navigation.objectnav import Action, ObjectNav, Percept
from dm0_ros.navigation.routes import Velocities, ends_here
from dm0_ros.policy.protocol import Observation, Policy
from dm0_ros.robots.layouts import Space

_LOOK_AHEAD = 0.5  # m of the route: two steps
_ACTIONS = 3  # done for one look
_VOTES = 3  # plans that have to agree that the goal is reached
_STUCK = 0.1  # m: a forward step that gained less has met something
_MOST_TURNS = 5  # away from what is met again and again


class Driver:
    """Wraps a policy whose plans are body-frame velocities; turns away from what it runs into.

    It sees colour, depth and gps.
    """

    def __init__(self, policy: Policy, wordings: tuple[str, ...], seed: int) -> None:
        """Each episode gets one of ``wordings``, with ``{object}`` for the category.

        Raises `Dm0Error` for a policy of another kind.
        """
        if policy.spec.space is not Space.BASE_TWIST or len(policy.spec.camera_slots) != 1:
            raise Dm0Error(
                f"{policy.spec.name} gives {policy.spec.space.value} and wants "
                f"{len(policy.spec.camera_slots)} views; a base needs base_twist from one view"
            )
        self._policy, self._wordings, self._seed = policy, wordings, seed
        self._head = VelocityRows(policy.spec.step, policy.spec.action_names)

    def begin(self, number: int) -> None:
        """See `Agent`."""
        self._random = np.random.default_rng([self._seed, number])
        self._wording = str(self._random.choice(self._wordings))
        self._queue: deque[Action] = deque()
        self._last: tuple[Action, np.ndarray] | None = None
        self._looks = 0
        self._met = 0  # looks in a row at which the base was stuck
        self._side = Action.TURN_LEFT
        self._turning: Action | None = None  # what the last look led to, where that was all
        self._policy.reset()

    def act(self, task: ObjectNav) -> Action:
        """See `Agent`."""
        if not self._queue:
            percept = task.observe()
            rules = task.rules
            self._queue.extend(
                self._choose(percept, Follower(rules.turn, rules.forward, _LOOK_AHEAD))
            )
            self._last = (self._queue[-1], percept.gps)
        return self._queue.popleft()

    def _choose(self, percept: Percept, follower: Follower) -> list[Action]:
        if self._is_stuck(percept):
            return self._turn_away(percept)
        self._met = 0
        for _ in range(_VOTES):
            route = self._plan(percept).route()
            if not ends_here(route):
                return self._keep_turning(follower.actions(route, _ACTIONS))
        return [Action.STOP]

    def _keep_turning(self, actions: list[Action]) -> list[Action]:
        """The actions, but no turn back from a turn: without memory both can seem best in turn."""
        side = actions[0] if actions[0] is not Action.MOVE_FORWARD else None
        if Action.MOVE_FORWARD in actions:
            self._turning = None
        elif self._turning is not None and side is not self._turning:
            actions = [self._turning] * len(actions)
        else:
            self._turning = side
        return actions

    def _turn_away(self, percept: Percept) -> list[Action]:
        """Turn to the side where there is more room, further each time, and try again."""
        if not self._met:
            half = percept.depth.shape[1] // 2
            left, right = percept.depth[:, :half].mean(), percept.depth[:, half:].mean()
            self._side = Action.TURN_LEFT if left > right else Action.TURN_RIGHT
        self._met += 1
        return [self._side] * min(self._met, _MOST_TURNS) + [Action.MOVE_FORWARD]

    def _is_stuck(self, percept: Percept) -> bool:
        """Whether all that was done since the last look moved the base by less than a step."""
        if self._last is None or self._last[0] is not Action.MOVE_FORWARD:
            return False
        return bool(np.linalg.norm(percept.gps - self._last[1]) < _STUCK)

    def _plan(self, percept: Percept) -> Velocities:
        spec = self._policy.spec
        self._looks += 1
        plan = self._policy.infer(
            Observation(
                pictures={spec.camera_slots[0]: percept.colour},
                state=np.zeros(len(spec.state_names)),
                instruction=self._wording.format(object=percept.category),
                stamp=float(self._looks),
            )
        )
        return self._head.read(plan.values)
