# SPDX-License-Identifier: Apache-2.0
"""Sentences that say what is wrong with a plan: what of it, by how much, and what may be why."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from dm0_ros.evaluation.grippers import OPENS, find_switches, match_switches
from dm0_ros.evaluation.judging import Judged
from dm0_ros.evaluation.sights import Ways, sketch_thought
from dm0_ros.evaluation.words import find_unit, say_amount, say_share
from dm0_ros.robots.spec import Gripper, RobotSpec
from dm0_ros.scaffold.places import box_iou
from dm0_ros.scaffold.sketch import Sketch

_STILL = 0.01  # m: a tool that goes no further than this stays where it is
_OTHER_WAY = 30.0  # degrees between two ways from which on they are said to part
_SAME_BOX = 0.3  # intersection over union below which two boxes are said to be apart
_OTHER_PACE = 0.25  # s between the halves of two ways from which on their pace is told
_SIDES = (("ahead", "back"), ("to the left", "to the right"), ("up", "down"))  # REP 103
_PROGRESS = 0.1  # by which two tasks' progress differ before anybody is told


def explain(
    judged: Judged,
    robot: RobotSpec,
    ranges: np.ndarray,
    ways: Ways | None = None,
    live: Sketch | None = None,
) -> list[str]:
    """The most telling sentence first.

    ``ranges`` (D,) of the columns normalise errors; ``live`` is the scaffold that was recorded at
    this moment.
    """
    return [
        *_tell_column(judged, robot, ranges),
        *_tell_way(ways, judged.step.plan.step),
        *_tell_recorded(judged, ranges),
        *_tell_grippers(judged, robot),
        *_tell_scaffold(judged, live),
        *_tell_progress(judged),
        *_tell_observation(judged),
        *_tell_end(judged),
    ]


def share_by_column(errors: np.ndarray, ranges: np.ndarray) -> np.ndarray:
    """Normalised error (D,) of the known rows of errors (H, D); 0 where nothing is known."""
    share = np.abs(errors) / ranges
    known = np.isfinite(share)
    return np.where(known, share, 0.0).sum(axis=0) / np.maximum(known.sum(axis=0), 1)


def _tell_column(judged: Judged, robot: RobotSpec, ranges: np.ndarray) -> Iterator[str]:
    plan, shares = judged.step.plan, share_by_column(judged.errors, ranges)
    if not shares.any():
        yield "What the robot did at these times is not in the bag."
        return
    column = int(shares.argmax())
    errors = judged.errors[:, column]
    unit = find_unit(plan.names[column], plan.space, robot.joint_names, robot.gripper_names)
    row = int(np.nanargmax(np.abs(errors)))
    gripper = plan.names[column] in robot.gripper_names
    sides = ("further open than", "further closed than") if gripper else ("above", "below")
    side = sides[int(errors[row] < 0)]
    part = say_share(shares[column] / shares.sum())
    yield (
        f"{plan.names[column]} is furthest off: {say_amount(abs(errors[row]), unit)} "
        f"{side} what the robot did, in row {row + 1} of {len(errors)}, due "
        f"{row * plan.step:.1f} s after the picture; {part} of the plan's error is in this "
        "column."
    )
    first = np.flatnonzero(np.abs(errors) > abs(errors[row]) / 2)[0]
    if first == 0:
        yield (
            "It is off from its first row on, by "
            f"{say_amount(abs(errors[0]), unit)}: the plan does not begin where the robot was."
        )
    else:
        yield f"Half of that has come about after {first * plan.step:.1f} s."


def _tell_way(ways: Ways | None, step: float) -> Iterator[str]:
    if ways is None or ways.planned.shape[1] < 2:
        return
    arms = len(ways.planned)
    for number, (planned, gone) in enumerate(zip(ways.planned, ways.gone, strict=True)):
        tool = "the tool" if arms == 1 else f"tool {number + 1}"
        here, there = planned[-1] - planned[0], gone[-1] - gone[0]
        if max(np.linalg.norm(here), np.linalg.norm(there)) >= _STILL:
            yield f"It takes {tool} {_say_ways(here, there)}{_say_pace(planned, gone, step)}."
        apart = planned[-1] - gone[-1]
        if (distance := float(np.linalg.norm(apart))) >= _STILL:
            side = _say_side(apart)
            yield f"At the end of that {tool} is {_mm(distance)} from where it was{side}."


def _say_ways(here: np.ndarray, there: np.ndarray) -> str:
    far, went = (float(np.linalg.norm(way)) for way in (here, there))
    if far < max(went / 4, _STILL):
        return f"hardly anywhere ({_mm(far)}), while the robot took it {_mm(went)} on"
    if went < max(far / 4, _STILL):
        return f"{_mm(far)} away, while the robot hardly moved it ({_mm(went)})"
    angle = math.degrees(math.acos(np.clip(here @ there / (far * went), -1.0, 1.0)))
    if angle > _OTHER_WAY:
        return f"another way: {_mm(far)}, {angle:.0f}° off the {_mm(went)} that the robot took it"
    return f"the way that it went ({angle:.0f}° off), {_mm(far)} instead of {_mm(went)}"


def _say_pace(planned: np.ndarray, gone: np.ndarray, step: float) -> str:
    """Where two ways of like length are gone at another pace: when half of each is behind."""
    fars = [np.linalg.norm(way - way[0], axis=1) for way in (planned, gone)]
    shorter, longer = sorted(far[-1] for far in fars)
    if shorter < max(longer / 2, _STILL):
        return ""
    plan, robot = (np.flatnonzero(far >= far[-1] / 2)[0] * step for far in fars)
    if abs(plan - robot) < max(_OTHER_PACE, step):
        return ""
    pace = "sooner" if plan < robot else "later"
    return f", and {pace}: half of it after {plan:.1f} s, the robot after {robot:.1f} s"


def _say_side(apart: np.ndarray) -> str:
    """Where most of a distance goes, by the root's axes: x ahead, y left, z up."""
    axis = int(np.abs(apart).argmax())
    if abs(apart[axis]) < 0.7 * np.linalg.norm(apart):
        return ""
    return f", {_SIDES[axis][int(apart[axis] < 0)]}"


