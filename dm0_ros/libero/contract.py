# SPDX-License-Identifier: Apache-2.0
"""What LIBERO shows a policy, and what it takes.

Sources: LIBERO's environments and robosuite 1.4 (names of observations, controller OSC_POSE), and
the benchmark client of DM0's authors, which prepares observations as everybody's clients do.
"""

import math
from dataclasses import dataclass

import numpy as np

from dm0_ros.errors import PlanError
from dm0_ros.policy.protocol import Observation
from dm0_ros.robots.layouts import COMMAND_COLUMNS

RATE = 20.0  # Hz, of steps
PICTURE = 256  # pixels, of both sides of both views
VIEWS = ("agentview", "wrist")
TRANSLATION = 0.05  # m that an input of 1 asks for
ROTATION = 0.5  # rad, likewise
OPEN, CLOSE = -1.0, 1.0  # of the last input; only its sign counts
REST = np.array([0.0] * 6 + [OPEN])
"""The action while nothing is asked for: stay, and open the fingers."""


@dataclass(frozen=True, eq=False)
class Moment:
    """What LIBERO's simulation shows after a step, as it is there."""

    agentview: np.ndarray  # (256, 256, 3) uint8 RGB, the bottom row first, as OpenGL has it
    wrist: np.ndarray
    position: np.ndarray  # (3,) m, of the point between the fingers
    quaternion: np.ndarray  # (4,) x y z w, of the hand; LIBERO does not settle its sign
    fingers: np.ndarray  # (2,) m: left, and right, which goes the other way


def observe(moment: Moment, instruction: str, stamp: float) -> Observation:
    """The moment as policies for LIBERO see it.

    Views are turned by 180 degrees, as in the data that such policies were trained on. LIBERO's
    are upside down but not mirrored; so what a policy sees is upright, and mirrored.
    """
    views = (moment.agentview, moment.wrist)
    return Observation(
        pictures={
            slot: np.ascontiguousarray(view[::-1, ::-1])
            for slot, view in zip(VIEWS, views, strict=True)
        },
        state=np.concatenate(
            [moment.position, axis_angle(moment.quaternion), moment.fingers]
        ).astype(np.float64),
        instruction=instruction,
        stamp=stamp,
    )


def axis_angle(quaternion: np.ndarray) -> np.ndarray:
    """A quaternion (4,) x y z w as an axis times an angle (3,), rad in [0, 2 pi].

    Both signs of a quaternion mean one rotation and give two vectors, as LIBERO's clients do.
    """
    cosine = float(np.clip(quaternion[3], -1.0, 1.0))
    sine = math.sqrt(1.0 - cosine * cosine)
    if math.isclose(sine, 0.0):
        return np.zeros(3)
    return np.asarray(quaternion[:3], np.float64) * (2.0 * math.acos(cosine) / sine)


def rotation_matrix(vector: np.ndarray) -> np.ndarray:
    """The rotation (3, 3) about an axis by an angle, both in one vector (3,), rad (Rodrigues)."""
    angle = float(np.linalg.norm(vector))
    if angle < 1e-12:
        return np.eye(3)
    x, y, z = np.asarray(vector) / angle
    cross = np.array([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]])
    return np.eye(3) + math.sin(angle) * cross + (1.0 - math.cos(angle)) * cross @ cross


def check_action(action: np.ndarray) -> np.ndarray:
    """An action (7,) within [-1, 1], as robosuite clips it.

    Raises `PlanError` where it has another shape or is not finite.
    """
    action = np.asarray(action, np.float64)
    if action.shape != (len(COMMAND_COLUMNS),):
        raise PlanError(f"an action has {len(COMMAND_COLUMNS)} numbers, found {action.shape}")
    if not np.isfinite(action).all():
        raise PlanError(f"the action {action.tolist()} is not finite")
    return np.clip(action, -1.0, 1.0)
