# SPDX-License-Identifier: Apache-2.0
"""Jerk-limited motions from one state to another, by ruckig: braking, approaching, catching up.

Never with intermediate positions, which ruckig's free edition would compute in a cloud.
"""

import numpy as np
from ruckig import (
    ControlInterface,
    InputParameter,
    Result,
    Ruckig,
    RuckigError,
    Synchronization,
    Trajectory,
)

from dm0_ros.control.certificate import certify
from dm0_ros.control.curve import ORDER, Curve
from dm0_ros.control.limits import Limits

_EXACT = 1e-9  # s by which a duration may miss the one that was asked for
_CATCHES = 12  # attempts to meet a moving target
_FIRST_WAIT = 0.005  # s to follow a motion before braking is tried again; each wait is longer
_GROWTH = 1.5


def brake(motion: Curve, time: float, limits: Limits) -> Curve:
    """Leave ``motion`` at ``time`` and come to rest, all joints together, straight on.

    A joint that would leave its range so is braked by itself, as hard as its limits allow. Where
    that is not enough either, the motion is followed a little longer: it turns in time.
    """
    begin, wait = time, _FIRST_WAIT
    while begin < motion.end:
        state = motion.sample(begin)
        limits = limits.including(state[0])
        for together in (True, False):
            stop = _stop(state, begin, limits, together)
            if stop is not None and not certify(stop).broken(limits)[0].any():
                return motion.cut(time).then(stop)
        begin, wait = begin + wait, wait * _GROWTH
    return motion.cut(time)


def travel(
    state: np.ndarray, goal: np.ndarray, time: float, limits: Limits, share: float
) -> Curve:
    """From ``state`` (3, D) to rest at ``goal`` (D,), with a ``share`` of all limits but position.

    Raises `ValueError` where ruckig finds no way.
    """
    question = _ask(state, limits, share)
    question.target_position = goal
    answer = _solve(question)
    if answer is None:
        raise ValueError("no way within the limits")
    return _to_curve(answer, state, time)


def catch(state: np.ndarray, motion: Curve, limits: Limits) -> Curve | None:
    """From ``state`` (3, D) at the start of ``motion`` onto it, soon, and along it from there.

    None where ruckig finds no way.
    """
    wait = 0.0
    for _ in range(_CATCHES):
        question = _ask(state, limits)
        target = motion.sample(motion.start + wait)
        question.target_position, question.target_velocity = target[0], target[1]
        question.target_acceleration = target[2]
        if wait > 0:
            question.minimum_duration = wait
        answer = _solve(question)
        if answer is not None and abs(answer.duration - wait) <= _EXACT:
            return _to_curve(answer, state, motion.start).then(motion.cut(motion.start + wait))
        needed = wait * _GROWTH if answer is None else answer.duration
        wait = max(needed, wait * 1.1) if wait else needed
    return None


def _stop(state: np.ndarray, time: float, limits: Limits, together: bool) -> Curve | None:
    question = _ask(state, limits)
    question.control_interface = ControlInterface.Velocity
    if not together:
        question.synchronization = Synchronization.No
    answer = _solve(question)
    return None if answer is None else _to_curve(answer, state, time)


def _ask(state: np.ndarray, limits: Limits, share: float = 1.0) -> InputParameter:
    arm = limits.arm
    question = InputParameter(state.shape[1])
    question.current_position, question.current_velocity = state[0], state[1]
    question.current_acceleration = state[2]
    question.max_velocity = share * limits.velocity[arm]
    question.max_acceleration = share * limits.acceleration[arm]
    question.max_jerk = share * limits.jerk[arm]
    return question


def _solve(question: InputParameter) -> Trajectory | None:
    joints = question.degrees_of_freedom
    answer = Trajectory(joints)
    try:
        result = Ruckig(joints).calculate(question, answer)
    except RuckigError:  # of an input that it refuses; the caller has another way
        return None
    return answer if result is Result.Working else None


def _to_curve(answer: Trajectory, state: np.ndarray, time: float) -> Curve:
    """Ruckig's constant jerks by joint to pieces that all joints share."""
    steps = [
        ([*profile.brake.t, *profile.t], [*profile.brake.j, *profile.j])
        for profile in answer.profiles[0]
    ]
    knots = [np.cumsum(durations) for durations, _ in steps]
    times = np.unique(np.concatenate([[0.0], *knots]))
    times = times[times < answer.duration - _EXACT]
    times = times[np.append(True, np.diff(times) > _EXACT)] if len(times) else np.zeros(1)
    middle = (times + np.append(times[1:], answer.duration)) / 2
    jerk = np.stack(
        [
            np.append(jerks, 0.0)[np.searchsorted(ends, middle, side="right")]
            for ends, (_, jerks) in zip(knots, steps, strict=True)
        ],
        axis=1,
    )
    coefficients = np.zeros((len(times), ORDER, state.shape[1]))
    span = np.diff(times, append=answer.duration)[:, None]
    acceleration = state[2] + _sum(jerk * span)
    velocity = state[1] + _sum(acceleration * span + jerk * span**2 / 2)
    position = state[0] + _sum(velocity * span + acceleration * span**2 / 2 + jerk * span**3 / 6)
    coefficients[:, 0], coefficients[:, 1] = position, velocity
    coefficients[:, 2], coefficients[:, 3] = acceleration / 2, jerk / 6
    return Curve(time + times, coefficients, time + answer.duration)


def _sum(changes: np.ndarray) -> np.ndarray:
    """What has been added before each piece."""
    return np.concatenate([np.zeros((1, changes.shape[1])), np.cumsum(changes, axis=0)[:-1]])
