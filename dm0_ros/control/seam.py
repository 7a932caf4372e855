# SPDX-License-Identifier: Apache-2.0
"""How a new plan takes over from the motion that is under way.

Whatever the strategy, what it returns keeps every limit from now to its end, or there is nothing
to return: then the plan is refused, and the motion under way, which ends at rest, goes on.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple, Protocol

import numpy as np

from dm0_ros.control.certificate import certify, explain
from dm0_ros.control.curve import Curve, hermite
from dm0_ros.control.limits import Limits
from dm0_ros.control.plan import Plan, interpolate, pass_through
from dm0_ros.control.transit import catch
from dm0_ros.errors import PlanError

_DECAY = 0.01  # of an ensemble's weights from plan to plan, as ACT has it
_DEPTH = 4  # plans in an ensemble
_RTC_TIME = 0.05  # s of the blend between plans that agree already
_SHARE = 0.5  # of the limits that a fade may use up, leaving the rest to the plan itself
_SOFTEST = 3  # a B-spline through rows that were averaged twice
_NEAR = 0.01  # rad off its rows up to which a joint's may be averaged once more
_LANDING_ROOM = 1.2  # times the braking time of a ramp, for rows that are none
_SHORTEST = 1e-3  # s of a fade: rounding errors need none shorter
_SLOWER = (1.0, 1.25, 1.6)  # paces that are tried where a plan leaves no room for the seam
_LONGER = (1.0, 1.6, 2.5)  # times of the fade, likewise


class Joined(NamedTuple):
    """A motion from now on, and what the limits made of the plan in it."""

    motion: Curve
    bound: tuple[str, ...] = ()  # "<joint>: <limit>"
    slower: float = 1.0  # the plan's pace is divided by this from where it begins to count


class Seam(Protocol):
    """A strategy for taking over. Times are those of the executor's clock."""

    def prepare(self, plan: Plan, recent: Sequence[Plan], busy: float, now: float) -> Plan:
        """What is to be followed of ``plan``, known those before it, the newest last.

        ``busy`` is when the motion of the plan before comes to rest. Raises `PlanError` where the
        strategy refuses this one.
        """

    def join(self, old: Curve, plan: Plan, now: float, limits: Limits) -> Joined:
        """The motion that leaves ``old`` at ``now`` and is ``plan`` in the end.

        Raises `PlanError` where there is none within the limits.
        """


@dataclass(frozen=True)
class Replace:
    """The new plan as soon as the limits allow: a time-optimal transit onto its curve."""

    def prepare(self, plan: Plan, recent: Sequence[Plan], busy: float, now: float) -> Plan:
        """See `Seam`."""
        return plan

    def join(self, old: Curve, plan: Plan, now: float, limits: Limits) -> Joined:
        """See `Seam`."""
        new = fit(plan, now, limits)
        return _catch(old, new, plan, now, limits)


@dataclass(frozen=True)
class Blend:
    """The new plan at once, plus a quintic that takes the difference between the two to zero.

    The quintic begins with the difference in position, velocity and acceleration, so the motion
    stays C2; where the plans differ in position only, it is the usual cross-fade. It lasts
    ``time`` seconds, or what is left of a plan that ends sooner, or longer where the plans are so
    far apart that this alone would take more than half of a limit. It begins no earlier than the
    new plan.
    """

    time: float  # s

    def prepare(self, plan: Plan, recent: Sequence[Plan], busy: float, now: float) -> Plan:
        """See `Seam`."""
        return plan

    def join(self, old: Curve, plan: Plan, now: float, limits: Limits) -> Joined:
        """See `Seam`."""
        fitted = fit(plan, now, limits)
        new = fitted.motion
        state = old.sample(new.start)
        reasons = set(fitted.bound)
        for pace in _SLOWER:
            slower = new.stretched(pace) if pace > 1 else new
            error = state - slower.sample(new.start)
            wanted = min(self.time, slower.end - slower.start)
            time = max(wanted, _fade_time(error, limits), _SHORTEST)
            for longer in _LONGER:
                fade = hermite(error, np.zeros_like(error), longer * time)
                motion = slower.plus(fade, longer * time)
                broken = certify(motion).broken(limits)
                if not broken.any():
                    motion = old.cut(now).then(motion)
                    return Joined(motion, tuple(sorted(reasons)), fitted.slower * pace)
                reasons.update(explain(broken, limits))
        return _catch(old, fitted._replace(bound=tuple(sorted(reasons))), plan, now, limits)


@dataclass(frozen=True)
class HoldUntilDone(Replace):
    """Stop and go, as DM0 is published: a plan is played from its first row to its end.

    It begins when it comes, at rest. Whatever was observed before the plan before it had ended
    is refused: the robot was not where it would be.
    """

    executed_rows: int

    def prepare(self, plan: Plan, recent: Sequence[Plan], busy: float, now: float) -> Plan:
        """See `Seam`."""
        if now < busy or plan.start < busy:
            raise PlanError(
                f"plan {plan.sequence} was made before the one before it had been played to its "
                "end (hold_until_done)"
            )
        return replace(plan, start=now, values=plan.values[: self.executed_rows])


@dataclass(frozen=True)
class TemporalEnsemble(Blend):
    """Every row is an average over the plans that cover its time; then as `Blend`.

    Weights are exp(-decay * k), k counting from the oldest, as in ACT (Zhao et al. 2023).
    """

    decay: float
    depth: int  # plans, the new one counted

    def prepare(self, plan: Plan, recent: Sequence[Plan], busy: float, now: float) -> Plan:
        """See `Seam`."""
        rows, columns = plan.values.shape
        times = plan.start + plan.step * np.arange(rows)
        total, weights = np.zeros((rows, columns)), np.zeros((rows, 1))
        older = list(recent)[1 - self.depth :] if self.depth > 1 else []
        for age, other in enumerate([*older, plan]):
            last = other.start + (len(other.values) - 1) * other.step
            covered = ((times >= other.start) & (times <= last))[:, None]
            weight = np.exp(-self.decay * age) * covered
            total += weight * (plan.values if other is plan else _rows_at(other, times))
            weights += weight
        return replace(plan, values=total / weights)


