# SPDX-License-Identifier: Apache-2.0
"""The last stage before a command: a set-point that never breaks a limit, whatever is wanted.

A wanted motion within the limits passes unchanged, without lag. Where it is not, the set-point
follows as fast as the limits allow and lands on the wanted motion without overshooting it.
"""

import numpy as np

from dm0_ros.control.limits import Limits

_LEAST_SHARE = 0.2  # of the acceleration that is kept for catching up with a moving target
_SLACK = 1 + 1e-9  # rounding is not a broken limit


class Limiter:
    """The set-point and the bounds on its next step.

    Between two steps the position changes by at most velocity limit x dt, and the velocity (that
    change over dt) by at most acceleration limit x dt. It keeps enough distance from the ends of
    a joint's range to brake in time, whatever the next dt will be.
    """

    def __init__(self, limits: Limits, position: np.ndarray) -> None:
        """Begin at rest at ``position`` (D,)."""
        self._limits = limits
        self.position = position.copy()
        self.velocity = np.zeros_like(position)  # of the last step
        self.binding: tuple[str, ...] = ()  # "<joint>: <limit>" of the last step
        self._slope = self.velocity  # velocity and acceleration at this moment
        self._curve = self.velocity

    @property
    def at_rest(self) -> bool:
        """Whether the set-point stands still."""
        return not self.velocity.any()

    @property
    def state(self) -> np.ndarray:
        """Position, velocity, acceleration at this moment: (3, D)."""
        return np.stack([self.position, self._slope, self._curve])

    def copy(self) -> "Limiter":
        """Another one in the same state, to look ahead with."""
        twin = Limiter(self._limits, self.position)
        twin.velocity, twin._slope, twin._curve = self.velocity, self._slope, self._curve
        return twin

    def stopping_place(self) -> tuple[np.ndarray, float]:
        """Where (D,) and after how many seconds all joints together can be at rest."""
        duration = self._stopping_time()
        place = self.position + self.velocity * duration / 2
        return np.clip(place, self._limits.lower, self._limits.upper), duration

    def follow(self, wanted: np.ndarray, dt: float) -> None:
        """Step towards ``wanted`` (3, D), the state that is due after this step of ``dt`` > 0."""
        limits = self._limits
        goal = np.clip(wanted[0], limits.lower, limits.upper)
        outside = goal != wanted[0]
        feed = np.where(outside, 0.0, wanted[1])
        exact = (goal - self.position) / dt
        rest = exact * dt - feed * dt  # distance left if only the goal's own motion is followed
        reachable = (
            (np.abs(exact) <= limits.velocity * _SLACK)
            & (np.abs(exact - self.velocity) <= limits.acceleration * dt * _SLACK)
            & (np.abs(rest) <= limits.acceleration * dt**2)
        )
        if reachable.all():
            desired = exact
        else:
            spare = np.maximum(
                limits.acceleration - np.abs(wanted[2]), _LEAST_SHARE * limits.acceleration
            )
            catch_up = feed + np.sign(rest) * _closing_speed(np.abs(rest), spare, dt)
            desired = np.where(reachable, exact, catch_up)
        self._note(outside, np.abs(exact) > limits.velocity * _SLACK, ~reachable)
        self._move(desired, dt)
        # Where the wanted motion is met, its own derivatives are exact; differences lag by dt / 2.
        met = reachable & (self.velocity == desired)
        self._slope = np.where(
            met, np.clip(feed, -limits.velocity, limits.velocity), self.velocity
        )
        self._curve = np.where(met, wanted[2], self._curve)

    def brake(self, dt: float) -> None:
        """Step so that all joints come to rest together, along the present velocity."""
        duration = self._stopping_time()
        share = dt / duration if duration > dt else 1.0
        self.binding = ()
        self._move(self.velocity * (1.0 - share), dt)

    def _stopping_time(self) -> float:
        return float((np.abs(self.velocity) / self._limits.acceleration).max(initial=0.0))

    def _move(self, desired: np.ndarray, dt: float) -> None:
        limits = self._limits
        change = limits.acceleration * dt
        above = _closing_speed(limits.upper - self.position, limits.acceleration, dt)
        below = _closing_speed(self.position - limits.lower, limits.acceleration, dt)
        high = np.minimum(np.minimum(limits.velocity, above), self.velocity + change)
        low = np.maximum(np.maximum(-limits.velocity, -below), self.velocity - change)
        # Only a set-point that began outside its range can want more braking than there is.
        high = np.maximum(high, self.velocity - change)
        low = np.minimum(low, self.velocity + change)
        velocity = np.clip(desired, low, high)
        self._curve = (velocity - self.velocity) / dt
        self._slope = self.velocity = velocity
        self.position = self.position + velocity * dt

    def _note(self, outside: np.ndarray, fast: np.ndarray, unreachable: np.ndarray) -> None:
        if not (outside.any() or unreachable.any()):
            self.binding = ()
            return
        causes = zip(self._limits.names, outside, fast, unreachable, strict=True)
        self.binding = tuple(
            f"{name}: {'position' if out else 'velocity' if quick else 'acceleration'}"
            for name, out, quick, late in causes
            if out or late
        )


def _closing_speed(distance: np.ndarray, acceleration: np.ndarray, dt: float) -> np.ndarray:
    """Fastest speed for one step of ``dt`` from which one can still stop within ``distance``.

    Solves v dt + v^2 / (2 a) = distance for v; written so that an infinite a is allowed.
    """
    distance = np.maximum(distance, 0.0)
    return 2 * distance / (dt + np.sqrt(dt * dt + 2 * distance / acceleration))
