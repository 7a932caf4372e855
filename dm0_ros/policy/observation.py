# SPDX-License-Identifier: Apache-2.0
"""Checks of an observation before a policy computes with it."""

import math
from collections.abc import Mapping, Sequence

import numpy as np

from dm0_ros.errors import ObservationError
from dm0_ros.policy.pictures import check_pictures
from dm0_ros.policy.prompt import clean_instruction
from dm0_ros.policy.protocol import Observation, PolicySpec


def order_state(positions: Mapping[str, float], names: Sequence[str]) -> np.ndarray:
    """State vector (S,) in the order of ``names``, from positions by name in any order.

    Raises `ObservationError` that names every joint that is missing.
    """
    missing = [name for name in names if name not in positions]
    if missing:
        raise ObservationError(
            f"no position for {', '.join(missing)}; got {', '.join(positions) or 'none'}: "
            "check joint_states and the names in the robot's YAML"
        )
    return np.array([positions[name] for name in names], dtype=np.float64)


def check_observation(observation: Observation, spec: PolicySpec) -> None:
    """Raise `ObservationError` or `InstructionError` unless ``spec`` can be served with it.

    Asks for every camera slot, a finite state of the right length and a finite stamp.
    """
    check_pictures(observation.pictures, spec.camera_slots)
    _check_state(observation.state, spec.state_names)
    if not math.isfinite(observation.stamp):
        raise ObservationError(
            f"the observation's stamp is {observation.stamp}; stamp pictures with the node's clock"
        )
    clean_instruction(observation.instruction)


def _check_state(state: np.ndarray, names: Sequence[str]) -> None:
    if np.shape(state) != (len(names),):
        raise ObservationError(
            f"the state has shape {np.shape(state)}; expected {len(names)} values, "
            f"in this order: {', '.join(names)}"
        )
    wrong = [name for name, value in zip(names, state, strict=True) if not math.isfinite(value)]
    if wrong:
        raise ObservationError(
            f"the position of {', '.join(wrong)} is NaN or infinite; check the robot's driver"
        )