@dataclass(frozen=True)
class Rtc(Blend):
    """For policies that keep the rows already committed: their plans agree where they meet.

    A short blend takes away what is left. The rows to keep come from `prefix`.
    """


SEAMS = ("blend", "replace", "hold_until_done", "temporal_ensemble", "rtc")


def make_seam(name: str, blend_time: float, executed_rows: int) -> Seam:
    """The strategy of that name; raises `KeyError` for one that is not in `SEAMS`."""
    return {
        "blend": Blend(blend_time),
        "replace": Replace(),
        "hold_until_done": HoldUntilDone(executed_rows),
        "temporal_ensemble": TemporalEnsemble(blend_time, _DECAY, _DEPTH),
        "rtc": Rtc(min(blend_time, _RTC_TIME)),
    }[name]


def fit(plan: Plan, now: float, limits: Limits) -> Joined:
    """The part of a plan from ``now`` on, as near to its rows and its times as the limits allow.

    First as it is, then landing earlier; then joints that break a limit take their rows as
    control points, averaged where that moves them little; and if that is not enough, the plan is
    slowed down.
    """
    begin = max(now, plan.start)
    for landing in dict.fromkeys((1, _landing_rows(plan, limits))):
        motion = interpolate(plan, limits.joints, None, landing).cut(begin)
        broken = certify(motion).broken(limits)
        if not broken.any():
            return Joined(motion)
    soft = broken.any(0).astype(int)
    bound = explain(broken, limits)
    for _ in range(_SOFTEST):
        whole = interpolate(plan, limits.joints, soft, landing)
        motion = whole.cut(begin)
        certificate = certify(motion)
        broken = certificate.broken(limits)
        softer = broken[1:].any(0) & (_distance(whole, plan, limits, landing) <= _NEAR)
        if not softer.any() or broken[0].any():
            break
        soft = soft + softer
    if broken[0].any():
        # Landings may swing past the range; B-splines that end as such never leave their rows.
        motion = interpolate(plan, limits.joints, np.ones_like(soft)).cut(begin)
        certificate = certify(motion)
    factor = certificate.stretch(limits)
    return Joined(motion.stretched(factor) if factor > 1 else motion, bound, factor)


def _distance(motion: Curve, plan: Plan, limits: Limits, landing: int) -> np.ndarray:
    """How far off its rows a motion is at most, by joint, before it lands: (D,) rad."""
    rows = plan.values[: -landing - 1, limits.arm]
    times = plan.start + plan.step * np.arange(len(rows))
    return np.abs(motion.positions(times) - rows).max(0, initial=0.0)


def _landing_rows(plan: Plan, limits: Limits) -> int:
    """Rows before the last at which to begin to brake for it: enough for a ramp of that speed.

    Braking from v over a time T covers v T / 2 at 1.5 v / T, with a jerk of 6 v / T^2 at its ends.
    """
    arm, rows = limits.arm, plan.values[:, limits.arm]
    landing = 1
    for _ in range(2):  # the speed where braking begins is not that of the last rows
        speed = np.abs(np.diff(rows[-1 - landing :], axis=0)).max(0, initial=0.0) / plan.step
        time = np.maximum(
            1.5 * speed / limits.acceleration[arm], np.sqrt(6 * speed / limits.jerk[arm])
        )
        needed = int(np.ceil(_LANDING_ROOM * time.max(initial=0.0) / (2 * plan.step)))
        landing = min(max(landing, needed), max(1, len(rows) - 1))
    return landing


def _catch(old: Curve, fitted: Joined, plan: Plan, now: float, limits: Limits) -> Joined:
    new = fitted.motion
    state = old.sample(new.start)
    broken: tuple[str, ...] = ()
    for pace in _SLOWER:
        motion = catch(state, new.stretched(pace) if pace > 1 else new, limits)
        if motion is not None:
            broken = explain(certify(motion).broken(limits), limits)
            if not broken:
                return Joined(old.cut(now).then(motion), fitted.bound, fitted.slower * pace)
    raise PlanError(
        f"plan {plan.sequence}: no motion leads to it within the limits"
        + (f" ({', '.join(broken)})" if broken else "")
    )


def _fade_time(error: np.ndarray, limits: Limits) -> float:
    """Shortest fade of ``error`` (3, D) that alone takes a share of the limits at most.

    The factors are the largest derivatives of the three quintics that begin with a position, a
    velocity and an acceleration of one and end with none, over a duration of one.
    """
    gap, speed, curve = np.abs(error)
    arm = limits.arm
    velocity = _SHARE * limits.velocity[arm]
    acceleration = _SHARE * limits.acceleration[arm]
    jerk = _SHARE * limits.jerk[arm]
    times = (
        1.875 * gap / velocity,
        np.sqrt(5.774 * gap / acceleration),
        3.9 * speed / acceleration,
        np.cbrt(60 * gap / jerk),
        np.sqrt(36 * speed / jerk),
        9 * curve / jerk,
    )
    return max(float(time.max(initial=0.0)) for time in times)


def _rows_at(plan: Plan, times: np.ndarray) -> np.ndarray:
    """Rows (n, D) of a plan at any times: on its spline, but within the span of its rows."""
    rows = pass_through(plan).positions(times)
    return np.clip(rows, plan.values.min(0), plan.values.max(0))