def _mm(metres: float) -> str:
    return f"{metres * 1e3:.0f} mm"


def _tell_recorded(judged: Judged, ranges: np.ndarray) -> Iterator[str]:
    """How good the plan was that was made live."""
    apart = judged.plan_errors
    if not np.isfinite(apart).any():
        return
    own = share_by_column(judged.errors, ranges).mean()
    live = share_by_column(judged.errors - apart, ranges).mean()
    if not np.nanmax(np.abs(apart)):
        yield (
            "It is the recorded plan, number for number: the arm was behind it, or later plans "
            "changed course."
        )
    elif own > 1.5 * live:
        yield f"The recorded plan of this moment was {own / max(live, 1e-9):.1f} times as near."
    elif live > 1.5 * own:
        yield f"The recorded plan of this moment was {live / max(own, 1e-9):.1f} times as far off."
    else:
        yield "The recorded plan of this moment was about as far off: later plans changed course."


def _tell_grippers(judged: Judged, robot: RobotSpec) -> Iterator[str]:
    plan = judged.step.plan
    for gripper in robot.grippers:
        if gripper.name in plan.names:
            column = plan.names.index(gripper.name)
            known = np.isfinite(judged.errors[:, column])
            if known.any():
                seconds = np.arange(len(plan.values))[known] * plan.step
                rows = plan.values[known, column], judged.actions[known, column]
                yield from _tell_gripper(gripper, seconds, *rows, plan.step)


def _tell_gripper(gripper: Gripper, seconds, planned, done, step: float) -> Iterator[str]:
    found = [find_switches(gripper, seconds, openings) for openings in (done, planned)]
    for switch in match_switches(0, *found, -math.inf, math.inf):
        word = "open" if switch.direction == OPENS else "close"
        late = switch.planned - switch.recorded
        if math.isnan(switch.planned):
            then = _say_when(switch.recorded, step)
            yield f"{gripper.name} does not {word}; the robot's did {then}."
        elif math.isnan(switch.recorded):
            then = _say_when(switch.planned, step)
            yield f"{gripper.name} {word}s {then}; the robot's did not."
        elif abs(late) > step:
            side = "late" if late > 0 else "early"
            yield f"{gripper.name} {word}s {abs(late):.1f} s too {side}."
    middle = (gripper.closed + gripper.open) / 2
    is_open, was_open = planned > middle, done > middle
    if not any(found) and is_open[0] != was_open[0]:
        is_, was = ("open" if state else "closed" for state in (is_open[0], was_open[0]))
        yield f"{gripper.name} is {is_} in all of it, and the robot's was {was}."


def _say_when(seconds: float, step: float) -> str:
    return "at once" if seconds < step else f"after {seconds:.1f} s"


def _tell_scaffold(judged: Judged, live: Sketch | None) -> Iterator[str]:
    thought = judged.step.plan.thought
    if thought is None:
        if live is not None and not live.refusal:
            yield f"Its actions saw the reasoning of the live policy: “{live.subtask}”."
        return
    sketch = sketch_thought(thought)
    if sketch.refusal:
        yield f"Its reasoning text was refused: {sketch.refusal}."
        return
    yield f"Its reasoning says “{sketch.subtask}”."
    if live is None:
        return
    if live.refusal:
        yield f"The recorded one was refused: {live.refusal}."
        return
    if live.subtask != sketch.subtask:
        yield f"The recorded one says “{live.subtask}”: another goal."
    there, here = live.scale_to(sketch.width, sketch.height).box, sketch.box
    if here is not None and there is not None and box_iou(here, there) < _SAME_BOX:
        centres = (here[:2] + here[2:] - there[:2] - there[2:]) / 2
        yield (
            f"Their goal boxes are {np.linalg.norm(centres):.0f} pixels apart: another place "
            "in the picture."
        )


def _tell_progress(judged: Judged) -> Iterator[str]:
    step = judged.step
    if step.recorded is None:
        return
    now, then = step.plan.progress, step.recorded.plan.progress
    if abs(now - then) > _PROGRESS:
        yield (
            f"It takes the task to be {say_share(now)} done; the live policy said "
            f"{say_share(then)}."
        )


def _tell_observation(judged: Judged) -> Iterator[str]:
    step = judged.step
    if step.identical:
        yield "The network saw bit by bit what the live one saw."
    elif step.identical is False:
        yield "The network did not see what the live one saw: the checksums of both differ."
    elif step.recorded is not None:
        yield "What the live network saw was not recorded; this one saw what was newest."
    else:
        yield "The plan was made at a time of the replay's own; none was recorded then."


def _tell_end(judged: Judged) -> Iterator[str]:
    known = np.flatnonzero(np.isfinite(judged.errors).any(axis=1))
    rows = len(judged.errors)
    if len(known) and known[-1] < rows - 1:
        seconds = known[-1] * judged.step.plan.step
        yield (
            f"Its rows are compared for {seconds:.1f} s: then the episode, or the bag, ended. "
            f"{rows - 1 - known[-1]} of {rows} rows were due later."
        )
